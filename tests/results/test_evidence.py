"""Intervals and ceilings of a run: in its folder, on the screen, and paid for once, at its end."""

import contextlib
import io
import json

import numpy as np
import pytest

from lightning_aqa.cli.main import main
from lightning_aqa.metrics.ceilings import axis_ceilings
from lightning_aqa.metrics.intervals import intervals
from lightning_aqa.metrics.levels import METRICS, evaluate
from lightning_aqa.metrics.listeners import ratings_table
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results import evidence
from lightning_aqa.results.clips import read_listeners
from lightning_aqa.results.comparison import compare_variants
from lightning_aqa.results.console import results_table
from lightning_aqa.results.evidence import with_evidence
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.results.ratings import read_ratings
from lightning_aqa.results.runs import find_runs
from lightning_aqa.results.variants import collect
from lightning_aqa.training import run_writer


@pytest.fixture(scope="module")
def run(corpora, tmp_path_factory):
    """A short training of a head with deviations; the splits that evidence was computed for, and the screen."""
    asked, root, screen = [], tmp_path_factory.mktemp("evidence"), io.StringIO()

    def watched(split, *arguments, **settings):
        asked.append(split)
        return with_evidence(split, *arguments, **settings)

    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=8"]
    words += ["--model.head=Ordinal", "--objectives.bins=SoftOrdinal", "--trainer.max_epochs=2"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(screen):
        patch.setattr(run_writer, "with_evidence", watched)
        assert main([*words, f"--trainer.default_root_dir={root}", "--name=run"]) == 0
    return root / "run", asked, screen.getvalue()


def test_a_run_has_its_evidence_in_its_folder(run):
    folder, asked, screen = run
    # Two epochs were validated; only the evaluation at the end computed intervals, once per split.
    assert asked == ["train", "dev", "test"]
    results = json.loads((folder / "results.json").read_text())
    tables, axes = read_predictions(folder / "predictions.csv")
    test = dict(tables)["test"]
    found = intervals(test.ids, test.systems, test.domains, test.scores, test.targets, axes)
    for level in ("utterance", "system"):
        for metric in METRICS:
            expected = [
                None if np.isnan(end) else pytest.approx(end) for end in found[""][level]["MI"][metric].interval
            ]
            assert results["test"][level]["MI"]["ci"][metric] == expected
    assert "ci" not in results["train"]["utterance"]["MI"]
    rated = ratings_table(test.ids, axes, read_ratings(folder / "ratings.csv")["test"])
    assert np.nanmean(rated.values, axis=2) == pytest.approx(test.targets)
    held = results["test"]["utterance"]["MI"]["ceiling"]
    known = axis_ceilings(rated, test.systems, axes, "utterance")["MI"]
    assert (held["assumes"], held["why"]) == (known.assumes, known.why)
    assert held["mse"] == pytest.approx(known.mse)
    # The page computes the same ceiling, and both say what it assumes.
    shared = collect(find_runs([folder])[0], "test")
    block = compare_variants(shared, read_listeners(find_runs([folder])[0], "test", test.ids, axes), num_resamples=20)[
        0
    ]
    _, said, numbers = block.beside[0]
    assert [held["lcc"], held["srcc"]] == [
        None if np.isnan(numbers["MI", metric]) else pytest.approx(numbers["MI", metric]) for metric in ("LCC", "SRCC")
    ]
    assert (known.assumes or known.why) in said
    for text in said.split("; ")[1:]:
        assert screen.count(f"Highest LCC: {text}.") == 1
    assert held["n"] == len(test.ids)
    assert results["train"]["utterance"]["MI"]["system_only"]["n"] > 0
    assert "SRCC 95 %" in screen
    few = results["test"]["utterance"]["MI"]["ci_system_why"]["SRCC"]
    assert few.startswith(f"{len(set(test.systems))} systems: ")
    assert f"No interval: {few}." in screen
    assert "highest LCC" in screen


def test_a_run_keeps_prompts_and_deviations(run):
    folder, _, _ = run
    tables, _ = read_predictions(folder / "predictions.csv")
    for _, table in tables:
        assert (table.deviations > 0).all()
        assert any(table.prompts)


def _small():
    y = np.arange(6.0)[:, None]
    table = Predictions([*"abcdef"], ["S"] * 6, [""] * 6, y, y[::-1] / 2)
    return table, evaluate(table.ids, table.systems, table.domains, table.scores, table.targets, ["PQ"])


def test_clips_that_were_trained_on_get_no_interval_and_means_alone_no_ceiling():
    table, results = _small()
    assert "ci" not in with_evidence(evidence.TRAINING, results, table, ["PQ"])["utterance"]["PQ"]
    entry = with_evidence("test", results, table, ["PQ"])["utterance"]["PQ"]
    assert "ci" in entry
    assert "ceiling" not in entry


def test_the_table_shows_interval_and_ceiling_where_they_are_known():
    table, results = _small()
    ratings = [(id_, "PQ", listener, float(i)) for i, id_ in enumerate(table.ids) for listener in "12"]
    found = with_evidence("test", results, table, ["PQ"], ratings)
    found["utterance"]["PQ"] |= {"ci": {"SRCC": [0.8123, 0.957]}, "ceiling": {"lcc": 0.99999}}
    shown = results_table({"train": results, "test": found})
    columns = {column.header: list(column.cells) for column in shown.columns}
    assert columns["level"] == ["utterance", "system"] * 2
    assert columns["SRCC 95 %"] == ["", "", "0.81 to 0.96", ""]
    assert columns["highest LCC"] == ["", "", "0.999", ""]


def test_the_unit_of_the_intervals_is_chosen(run, corpora, tmp_path):
    folder, _, _ = run
    words = ["test", f"--ckpt_path={folder}/checkpoints/best.ckpt", "--data=MusicEval"]
    words += [f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={tmp_path}", "--name=again"]
    assert main([*words, "--evaluation.unit=system"]) == 0
    own, chosen = (
        json.loads((where / "results.json").read_text())["test"]["utterance"]["MI"]
        for where in (folder, tmp_path / "again")
    )
    assert (chosen["ci"], chosen["ci_why"]) == (own["ci_system"], own["ci_system_why"])
    assert "ci_system" not in chosen


def test_a_unit_that_no_clip_names_is_refused_before_anything_is_written(corpora, fails, tmp_path):
    words = [
        "fit",
        "--data=AESNatural",
        f"--data.root={corpora['aes_natural']}",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    said = fails(*words, "--name=run", "--evaluation.unit=prompt")
    assert "unit 'prompt' needs the prompt of the clips, and none is named; take unit 'clip'." in said
    assert not (tmp_path / "run" / "config.yaml").exists()
