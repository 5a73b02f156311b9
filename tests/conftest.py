"""What the tests share: a quiet, offline environment, and small made-up corpora written once."""

import atexit
import os
import shutil
import tempfile
from contextlib import redirect_stdout

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
}
# What libraries leave behind (W&B when it is imported, Ray) is removed at the end; what pytest keeps stays where it is.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="aqa-")  # short, for the sockets of Ray
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

import pytest
import torch
from hypothesis import HealthCheck, settings

from lightning_aqa.cli.main import main
from lightning_aqa.data.synthesis.corpus import write_corpus

torch.set_num_threads(1)
# The same cases in every run, however slow the machine; what a longer search found becomes an @example.
settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("suite")

pytest_plugins = [
    "tests.chromium",
    "tests.pictures",
    "tests.small_weights",
    "tests.small_model",
    "tests.small_sweep",
    "tests.hub_stand_in",
]
CORPORA = {"musiceval": {"num_clips": 30, "num_systems": 4}, "aes_natural": {"num_clips": 48, "num_systems": 3}}


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """One small corpus per layout; read-only."""
    root = tmp_path_factory.mktemp("corpora")
    return {
        layout: write_corpus(root / layout, layout, seconds=(0.5, 0.9), **sizes) for layout, sizes in CORPORA.items()
    }


@pytest.fixture
def fit(tmp_path):
    """Run ``fit`` in process for an epoch or more, and return the run folder."""

    def run(*words, epochs=1, name="run"):
        code = main(
            [
                "fit",
                *words,
                f"--trainer.default_root_dir={tmp_path}",
                f"--name={name}",
                f"--trainer.max_epochs={epochs}",
            ]
        )
        assert code == 0
        return tmp_path / name

    return run


def _fold_here(command, env, stdout, signals):
    """Run a fold in this process, which saves the start of another."""
    with redirect_stdout(stdout):
        return main(command[3:])


@pytest.fixture(scope="session")
def fold_here():
    """What stands for ``cross_validation.train_fold`` in a test that runs folds in its own process."""
    return _fold_here


@pytest.fixture
def fails(capfd):
    """Run a command that is wrong; return what it says in its one line."""

    def run(*words):
        capfd.readouterr()
        try:
            code = main(list(words))
        except SystemExit as stop:
            code = stop.code
        said = capfd.readouterr().err
        assert code == 2, said
        assert "Traceback" not in said
        return said.strip()

    return run
