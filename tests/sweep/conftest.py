"""A sweep of small trials, through the command line."""

import json

import pytest

from lightning_aqa.cli.main import main
from lightning_aqa.sweep.trial import read_trials

COMMAND = """
command:
  - ${env}
  - ${interpreter}
  - -m
  - lightning_aqa
  - fit
  - --config
  - base.yaml
  - ${args}
"""
FAST = "\ncommand: [sh, run.sh, '${args_no_hyphens}']\n"
BASE = """
data: {class_path: MusicEval, init_args: {root: %s}}
model:
  encoder: {class_path: MelSpectrogram, init_args: {depth: 1, width: 16}}
  head: {class_path: MLP, init_args: {hidden: []}}
objectives: {huber: {class_path: Regression, init_args: {kind: huber}}}
trainer: {max_epochs: 1}
"""
VARIANT = "# Adds a ranking.\nobjectives: {huber: Regression, qamro: QAMRO}\n"


@pytest.fixture
def sandbox(tmp_path, monkeypatch, corpora):
    """A folder with a base config and a variant, in which commands are called; trials have one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "base.yaml").write_text(BASE % corpora["musiceval"])
    (tmp_path / "ranked.yaml").write_text(VARIANT)
    (tmp_path / "plain.yaml").write_text("# Regression alone.\nobjectives: {huber: Regression}\n")
    return tmp_path


@pytest.fixture
def write_sweep(sandbox):
    """Write ``s.yaml``: a grid of some parameters, or any method; trials train, or run a script of the shell."""

    def write(parameters, *, method="grid", script=None, **more):
        spec = {"name": "s", "method": method, "parameters": parameters, **more}
        (sandbox / "s.yaml").write_text(_block(spec) + (COMMAND if script is None else FAST))
        (sandbox / "run.sh").write_text(script or "")

    return write


def _block(spec):
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in spec.items())


@pytest.fixture
def sweep(sandbox, capfd):
    """Run the verb; return its exit code, what it printed, and the trials by number."""

    def run(*words):
        capfd.readouterr()
        code = main(["sweep", "s.yaml", "--workers=2", *words])
        said = capfd.readouterr()
        return code, said.out + said.err, read_trials("runs/s")

    return run
