"""From folders to runs and variants: what is found, what counts as the same, what is told instead of failing."""

import json

import numpy as np
import pytest

from lightning_aqa.results.runs import choose_split, find_runs, flat
from lightning_aqa.results.variants import collect
from tests.small_sweep import table, write_run


def _config(seed=0, **more):
    return {"seed_everything": seed, "name": f"run{seed}", "model": {"head": {"class_path": "a.MLP", **more}}}


def test_run_folders_and_folders_of_them_are_found_once_and_in_natural_order(tmp_path):
    for name in ("run-10", "run-2", "run-1"):
        write_run(tmp_path / "runs" / name, table(6))
    runs, notes = find_runs([tmp_path / "runs" / "run-10", tmp_path / "runs"])
    assert [run.name for run in runs] == ["run-10", "run-1", "run-2"]
    assert notes == []


def test_trials_that_are_not_finished_are_told_and_left_out(sweep):
    runs, notes = find_runs([sweep])
    assert len(runs) == 8
    assert notes == [f"{sweep}: 1 not finished, left out: t9"]


def test_folds_of_a_cross_validation_are_no_runs_of_their_own(tmp_path):
    whole = write_run(tmp_path / "cv", table(6))
    write_run(whole / "fold0", table(3))
    assert [run.folder for run in find_runs([whole])[0]] == [whole]


def test_dotted_settings_name_a_part_by_its_class():
    tree = {"head": {"class_path": "a.b.MLP", "init_args": {"hidden": [], "axes": {}}}, "x": None}
    assert dict(flat(tree)) == {"head": "MLP", "head.hidden": [], "head.axes": {}, "x": None}


def test_runs_that_differ_in_seeds_and_circumstances_alone_are_one_variant(tmp_path):
    write_run(tmp_path / "plain-0", table(8, seed=0), _config(0))
    write_run(tmp_path / "plain-1", table(8, seed=1), {**_config(1), "trainer": {"default_root_dir": "elsewhere"}})
    write_run(tmp_path / "wide-0", table(8, seed=2), _config(0, init_args={"hidden": [9]}))
    runs, _ = find_runs([tmp_path])
    evidence = collect(runs, "test")
    assert [(variant.name, len(variant.runs)) for variant in evidence.variants] == [("plain", 2), ("wide-0", 1)]
    expected = np.stack([table(8, seed=seed).scores for seed in (0, 1)])
    assert np.array_equal(evidence.variants[0].scores, expected)
    assert np.array_equal(evidence.variants[0].mean_scores, expected.mean(0))


def test_without_configs_the_names_of_the_folders_tell_the_seeds(tmp_path):
    for name in ("a-seed0", "a-seed1", "b-seed0"):
        write_run(tmp_path / name, table(6))
    evidence = collect(find_runs([tmp_path])[0], "test")
    assert [(variant.name, len(variant.runs)) for variant in evidence.variants] == [("a", 2), ("b-seed0", 1)]


def test_a_sweep_names_its_variants_in_the_order_of_its_trials(sweep):
    evidence = collect(find_runs([sweep])[0], "test")
    assert [variant.name for variant in evidence.variants] == [
        f"margin_scale={margin}, preference_factor={factor}" for margin in (0.1, 0.4) for factor in (1, 7)
    ]  # fmt: skip
    assert {len(variant.runs) for variant in evidence.variants} == {2}
    assert evidence.variants[0].settings == {
        "objectives.qamro.margin_scale": 0.1, "objectives.qamro.preference_factor": 1,
    }  # fmt: skip


def test_the_baseline_comes_first(sweep):
    runs, _ = find_runs([sweep])
    name = "margin_scale=0.4, preference_factor=7"
    assert collect(runs, "test", baseline=name).variants[0].name == name
    with pytest.raises(ValueError, match=r"no such variant; there are: margin_scale=0\.1, preference_factor=1, "):
        collect(runs, "test", baseline="nothing")


def test_a_seed_that_was_run_twice_counts_once_and_is_told(tmp_path):
    write_run(tmp_path / "a", table(6, seed=0), _config(0))
    write_run(tmp_path / "a-2", table(6, seed=1), _config(0))
    evidence = collect(find_runs([tmp_path])[0], "test")
    assert [variant.scores.shape[0] for variant in evidence.variants] == [1]
    assert np.array_equal(evidence.variants[0].scores[0], table(6, seed=1).scores)
    assert "Run twice" in evidence.notes[0]


def _part(of, rows):
    columns = [[values[i] for i in rows] for values in of[:3]]
    return of._replace(
        ids=columns[0], systems=columns[1], domains=columns[2], targets=of.targets[rows], scores=of.scores[rows],
        prompts=[of.prompts[i] for i in rows],
    )  # fmt: skip


def test_variants_are_set_on_the_clips_and_axes_that_all_have(tmp_path):
    whole = table(8)
    write_run(tmp_path / "all", whole)
    write_run(tmp_path / "some", _part(whole, [5, 1, 2])._replace(targets=whole.targets[[5, 1, 2]]))
    evidence = collect(find_runs([tmp_path])[0], "test")
    assert evidence.ids == sorted(whole.ids[i] for i in (1, 2, 5))
    assert np.array_equal(evidence.targets, whole.targets[[1, 2, 5]])
    assert np.array_equal(evidence.variants[1].scores[0], whole.scores[[1, 2, 5]])
    assert evidence.notes == ["5 clips are not in every run and are left out."]


def test_runs_that_cannot_be_set_side_by_side_are_refused(tmp_path):
    first = write_run(tmp_path / "a", table(6))
    other = write_run(tmp_path / "b", table(6)._replace(targets=table(6).targets + 0.5))
    with pytest.raises(ValueError, match="rates the same clips differently"):
        collect(find_runs([first, other])[0], "test")
    renamed = write_run(tmp_path / "c", table(6)._replace(ids=list("abcdef")))
    with pytest.raises(ValueError, match="no clip or no axis in common"):
        collect(find_runs([first, renamed])[0], "test")


def test_the_split_is_test_unless_asked(tmp_path):
    runs, _ = find_runs([write_run(tmp_path / "a", table(6))])
    assert choose_split(runs, None) == "test"
    assert choose_split(runs, "train") == "train"
    with pytest.raises(ValueError, match="--split=dev: not rated in every run; splits that are: train, test"):
        choose_split(runs, "dev")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "no predictions.csv in it, nor in a folder of it"),
        (
            lambda path: (path.mkdir(), (path / "predictions.csv").write_text("id,score\na,1\n")),
            "no column 'split'; it has id, score.",
        ),
    ],
)
def test_what_is_no_run_is_told_in_one_line(tmp_path, fails, make, words):
    make(tmp_path / "x")
    said = fails("report", str(tmp_path / "x"))
    assert words in said
    assert said.count("\n") == 0


def test_the_reason_of_a_variant_is_the_comment_that_opens_its_yaml(tmp_path):
    (tmp_path / "delta.yaml").write_text("# Why it is tried,\n# in two lines.\nmodel: {}\n# not this\n")
    trial = {"variant": "delta", "state": "finished", "parameters": {"variant": str(tmp_path / "delta.yaml")}}
    folder = write_run(tmp_path / "t0", table(6), {}, trial)
    assert json.loads((folder / "trial.json").read_text())["variant"] == "delta"
    evidence = collect(find_runs([folder])[0], "test")
    assert evidence.variants[0].reason == "Why it is tried, in two lines."
