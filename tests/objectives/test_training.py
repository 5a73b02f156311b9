"""Each objective trains a head through the command line, and one that asks for more than a head gives says so."""

import csv
import math

import pytest
import torch

from tests.slow import all_but

CASES = {
    "CCC": [],
    "Contrastive": ["--objectives.term.margin=0.1"],
    "GaussianNLL": ["--objectives.term.beta=0.5", "--model.head.deviation=true"],
    "ListMLE": ["--objectives.term.tolerance=0.2", "--objectives.term.position_weights=true"],
    "ListNet": ["--objectives.term.temperature=0.5"],
    "SoftSpearman": ["--trainer.precision=bf16-mixed"],
}


@pytest.fixture(scope="module")
def data(corpora, tmp_path_factory):
    """The corpus, encoded once for all tests."""
    cache = tmp_path_factory.mktemp("cache")
    return ["--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--data.cache={cache}", "--data.batch_size=8"]


@pytest.mark.parametrize("name", all_but(list(CASES), "CCC", "GaussianNLL"))
def test_an_objective_alone_trains_the_last_layer(data, fit, name):
    folder = fit(*data, f"--objectives.term={name}", *CASES[name], "--objectives.mse=null")
    with open(folder / "history.csv", newline="") as file:
        logged = {key: float(value) for row in csv.DictReader(file) for key, value in row.items() if value}
    assert math.isfinite(logged["train/term"])
    assert ("val/term" in logged) is (name != "GaussianNLL")
    weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    last = weights["head.branches.0.last.weight"]  # zero before the first step
    assert last.isfinite().all()
    assert last.abs().sum(1).all()


def test_a_likelihood_without_a_deviation_is_told_in_one_line(data, fails, tmp_path):
    said = fails("fit", *data, "--objectives.nll=GaussianNLL", f"--trainer.default_root_dir={tmp_path}")
    assert "MLP gives no deviation, which GaussianNLL reads" in said
    assert "--model.head.deviation=true" in said
    assert "--objectives.nll=null" in said
