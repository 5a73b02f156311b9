"""What doctor says about this machine, through the command line: without the network, where packages are missing."""

import importlib.metadata
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from packaging.requirements import Requirement

from lightning_aqa.cli import doctor
from lightning_aqa.cli.doctor_packages import OPTIONAL, Package, find_packages
from lightning_aqa.cli.main import main
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.utils.components import parts_of

CLAP_FILE, CLAP_URL = CLAP.published[0].checkpoint, CLAP.published[0].url


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """Run doctor in an empty folder with an empty hub cache and no network; return its exit code and what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: pytest.fail("uses the network"))
    for name in ("LIGHTNING_AQA_WEIGHTS", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*words):
        code = main(["doctor", *words])
        return code, capsys.readouterr().out

    return run


def _requirements():
    lines = importlib.metadata.requires("lightning_aqa")
    return [requirement for requirement in map(Requirement, lines) if requirement.marker is None]


def _state(said, encoder):
    """The last word of an encoder's row in the table of weights."""
    return re.search(rf"^{encoder} .*?(here|missing) *$", said, re.MULTILINE)[1]


def test_every_required_package_is_named_with_its_version(report):
    code, said = report()
    assert code == 0
    assert len(_requirements()) > 10
    for requirement in _requirements():
        version = importlib.metadata.version(requirement.name)
        assert re.search(rf"^{requirement.name} +{re.escape(version)} .* ok *$", said, re.MULTILINE), requirement
    for name, purpose in OPTIONAL.items():
        assert re.search(rf"^{name} .*, for {purpose.split()[0]}", said, re.MULTILINE)


@pytest.mark.parametrize("release", ["2.6.2", "2.6.3"])
def test_a_malicious_release_is_excluded_and_told(report, monkeypatch, release):
    (lightning,) = (one for one in _requirements() if one.name == "lightning")
    assert not lightning.specifier.contains(release)
    assert lightning.specifier.contains("2.6.6")
    real = importlib.metadata.version
    monkeypatch.setattr(
        "lightning_aqa.cli.doctor_packages.version", lambda name: release if name == "lightning" else real(name)
    )
    code, said = report()
    assert code == 1
    assert re.search(rf"^lightning +{re.escape(release)} .*MALICIOUS", said, re.MULTILINE)
    assert f"lightning {release} is a malicious release (GHSA-w37p-236h-pfx3): uninstall it" in said


def test_devices_formats_and_logging_are_told(report, monkeypatch):
    monkeypatch.setattr("lightning_aqa.cli.doctor.shutil.which", lambda program: None)
    said = report()[1]
    assert f"{torch.get_num_threads()} threads" in said
    assert "FLAC" in said
    assert "apt-get install ffmpeg" in said
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert "an API key is here" in report()[1]


def test_a_missing_checkpoint_has_its_address_and_command_in_one_piece(report):
    said = report()[1]
    assert _state(said, "CLAP") == "missing"
    assert f"get it from {CLAP_URL}\n" in said
    assert f"hf download lukewys/laion_clap {CLAP_FILE}\n" in said
    assert "LIGHTNING_AQA_WEIGHTS: not set" in said


def test_each_encoder_with_weights_is_looked_for(report):
    said = report()[1]
    published = {encoder.__name__ for encoder in parts_of("encoders", Encoder) if encoder.published}
    assert published >= {"AudioboxAesthetics", "BEATs", "CLAP", "Hub", "TextEncoder"}
    assert {name for name in published if _state(said, name) == "missing"} == published


def test_a_checkpoint_in_the_folder_of_weights_is_found(report, tmp_path, monkeypatch):
    path = tmp_path / "weights" / CLAP_FILE
    path.parent.mkdir()
    path.touch()
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(path.parent))
    said = report()[1]
    assert f"    {path}\n" in said
    assert CLAP_URL not in said
    assert f"LIGHTNING_AQA_WEIGHTS: {path.parent}\n" in said


def test_what_is_half_there_is_missing_and_the_command_names_the_rest(report, tmp_path):
    snapshot = tmp_path / "hub" / "models--microsoft--wavlm-base" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "config.json").touch()
    assert "by: hf download microsoft/wavlm-base pytorch_model.bin preprocessor_config.json\n" in report()[1]


def test_data_that_experiments_name_are_looked_for(report, tmp_path):
    folder = tmp_path / "experiments" / "mine"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("data: {class_path: MusicEval, init_args: {root: here}}")
    (folder / "b.yaml").write_text("data: {class_path: AESNatural, init_args: {root: here, roots: {EARS: gone}}}")
    (folder / "c.yaml").write_text("data: {class_path: lightning_aqa.data.synthetic.Synthetic, init_args: {root: new}}")
    (folder / "d.yaml").write_text("model: {}")
    (tmp_path / "here").mkdir()
    said = report()[1]
    assert re.search(r"--data\.root=here +here +mine/a, mine/b *$", said, re.MULTILINE)
    assert re.search(r"--data\.roots=gone +missing +mine/b *$", said, re.MULTILINE)
    assert re.search(r"--data\.root=new +made by the run +mine/c *$", said, re.MULTILINE)


def test_tables_fit_on_a_screen_of_80_columns(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    unbroken = ("    ", "LIGHTNING_AQA_WEIGHTS")
    assert [line for line in report()[1].splitlines() if len(line) > 80 and not line.startswith(unbroken)] == []


@pytest.mark.parametrize("wrong", [Package("librosa", "", ">=0.11"), Package("librosa", "0.10", ">=0.11")])
def test_a_required_package_that_is_missing_or_wrong_makes_the_exit_code_1(report, monkeypatch, wrong):
    others = find_packages()
    monkeypatch.setattr("lightning_aqa.cli.doctor_packages.find_packages", lambda: [*others, wrong])
    code, said = report()
    assert code == 1
    assert re.search(rf"^librosa .*{wrong.state} *$", said, re.MULTILINE)
    assert "pip install -e ." in said


def test_an_optional_package_that_is_missing_does_not(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("lightning_aqa.cli.doctor_packages.OPTIONAL", {"no-such-package": "nothing"})
    code, said = report()
    assert code == 0
    assert re.search(r"^no-such-package +- +any +not installed, for nothing *$", said, re.MULTILINE)


def test_a_package_without_metadata_is_a_problem():
    assert [item.name for item in find_packages("no-such-package") if item.is_problem] == ["no-such-package"]


@pytest.mark.parametrize("missing", [("lightning", "torch"), ("rich",)])
def test_doctor_runs_where_a_package_cannot_be_imported(tmp_path, missing):
    for name in missing:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['aqa', 'doctor']\n"
        "import runpy; runpy.run_module('lightning_aqa', run_name='__main__')"
    )
    root = Path(doctor.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, timeout=300)
    assert (done.returncode, done.stderr) == (int("torch" in missing), "")
    assert ("No module named torch" in done.stdout) == ("torch" in missing)
    assert "FLAC" in done.stdout
    assert "soundfile" in done.stdout


def test_the_subcommand_is_in_the_help_and_has_its_own(capsys):
    assert main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out
    assert main(["doctor", "--help"]) == 0
    assert "Exit code: 0, or 1" in capsys.readouterr().out


def test_a_misspelt_subcommand_or_an_option_of_another_is_told(fails):
    assert "Did you mean 'doctor'?" in fails("docter")
    assert "unknown option --data.root=AES." in fails("doctor", "--data.root=AES")
