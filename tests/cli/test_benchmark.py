"""``lightning-aqa benchmark``: a scoreboard of predictors on corpora, joined with others', and planted clips."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.results.board import letters


@pytest.fixture(scope="module")
def tables(run_folder, tmp_path_factory):
    """A run's predictions, the same a little worse, and the corpora's YAML."""
    root = tmp_path_factory.mktemp("board")
    with open(run_folder / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    targets = {(row["id"], row["axis"]): float(row["target"]) for row in rows}
    for name, sign in {"near": 1, "far": -1}.items():
        with open(root / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "MI", "TA"])
            for id_ in sorted({row["id"] for row in rows}):
                writer.writerow([id_, *(3 + sign * (targets[id_, axis] - 3) for axis in ("MI", "TA"))])
    return root


@pytest.fixture
def asked(corpora, tmp_path):
    path = tmp_path / "corpora.yaml"
    path.write_text(f"music:\n  class_path: MusicEval\n  init_args: {{root: {corpora['musiceval']}}}\n")
    return path


def entries(folder):
    return {entry["predictor"]: entry for entry in json.loads((folder / "board.json").read_text())["entries"]}


def test_predictors_stand_side_by_side_with_intervals_speed_and_what_training_has_seen(
    tables, asked, run_folder, tmp_path, capsys
):
    words = [str(tables / "near.csv"), f"<b>={tables / 'far.csv'}", str(run_folder)]
    assert main(["benchmark", *words, f"--corpora={asked}", f"--output={tmp_path / 'board'}"]) == 0
    found = entries(tmp_path / "board")
    assert set(found) == {"near", "<b>", "run"}
    near, far = (found[name]["levels"]["utterance"]["MI"]["SRCC"] for name in ("near", "<b>"))
    assert near["value"] > 0.9
    assert far["value"] < -0.9
    assert near["group"].startswith("a")
    run = found["run"]["levels"]["utterance"]["MI"]["LCC"]
    assert run["interval"] is None or run["interval"][0] < run["value"] < run["interval"][1]
    assert "system" in found["near"]["levels"]
    assert found["near"]["corpus"]["ceilings"]["utterance MI"]["LCC"] > 0.5
    assert found["run"]["speed"]["times_real_time"] > 0
    assert found["run"]["contamination"]["training_clips"] > 0
    assert "contamination" not in found["near"]
    page = (tmp_path / "board" / "board.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>=" not in page


def test_a_test_clip_that_was_trained_on_is_told(asked, run_folder, tmp_path, capsys):
    trained = tmp_path / "trained"
    shutil.copytree(run_folder, trained)
    lines = (trained / "predictions.csv").read_text().splitlines()
    ids = {line.split(",")[1] for line in lines if line.startswith("test,")}
    (planted,) = sorted(ids)[:1]
    with open(trained / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    path = next((run_folder / row["path"]).resolve() for row in rows if row["id"] == planted)
    samples, rate = soundfile.read(path)
    soundfile.write(tmp_path / "renamed.wav", samples, rate)
    train = next(line.split(",")[1] for line in lines if line.startswith("train,"))
    for row in rows:
        row["path"] = str(tmp_path / "renamed.wav") if row["id"] == train else str((run_folder / row["path"]).resolve())
    with open(trained / "clips.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main(["benchmark", str(trained), f"--corpora={asked}", f"--output={tmp_path / 'board'}"]) == 0
    said = capsys.readouterr().out
    assert "clips are recordings that trained was trained on, such as" in said
    found = entries(tmp_path / "board")["trained"]["contamination"]
    assert found["copies"] == 1
    assert [planted, train, "copy"] in found["matches"]


def test_boards_of_others_are_joined_and_differences_told(tables, asked, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["benchmark", f"a={tables / 'near.csv'}", f"--corpora={asked}", f"--output={one}"]) == 0
    assert main(["benchmark", f"b={tables / 'far.csv'}", f"--corpora={asked}", f"--output={two}"]) == 0
    assert entries(one)["a"]["corpus"]["digest"] == entries(two)["b"]["corpus"]["digest"]
    assert main(["benchmark", f"--merge={one / 'board.json'}", f"--output={two}"]) == 0
    assert set(entries(two)) == {"a", "b"}
    changed = json.loads((one / "board.json").read_text())
    changed["entries"][0]["levels"]["utterance"]["MI"]["SRCC"]["value"] = 0.123
    (one / "board.json").write_text(json.dumps(changed))
    assert main(["benchmark", f"--merge={two / 'board.json'}", f"--merge={one / 'board.json'}", f"--output={two}"]) == 0
    assert "a on music has other numbers than before, left out." in capsys.readouterr().out
    assert entries(two)["a"]["levels"]["utterance"]["MI"]["SRCC"]["value"] > 0.9


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "not a scoreboard, which has a list of entries"),
        ('{"version": 9, "entries": []}', "a scoreboard of version 9, expected 1"),
        ('{"version": 1, "entries": [{"predictor": "x"}]}', "entry 1 lacks a predictor, a corpus with its digest"),
    ],
)
def test_a_file_that_is_no_board_is_refused(content, told, tmp_path, fails):
    (tmp_path / "x.json").write_text(content)
    assert told in fails("benchmark", f"--merge={tmp_path / 'x.json'}", f"--output={tmp_path / 'board'}")
    assert not (tmp_path / "board").exists()


def test_what_cannot_be_compared_is_said(tables, asked, tmp_path, fails):
    near = str(tables / "near.csv")
    assert "expected predictors and --corpora=corpora.yaml" in fails("benchmark", near)
    assert "expected a folder, new or" in fails("benchmark", near, f"--corpora={asked}", f"--output={near}")
    (tmp_path / "bad.yaml").write_text("music: 3\n")
    assert "expected names of corpora" in fails("benchmark", near, f"--corpora={tmp_path / 'bad.yaml'}")
    (tmp_path / "bad.yaml").write_text("music: {class_path: MusicEval, init_args: {rot: x}}\n")
    assert "music: " in fails("benchmark", near, f"--corpora={tmp_path / 'bad.yaml'}")
    told = fails("benchmark", near, f"--corpora={asked}", "--split=tset", f"--output={tmp_path / 'b'}")
    assert "music has no rated clip in split 'tset'; it has" in told
    assert "expected a predictor, or NAME=PATH" in fails("benchmark", near, near, f"--corpora={asked}")


def test_predictors_without_anything_in_common_are_said(tables, asked, run_folder, tmp_path, fails):
    with open(tables / "near.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    halves = {"one.csv": (rows[:1], "MI"), "two.csv": (rows[1:], "MI"), "ta.csv": (rows, "TA")}
    for name, (kept, axis) in halves.items():
        (tmp_path / name).write_text("\n".join([f"id,{axis}", *(f"{row['id']},{row[axis]}" for row in kept)]) + "\n")
    words = [f"--corpora={asked}", f"--output={tmp_path / 'board'}"]
    one, two, ta = (str(tmp_path / name) for name in halves)
    assert "one, ta score no axis in common; benchmark them one by one" in fails("benchmark", one, ta, *words)
    assert "no clip has a score of each of one, two; benchmark them one by one" in fails("benchmark", one, two, *words)
    root = next(line.split("root: ")[1].rstrip("}") for line in asked.read_text().splitlines() if "root: " in line)
    table = tmp_path / "other.csv"
    clip = next(path for path in Path(root).rglob("*.wav"))
    table.write_text(f"file,split,quality\n{clip},test,3\n{clip.with_name('x.wav')},test,3\n")
    other = tmp_path / "other.yaml"
    other.write_text(f"o: {{class_path: Table, init_args: {{path: {table}, axes: {{quality: [1, 5]}}}}}}\n")
    said = fails("benchmark", str(run_folder), f"--corpora={other}", f"--output={tmp_path / 'board'}")
    assert "predicts MI, TA; the corpus rates quality: leave one out" in said
    assert not (tmp_path / "board").exists()


def test_each_two_that_differ_share_no_letter():
    same = [[i == j or {i, j} not in ({0, 2}, {0, 3}, {1, 3}) for j in range(4)] for i in range(4)]
    found = letters([1.0, 2.0, 3.0, 4.0], same, is_error=True)
    assert all(bool(set(found[i]) & set(found[j])) == same[i][j] for i in range(4) for j in range(4))
    assert letters([float("nan"), 0.5], [[True, True], [True, True]]) == ["", "a"]
