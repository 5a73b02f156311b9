"""Several corpora as one, through their tables and through the front door."""

import csv
import json
import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.data.corpus_sampling import CorpusDraw, counts_at_temperature
from lightning_aqa.data.mix import Mix
from lightning_aqa.data.samplers import TrainingBatches
from lightning_aqa.data.table import Table
from lightning_aqa.data.validation import CorpusError


def write(folder, axis, low, high, num=12, splits=("train", "dev", "test"), domains=("",)):
    """Write a table of noises that are rated by their level, two listeners each; the same names in every corpus."""
    folder.mkdir()
    rng = np.random.default_rng(num)
    rows = [f"file,listener,system,split,domain,{axis}"]
    for i in range(num):
        level = (i // len(splits)) % 4 / 3
        soundfile.write(folder / f"{i}.wav", (0.05 + 0.2 * level) * rng.standard_normal(4000), 8000)
        score = low + (high - low) * level
        split, domain = splits[i % len(splits)], domains[i % len(domains)]
        rows += [f"{i}.wav,L{k},S{i % 2},{split},{domain},{score:g}" for k in range(2)]
    (folder / "ratings.csv").write_text("\n".join(rows))
    return folder / "ratings.csv"


def table(path, axis, low, high, **more):
    return Table(str(path), {axis: [low, high]}, **more)


@pytest.fixture
def two(tmp_path):
    """A corpus of 1-5 and one of 0-100, whose clips, systems and listeners have the same names."""
    a = write(tmp_path / "a", "mos", 1, 5)
    b = write(tmp_path / "b", "score", 0, 100, num=24, domains=("music", "speech"))
    return {"a": table(a, "mos", 1, 5), "b": table(b, "score", 0, 100)}


@pytest.fixture
def flags(two):
    """The same two as words of a command line."""
    words = ["--data=Mix", "--data.num_workers=0", "--data.names={b: {score: mos}}"]
    for name, data in two.items():
        words += [f"--data.corpora.{name}=Table", f"--data.corpora.{name}.path={data.path}"]
        words += [f"--data.corpora.{name}.axes={json.dumps(data.scales)}"]
    return words


def test_axes_are_joined_by_name_on_the_scale_of_the_first(two):
    mix = Mix(two, names={"b": {"score": "mos"}})
    assert [tuple(axis) for axis in mix.axes] == [("mos", "Mos", 1.0, 5.0)]
    of_b = [clip for clip in mix.manifest if clip.id.startswith("b/")]
    assert sorted({clip.scores["mos"] for clip in of_b}) == pytest.approx([1, 7 / 3, 11 / 3, 5], abs=1e-5)
    assert of_b[3].ratings == {"b/L0": of_b[3].scores, "b/L1": of_b[3].scores}


def test_equal_names_of_two_corpora_stay_two_and_a_corpus_keeps_its_domains(two):
    mix = Mix(two, names={"b": {"score": "mos"}})
    assert len({clip.id for clip in mix.manifest}) == 36
    assert {clip.system for clip in mix.manifest} == {"a/S0", "a/S1", "b/S0", "b/S1"}
    assert {clip.domain for clip in mix.manifest} == {"a", "b/music", "b/speech"}
    assert mix.group_of(mix.manifest[0]).startswith("a/")


def test_an_axis_that_a_corpus_lacks_is_not_rated(two, tmp_path):
    path = tmp_path / "a" / "wide.csv"
    path.write_text("file,split,mos,loud\n" + "\n".join(f"{i}.wav,train,3,{i}" for i in range(6)))
    mix = Mix({"a": two["a"], "c": Table(str(path), {"mos": [1, 5], "loud": [0, 5]})})
    scores = mix.manifest.scores()
    assert np.isnan(scores[:12, 1]).all()
    assert scores[12:, 1].tolist() == [0, 1, 2, 3, 4, 5]


def test_scores_may_be_left_as_they_are_where_the_scale_holds_them(two):
    raw = Mix(two, names={"b": {"score": "mos"}}, scale_map="none")
    assert [tuple(axis)[2:] for axis in raw.axes] == [(0.0, 100.0)]
    assert max(clip.scores["mos"] for clip in raw.manifest) == 100.0
    with pytest.raises(
        CorpusError, match="scale_map=none leaves score of b on 0 to 100, which mos with 1 to 5 does not"
    ):
        Mix(two, names={"b": {"score": "mos"}}, axes={"mos": [1, 5]}, scale_map="none").read()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, r"corpora a \(mos\) and b \(score\) have no axis in common.*names='\{b: \{score: mos\}\}'"),
        (
            {"axes": {"x": [1, 5]}},
            r"corpus a rates mos, and none of the axes of the mix, x; .*names='\{a: \{mos: x\}\}'",
        ),
        ({"names": {"b": {"scor": "mos"}}}, r"names.b has scor, and b rates score. Did you mean 'score'\?"),
    ],
)
def test_corpora_without_a_common_axis_get_one_line_that_says_which(two, more, said):
    with pytest.raises(CorpusError, match=said):
        Mix(two, **more).read()
    if not more:
        assert len(Mix(two, disjoint=True).axes) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"test_on": ["c"]}, "test_on names c; the corpora are a, b."),
        ({"test_on": ["a", "b"]}, "test_on names all corpora"),
        ({"temperature": 0}, "temperature must be above 0, got 0."),
        ({"temperature": 2, "batch_seconds": 9}, "which batch_seconds cannot cut"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(two, more, said):
    with pytest.raises(ValueError, match=said):
        Mix(two, **more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--data.names=null", "corpora a (mos) and b (score) have no axis in common; call one as the other does"),
        ("--data.corpora.a.batch_size=4", "a sets batch_size=4, which is one for all corpora: --data.batch_size=4"),
        ("--data.corpora.a.folds=3", "corpora.a has folds=3, and a mix is not cross-validated"),
        ("--data.corpora.a.path=gone.csv", "corpora.a: gone.csv"),
    ],
)
def test_what_is_wrong_with_a_corpus_is_said_in_one_line(flags, fails, more, said):
    assert said in fails("fit", *flags, more)


def test_a_fit_reports_each_corpus_and_the_domains_inside_it(fit, flags, tmp_path, capsys):
    words = ["--model.head.hidden=[]", "--monitor=val/utterance@b/MSE/mos", "--data.temperature=3"]
    run = fit(*flags, *words, f"--data.cache={tmp_path / 'features'}", epochs=2)
    assert "utterance, b" in capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    counts = {name: found["utterance"]["mos"]["n"] for name, found in results["train"]["domains"].items()}
    assert counts == {"a": 4, "b": 8, "b/music": 4, "b/speech": 4}
    assert results["train"]["utterance"]["mos"]["n"] == 12
    about = json.loads((run / "run.json").read_text())["corpora"]
    assert about["b"] == {"class": "Table", "axes": {"score": {"name": "mos", "slope": 0.04, "offset": 1.0}}}
    with open(run / "predictions.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 36
    assert (rows["b/3.wav"]["domain"], rows["b/3.wav"]["system"]) == ("b/speech", "b/S1")
    assert main(["report", str(run), f"--output={tmp_path / 'report'}"]) == 0
    with open(tmp_path / "report" / "tables.csv", newline="") as file:
        assert {row["domain"] for row in csv.DictReader(file)} == {"", "a", "b", "b/music", "b/speech"}


def test_a_corpus_is_left_out_as_the_test(fit, flags):
    run = fit(*flags, "--data.test_on=[b]", "--model.head.hidden=[]")
    results = json.loads((run / "results.json").read_text())
    assert {split: list(found["domains"]) for split, found in results.items()} == {
        "train": ["a"],
        "dev": ["a"],
        "test_seen": ["a"],
        "test": ["b", "b/music", "b/speech"],
    }
    assert results["test"]["utterance"]["mos"]["n"] == 8  # those clips of b that other models are tested on


def test_a_corpus_without_a_test_split_is_all_of_the_test(two, tmp_path, caplog):
    bare = write(tmp_path / "d", "mos", 1, 5, num=6, splits=("train",))
    mix = Mix({"a": two["a"], "d": table(bare, "mos", 1, 5)}, test_on=["d"])
    assert Counter(clip.split for clip in mix.manifest) == {"train": 4, "dev": 4, "test_seen": 4, "test": 6}
    assert "d has no rated split 'test'; all of its clips are the test." in caplog.text


def test_draws_follow_the_temperature():
    assert counts_at_temperature([90, 10], 1) == [90, 10]
    assert counts_at_temperature([90, 10], math.inf) == [50, 50]
    assert counts_at_temperature([1, 1000], 0.01) == [1, 1000]
    assert counts_at_temperature([5, 4, 2], 3) == [4, 4, 3]
    draw = CorpusDraw(["a"] * 90 + ["b"] * 10, math.inf)
    first, second = (draw(np.random.default_rng(seed)) for seed in (0, 1))
    times = Counter(first.tolist())
    assert len(first) == 100
    assert {times[i] for i in range(90, 100)} == {5}  # the small corpus whole, five times
    assert {times[i] for i in range(90)} == {0, 1}
    assert set(first[first < 90]) != set(second[second < 90])  # other clips of the large one in each epoch


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_processes_share_the_draws_of_an_epoch(num_ranks):
    def epoch(rank, ranks):
        batches = TrainingBatches([4.0] * 40, 12 // ranks, 2.0, 0, rank, ranks)
        batches.draw = CorpusDraw(["a"] * 36 + ["b"] * 4, 5.0)
        batches.set_epoch(1)
        found = list(batches)
        assert len(batches) == len(found)
        return found

    whole = [sorted(batch) for batch in epoch(0, 1)]
    parts = [epoch(rank, num_ranks) for rank in range(num_ranks)]
    assert [sorted(chain(*batch)) for batch in zip(*parts, strict=True)] == whole
    windows = [window for batch in whole for window in batch if window.clip >= 36]
    assert len(windows) > 12
    assert len({(window.clip, window.start) for window in windows}) > 4  # drawn again, cut elsewhere


def test_a_mix_says_whether_it_is_simulated_and_skips_bad_clips_of_each(two, tmp_path):
    (tmp_path / "b" / "3.wav").unlink()
    mix = Mix(two, names={"b": {"score": "mos"}}, on_bad_clip="skip")
    mix.prepare(8000)
    mix.check_clips(mix.manifest)
    assert [problem.clip_id for problem in mix.skipped] == ["b/3.wav"]
    assert len(mix.manifest) == 35
    assert not mix.is_simulated
