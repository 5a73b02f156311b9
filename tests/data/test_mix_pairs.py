"""Pairs inside a mix: renamed as clips are, on the scale of those who rate, reported beside each corpus."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import soundfile

from lightning_aqa.batch import make_axes
from lightning_aqa.cli.main import main
from lightning_aqa.data.corpus_sampling import CorpusDraw
from lightning_aqa.data.manifest import Clip, Manifest, Pair
from lightning_aqa.data.mix import Mix
from lightning_aqa.data.pair_batches import PairBatches
from lightning_aqa.data.pair_table import PairTable
from lightning_aqa.data.validation import CorpusError
from tests.data.test_mix import table, write

NAMES = {"b": {"score": "mos"}, "p": {"preference": "mos"}}
HEADER = "clip_a,clip_b,winner,listener,split"


def write_pairs(folder, num=12, more=()):
    """Write a table of pairs of noises of which the louder wins, each clip in two pairs of its split."""
    folder.mkdir()
    rng, rows = np.random.default_rng(num), [HEADER]
    for i in range(num):
        noise = (0.05 + 0.2 * i / num) * rng.standard_normal(4000)
        soundfile.write(folder / f"{i}.wav", noise.clip(-1, 1), 8000)
    for i in range(num):
        other = (i + 3) % num
        winner = "tie" if i == 4 else "a" if i > other else "b"
        rows.append(f"{i}.wav,{other}.wav,{winner},L{i % 2},{('train', 'dev', 'test')[i % 3]}")
    (folder / "pairs.csv").write_text("\n".join([*rows, *more]) + "\n")
    return str(folder / "pairs.csv")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two rated corpora of different scales, and pairs; read-only."""
    root = tmp_path_factory.mktemp("mix")
    write(root / "a", "mos", 1, 5)
    write(root / "b", "score", 0, 100, num=24)
    write_pairs(root / "p")
    return root


@pytest.fixture
def three(root):
    a, b = table(root / "a" / "ratings.csv", "mos", 1, 5), table(root / "b" / "ratings.csv", "score", 0, 100)
    return {"p": PairTable(str(root / "p" / "pairs.csv")), "a": a, "b": b}


def flags(root, names=NAMES, pairs="p/pairs.csv"):
    words = ["--data=Mix", "--data.num_workers=0", f"--data.names={json.dumps(names)}"]
    words += ["--data.corpora.p=PairTable", f"--data.corpora.p.path={root / pairs}"]
    for name, scales in {"a": {"mos": [1, 5]}, "b": {"score": [0, 100]}}.items():
        words += [f"--data.corpora.{name}=Table", f"--data.corpora.{name}.path={root / name / 'ratings.csv'}"]
        words += [f"--data.corpora.{name}.axes={json.dumps(scales)}"]
    return words


def test_pairs_are_called_as_their_clips_on_the_scale_of_those_who_rate(three):
    mix = Mix(three, names=NAMES)
    assert [tuple(axis) for axis in mix.axes] == [("mos", "Mos", 1.0, 5.0)]
    first = mix.manifest.pairs[0]
    assert first == Pair("p/0.wav", "p/3.wav", "b", "mos", "p/L0", 1.0)
    assert {name: len(mix.manifest.split(name).pairs) for name in ("train", "dev", "test")} == dict.fromkeys(
        ("train", "dev", "test"), 4
    )
    assert {clip.id.split("/")[0] for clip in mix.manifest if clip.is_compared} == {"p"}
    assert mix.described["p"]["axes"] == {"preference": {"name": "mos", "slope": 1.0, "offset": 0.0}}
    wide = Mix(three, names=NAMES, axes={"mos": [0, 10]})
    assert wide.axes[0].high == 10
    assert [wide.maps[name][own].slope for name, own in (("p", "preference"), ("a", "mos"), ("b", "score"))] == [
        1.0, 2.5, 0.1
    ]  # fmt: skip
    assert Mix(three, names=NAMES, scale_map="none").axes[0].high == 100


def test_pairs_that_the_mix_has_not_are_left_out(three):
    left = Mix(three, names=NAMES, test_on=["p"])
    assert len(left.manifest.pairs) == len(left.manifest.split("test").pairs) == 4  # those of its own test clips
    alone = Mix(three, names={"b": {"score": "mos"}}, disjoint=True)
    assert [(axis.name, axis.low) for axis in alone.axes] == [("preference", -4.0), ("mos", 1.0)]
    rated = Mix(three, names={**NAMES, "p": {}}, disjoint=True, axes={"mos": [1, 5], "preference": [-4, 4]})
    assert {pair.axis for pair in rated.manifest.pairs} == {"preference"}


def test_a_pair_table_that_rates_too_has_a_scale_of_its_own(three, root, tmp_path):
    (tmp_path / "r.csv").write_text("\n".join(["file,mos", *(f"{i}.wav,{i % 11}" for i in range(12))]))
    places = {"ratings": str(tmp_path / "r.csv"), "audio_root": str(root / "p")}
    rated = PairTable(str(root / "p" / "pairs.csv"), axes={"mos": [0, 10]}, **places)
    mix = Mix({**three, "p": rated}, names={"b": {"score": "mos"}})
    assert mix.axes[0].high == 10
    assert mix.maps["p"]["mos"].slope == 1
    assert (mix.manifest[1].scores, mix.manifest[1].is_compared) == ({"mos": 1.0}, True)


BAD = ["2.wav,2.wav,a,L0,", "2.wav,gone.wav,a,L0,", "0.wav,3.wav,a,L0,", "1.wav,4.wav,b,L1,", "1.wav,2.wav,x,L0,"]


@pytest.fixture(scope="module")
def bad(root):
    return write_pairs(root / "bad", more=BAD)


def test_what_is_wrong_with_pairs_is_said_row_by_row_with_the_corpus(root, bad, fails):
    said = fails("fit", *flags(root, pairs="bad/pairs.csv"), "--objectives.mse=BradleyTerry")
    assert said.startswith("error: corpora.p: PairTable: 5 problems.")
    lines = {
        line.split(": ", 1)[0].rsplit(":")[-1]: line.split(": ", 1)[1] for line in said.splitlines() if bad in line
    }
    assert lines == {
        "14": "'2.wav' is compared with itself",
        "15": "'gone.wav' is no file of the folder of audio (--data.audio_root). Did you mean '9.wav'?",
        "16": f"L0 on 0.wav and 3.wav: 0.wav wins, but 3.wav wins at {bad}:2; neither row is used",
        "17": f"L1 on 1.wav and 4.wav: the same as at {bad}:3; this row is not used",
        "18": "winner is 'x', expected a, b, tie, or the name of one of the two clips",
    }


def test_rows_that_are_wrong_are_left_out_where_that_is_wanted(three, bad):
    mix = Mix({**three, "p": PairTable(bad)}, names=NAMES, on_bad_clip="skip")
    assert len(mix.manifest.pairs) == 11
    assert Counter(problem.kind for problem in mix.manifest.problems)["bad pair"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"names": {}},
            r"corpora p \(preference\) and a \(mos\) have no axis in common; call one as the other does, such",
        ),
        ({"axes": {"loud": [1, 5]}}, r"corpus p rates mos, and none of .* mix, loud; .*'\{p: \{preference: loud\}\}'"),
        ({"batch_seconds": 3.0}, "batch_seconds=3 does not go with pairs"),
    ],
)
def test_what_does_not_go_together_is_one_line(three, settings, message):
    mix = Mix(three, **{"names": {"b": {"score": "mos"}, "p": {"preference": "mos"}}, **settings})
    with pytest.raises(CorpusError, match=message):
        _ = mix.manifest


def test_a_temperature_needs_rated_clips_to_draw(three, root):
    again = PairTable(str(root / "p" / "pairs.csv"))
    mix = Mix({"p": three["p"], "q": again}, temperature=2)
    with pytest.raises(
        CorpusError, match=r"temperature=2 draws rated clips, and the training clips are in pairs alone"
    ):
        _ = mix.manifest


def test_a_file_that_training_hears_in_another_corpus_is_told(root, tmp_path, caplog):
    (tmp_path / "r.csv").write_text(
        "\n".join(["file,mos,split", *(f"{root / 'p' / f'{i}.wav'},{1 + i % 5},train" for i in range(12))])
    )
    rated = table(tmp_path / "r.csv", "mos", 1, 5)
    _ = Mix({"p": PairTable(str(root / "p" / "pairs.csv")), "r": rated}, names={"p": NAMES["p"]}).manifest
    assert "8 files are training clips of one corpus and in another split of another, such as" in caplog.text
    assert "(train of r, dev of p)" in caplog.text


def test_a_draw_takes_rated_clips_as_it_says_and_each_pair_once():
    clips = [Clip(f"c{i}", f"c{i}.wav", scores={"mos": 3.0} if i < 12 else {}) for i in range(20)]
    pairs = [Pair(f"c{i}", f"c{i + 1}", "a", "mos", weight=1.0 + i) for i in range(8, 19)]
    made = [
        PairBatches(Manifest(clips, make_axes({"mos": [1, 5]}), pairs=pairs), [1.0] * 20, 12 // n, 2.0, 5, rank, n)
        for n in (1, 2)
        for rank in range(n)
    ]
    for batches in made:
        batches.draw = CorpusDraw(["a"] * 10 + ["b"] * 2, 1e9)
    whole, *halves = [list(batches) for batches in made]
    counted = Counter(window.clip for batch in whole for window in batch if window.counts)
    assert sum(counted.values()) == 12
    assert (counted[10], counted[11]) == (3, 3)  # six draws from the corpus of two
    weights = [pair[3] for batch in whole for pair in batch[0].pairs]
    assert sorted(weights) == [1.0 + i for i in range(8, 19)]
    for batch in whole:
        for a, b, _, weight, _ in batch[0].pairs:
            assert (f"c{batch[a].clip}", f"c{batch[b].clip}") == pairs[round(weight) - 9][:2]
    for batch, parts in zip(whole, zip(*halves, strict=True), strict=True):
        assert Counter(w.clip for part in parts for w in part if w.counts) == Counter(w.clip for w in batch if w.counts)


def test_a_fit_of_two_scales_and_pairs_reports_all_on_one_page(root, fit, tmp_path, capsys):
    words = ["--objectives.mse=BiasAware", "--objectives.pairs=BradleyTerry", "--data.temperature=2"]
    words += ["--model.head.hidden=[]", "--monitor=val/utterance@b/MSE/mos"]
    run = fit(*flags(root), *words, epochs=2)
    results = json.loads((run / "results.json").read_text())["test"]
    counts = {name: found["utterance"]["mos"]["n"] for name, found in results["domains"].items()}
    assert counts == {"p": 0, "a": 4, "b": 8}
    assert all("SRCC" in results["domains"][name]["utterance"]["mos"] for name in ("a", "b"))
    assert 0 <= results["pairs"]["mos"]["accuracy"] <= 1
    with open(run / "pairs.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert {row["clip_a"] for row in rows} == {f"p/{i}.wav" for i in (2, 5, 8, 11)}
    assert "pairs" in capsys.readouterr().out
    assert main(["report", str(run), f"--output={tmp_path / 'report'}"]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Pairs that listeners judged" in page
    with open(tmp_path / "report" / "tables.csv", newline="") as file:
        assert {row["domain"] for row in csv.DictReader(file)} == {"", "a", "b"}
