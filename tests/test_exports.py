"""Every public part is imported from its package, lazily, and configs keep the path of the module that defines it."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.objectives.base import Objective
from lightning_aqa.utils.components import parts_of

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"data": AQADataModule, "encoders": Encoder, "heads": Head, "objectives": Objective}
PACKAGES = [*KINDS, "metrics", "training"]


@pytest.mark.parametrize("package", KINDS)
def test_every_part_is_exported_by_its_package(package):
    exported = importlib.import_module(f"lightning_aqa.{package}")
    parts = parts_of(package, KINDS[package])
    assert [part.__name__ for part in parts if getattr(exported, part.__name__, None) is not part] == []
    assert KINDS[package].__name__ in exported.__all__


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_is_there_and_none_is_that_of_a_module(package):
    exported = importlib.import_module(f"lightning_aqa.{package}")
    modules = {path.stem for path in (ROOT / "lightning_aqa" / package).glob("*.py")}
    for name in exported.__all__:
        assert getattr(exported, name).__name__ == name
    assert not modules & set(exported.__all__)  # else the name would be whichever was imported last


def test_a_package_costs_nothing_until_a_name_is_used():
    script = (
        "import sys, importlib; names = sys.argv[1:]\n"
        "for name in names: importlib.import_module(f'lightning_aqa.{name}')\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "from lightning_aqa.metrics import srcc; assert 'lightning' not in sys.modules\n"
        "from lightning_aqa.objectives import QAMRO, qamro_loss\n"
        "assert not {'lightning_aqa.objectives.triplet', 'lightning_aqa.encoders.base'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script, *PACKAGES], check=True, cwd=ROOT, timeout=120)


def test_a_config_names_a_part_by_the_module_that_defines_it(fit, corpora):
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--model.head=lightning_aqa.heads.MLP"]
    text = (fit(*words) / "config.yaml").read_text()
    for name in ("data.musiceval.MusicEval", "heads.mlp.MLP", "objectives.regression.Regression"):
        assert f"class_path: lightning_aqa.{name}\n" in text
