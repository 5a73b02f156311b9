"""Pairs from a table to the page and to ``score``, through the front door."""

import csv
import json
import math
import re

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.training.loading import load_module

FIT = ["--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.encoder.depth=1",
       "--model.encoder.num_heads=1", "--trainer.max_epochs=2", "--model.freeze=all", "--data.window_seconds=0.3",
       "--data.batch_size=12", "--data.fractions={train: .5, dev: .25, test: .25}"]  # fmt: skip


BT = "--objectives.pairs=BradleyTerry"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips that are louder the better they are, ratings of some, and pairs of all."""
    root, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    quality = random.standard_normal(24)
    for i in range(24):
        noise = random.standard_normal(4000 + 200 * (i % 3))
        soundfile.write(root / f"c{i:02d}.wav", (0.05 * np.exp(0.5 * quality[i]) * noise).clip(-1, 1), 8000)
    rated = [f"c{i:02d}.wav,{np.clip(3 + quality[i], 1, 5):.2f}" for i in range(16)]
    (root / "ratings.csv").write_text("\n".join(["file,overall", *rated]) + "\n")
    rows = ["a,b,winner"]
    for k in range(160):
        a, b = random.choice(24, 2, replace=False)
        won = "tie" if k % 3 == 0 else "a" if random.random() < 1 / (1 + np.exp(2 * (quality[b] - quality[a]))) else "b"
        rows.append(f"c{a:02d}.wav,c{b:02d}.wav,{won}")
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """A run on pairs beside ratings with cached features, and one on pairs alone; read-only."""
    root = tmp_path_factory.mktemp("runs")
    data = [
        "fit",
        "--data=PairTable",
        f"--data.path={folder / 'pairs.csv'}",
        f"--trainer.default_root_dir={root}",
        *FIT,
    ]
    data += [BT]
    beside = [
        f"--data.ratings={folder / 'ratings.csv'}",
        "--data.axes={overall: [1, 5]}",
        f"--data.cache={root / 'cache'}",
    ]
    assert main([*data, *beside, "--name=both"]) == 0
    assert main([*data, "--objectives.mse=null", "--monitor=val/loss", "--name=alone"]) == 0
    return root


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("name", "axis"), [("both", "overall"), ("alone", "preference")])
def test_a_run_folder_says_how_pairs_are_predicted(runs, name, axis):
    results = json.loads((runs / name / "results.json").read_text())
    rows = [row for row in read(runs / name / "pairs.csv") if row["split"] == "test"]
    of = {row["id"]: float(row["score"]) for row in read(runs / name / "predictions.csv") if row["split"] == "test"}
    entry = results["test"]["pairs"][axis]
    decisive = [row for row in rows if row["winner"] != "tie"]
    assert entry["n"] == len(decisive) > 3
    assert entry["ties"] == len(rows) - len(decisive) > 0
    right = [(of[row["clip_a"]] > of[row["clip_b"]]) == (row["winner"] == "a") for row in decisive]
    assert entry["accuracy"] == pytest.approx(np.mean(right))
    low, high = entry["ci"]["accuracy"]
    assert low < entry["accuracy"] < high or entry["accuracy"] in (0.0, 1.0)
    assert all(float(row["p_a"]) + float(row["p_b"]) + float(row["p_tie"]) == pytest.approx(1) for row in rows)
    assert 0 <= entry["ECE"] <= 1
    assert "ci" not in results["train"]["pairs"][axis]  # whose clips the model has seen
    link = load_module(runs / name).pair_link
    assert (link.slopes == (1.0,)) is (name == "alone")  # pairs alone say nothing of score points
    assert link.ties[0] > 0
    seen = [{row["id"] for row in read(runs / name / "predictions.csv") if row["split"] == split} for split in results]
    assert sum(map(len, seen)) == len(set().union(*seen))


@pytest.mark.parametrize("name", ["both", "alone"])
def test_the_page_shows_pairs(runs, name, tmp_path):
    assert main(["report", str(runs / name), f"--output={tmp_path}"]) == 0
    page = (tmp_path / "report.html").read_text()
    section = page.split('<section id="preferences">')[1].split("</section>")[0]
    entry = next(iter(json.loads((runs / name / "results.json").read_text())["test"]["pairs"].values()))
    assert f"{entry['accuracy']:.3f} [{entry['ci']['accuracy'][0]:.2f}, {entry['ci']['accuracy'][1]:.2f}]" in section
    assert "for other clips." in section
    assert len(re.findall("<svg", section)) == 1


def test_score_gives_the_probability_of_each_winner(runs, folder, tmp_path, capsys):
    (tmp_path / "new.csv").write_text("clip_a,clip_b\nc00.wav,c01.wav\nc02,c00.wav\nc01.wav,gone.wav\n")
    words = [
        "score",
        str(runs / "both"),
        str(folder),
        f"--pairs={tmp_path / 'new.csv'}",
        f"--output={tmp_path / 's.csv'}",
    ]
    assert main(words) == 1  # a clip is not there
    scores = {row["id"]: row["overall"] for row in read(tmp_path / "s.csv")}
    assert list(scores) == ["c00.wav", "c01.wav", "c02", "gone.wav"]
    first, second, third = read(tmp_path / "s.pairs.csv")
    slope, tie = (values[0] for values in load_module(runs / "both").pair_link)
    odds = slope * (float(scores["c00.wav"]) - float(scores["c01.wav"]))
    assert float(first["p_a"]) / float(first["p_b"]) == pytest.approx(math.exp(odds), rel=1e-3)
    assert float(first["p_tie"]) == pytest.approx(tie / (2 * math.cosh(odds / 2) + tie), rel=1e-3)
    assert (second["clip_a"], second["axis"]) == ("c02", "overall")
    assert third["p_a"] == ""
    again = [*words[:-1], f"--output={tmp_path / 's.jsonl'}"]
    assert main(again) == 1
    assert read(tmp_path / "s.pairs.csv") == [first, second, third]


def test_what_score_cannot_do_with_pairs_is_said(runs, folder, checkpoint, tmp_path, fails):
    pairs = f"--pairs={folder / 'pairs.csv'}"
    said = fails("score", checkpoint, str(folder), pairs, f"--output={tmp_path / 's.csv'}")
    assert "was not trained on pairs" in said
    both = str(runs / "both")
    assert "takes the folder" in fails("score", both, str(folder / "c00.wav"), pairs, f"--output={tmp_path / 's.csv'}")
    (tmp_path / "bad.csv").write_text("clip_a,clip_b\nc00.wav,c00.wav\n")
    bad = fails("score", both, str(folder), f"--pairs={tmp_path / 'bad.csv'}", f"--output={tmp_path / 's.csv'}")
    assert "bad.csv:2: 'c00.wav' is compared with itself" in bad


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--monitor=val/utterance/SRCC/mean is not a logged metric. The nearest is val/pairs/log_loss/mean."),
        (["--monitor=null"], "pairs alone, of which Regression learns nothing: add --objectives.pairs=BradleyTerry"),
        ([BT, "--monitor=null", "--model.head=Probe", "--trainer.max_epochs=0"], "Probe is fitted to rated clips"),
        ([BT, "--monitor=null", "--data.batch_size=null", "--data.batch_seconds=9"], "does not go with pairs"),
    ],
)
def test_settings_that_pairs_alone_cannot_be_learned_by_are_refused(folder, fails, tmp_path, words, expected):
    given = [f"--data.path={folder / 'pairs.csv'}", f"--trainer.default_root_dir={tmp_path}"]
    assert expected in fails("fit", "--data=PairTable", *given, *FIT, *words)


def test_pairs_are_learned_from_pairs_alone(folder, fails, tmp_path):
    given = [f"--data.path={folder / 'ratings.csv'}", f"--trainer.default_root_dir={tmp_path}"]
    said = fails("fit", "--data=Table", *given, *FIT, BT)
    assert "The objective pairs learns from pairs, and the training clips have none" in said
