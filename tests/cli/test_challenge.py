"""The subcommand challenge: an answer from a run, a checkpoint or a table, checked, scored, or refused by kinds."""

import csv
import json
import re
import zipfile
from pathlib import Path

import pytest

from lightning_aqa.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "experiments" / "challenges").glob("*.yaml"))
TRACK_1, TRACK_2 = (f"experiments/challenges/audiomos2025_track{n}.yaml" for n in (1, 2))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Call commands from a folder that has the experiments, and no file that they name."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfd):
    """Run the subcommand; return its exit code and what it says."""

    def call(*words):
        capfd.readouterr()
        code = main(["challenge", *map(str, words)])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_challenge_runs_on_a_made_up_copy_and_its_answer_passes(path, run, folder):
    lines = path.read_text().splitlines()
    name = f"experiments/challenges/{path.name}"
    assert lines[1].startswith(f"#   python -m lightning_aqa challenge {name} ")
    answer = "own/answer.zip" if path.stem != "list" else "own/answer.csv"
    words = [name, "--made_up=made", f"--answer={answer}"]
    code, out, _ = run(*words)
    assert code == 0
    assert f"{answer}: written; 48 clips, a line of " in out
    assert "this answer" in out
    assert "These ratings are made up: no person has heard anything" in out
    assert run(*words)[1].startswith(f"{answer}: there already, the same; 48 clips")
    code, out, _ = run(*words, "--check")
    assert (code, out.splitlines()[0].partition(";")[0]) == (0, f"{answer}: as the organisers ask")
    left = {item.name for item in folder.iterdir()}
    assert left == {"experiments", "made", "own"}


def test_the_files_are_what_the_organisers_ask_for(run):
    for stem, name, first in (
        ("audiomos2025_track1", "answer.txt", r"audiomos2025-track1-S001_P001,\d\.\d+,\d\.\d+"),
        ("audiomos2025_track2", "answer.txt", "sample_id,PQ,PC,CE,CU"),
        ("urgent2026_track2", "mos.scp", r"P001-fileid_0001 \d\.\d+"),
        ("voicemos", "answer.txt", r"sys00001-utt00001,\d\.\d+"),
    ):
        assert run(f"experiments/challenges/{stem}.yaml", f"--made_up={stem}", f"--answer={stem}.zip")[0] == 0
        with zipfile.ZipFile(f"{stem}.zip") as archive:
            assert archive.namelist() == [name, *["README.yaml"] * (name == "mos.scp")]
            assert re.fullmatch(first, archive.read(name).decode().splitlines()[0])


def _track_1(corpora):
    root = corpora["musiceval"] / "MusicEval-full"
    clips = root / "sets" / "test_mos_list.txt"
    return [TRACK_1, f"--clips={clips}", f"--labels={clips}", f"--audio={root / 'wav'}"]


def test_a_run_and_its_checkpoint_give_one_answer_scored_as_the_run_was(corpora, run_folder, checkpoint, run, folder):
    words = _track_1(corpora)
    code, out, _ = run(*words, f"--scores={run_folder}", "--answer=run.txt")
    assert code == 0
    results = json.loads((run_folder / "results.json").read_text())["test"]
    for level in ("system", "utterance"):
        for axis in ("MI", "TA"):
            (line,) = [line for line in out.splitlines() if re.match(rf"{level} +{axis} +this answer", line)]
            assert f" {results[level][axis]['MSE']:.3f} " in line
    assert run(*words, f"--checkpoint={checkpoint}", "--answer=own.txt")[0] == 0
    answers = [list(csv.reader(Path(name).read_text().splitlines())) for name in ("run.txt", "own.txt")]
    assert [row[0] for row in answers[0]] == [row[0] for row in answers[1]]
    for one, other in zip(*answers, strict=True):
        assert list(map(float, one[1:])) == pytest.approx(list(map(float, other[1:])), abs=1e-5)
    fields = [json.loads(line) for line in Path("own.clips.jsonl").read_text().splitlines()]
    assert all(field["prompt"] for field in fields)
    (folder / "few").mkdir()
    code, _, err = run(*words[:3], f"--checkpoint={checkpoint}", "--answer=x.txt", "--audio=few")
    assert code == 2
    assert re.search(r"missing audio, \d times: few holds no audio called audiomos2025-track1-S", err)
    assert not Path("x.txt").exists()


def test_track_2_is_read_from_its_real_layout(corpora, run):
    root = corpora["aes_natural"]
    clips = root / "audiomos2025-track2-eval-phase" / "DATA" / "sets" / "eval_list.txt"
    labels = root / "audiomos2025_track2_human_annotations.jsonl"
    names = clips.read_text().split()
    lines = [f"{name}.wav,{n % 10},{n % 7},{n % 9},{n % 5}" for n, name in enumerate(reversed(names))]
    Path("scores.csv").write_text("\n".join(["path,pq,pc,ce,cu", "elsewhere.wav,1,1,1,1", *lines]))
    code, out, _ = run(TRACK_2, f"--clips={clips}", f"--labels={labels}", "--scores=scores.csv")
    assert code == 0
    assert re.search(r"^system +PQ +this answer +3 ", out, re.MULTILINE)
    assert re.search(r"^system +CU +AESA-Net .*36 +0.533 +.897 \[.806, .947\] +.894 \[", out, re.MULTILINE)
    assert "No place among the published" in out
    written = Path("answer.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in written] == ["sample_id", *names]


@pytest.fixture
def small():
    """A list of four clips on two axes, and its table of scores."""
    Path("c.yaml").write_text(
        "challenge: list\nclips: list.txt\nscores: scores.csv\nlabels: list.csv\nanswer: out.csv\n"
        "axes: {a: [1, 5], b: [0, 10]}\nheader: true\n"
    )
    Path("list.txt").write_bytes(b"\xef\xbb\xbf0012\r\nx.WAV\r\n y z.wav\r\nv1.5\r\n")
    Path("list.csv").write_text("id,a,b\n0012,1,1\nx,2,2\ny z,3,3\nv1.5,4,4\n")
    Path("wrong.csv").write_text("id,a,b\n0012,7,x\n")
    Path("scores.csv").write_text("id;B;A\nv1.5.flac;1;2\nx;3;1.5\nfolder/y z.mp3;0;5\n0012;10;1\n12;0;1\n")
    return Path("scores.csv")


def test_hostile_lists_and_tables_come_together_in_the_order_of_the_list(small, run):
    code, out, err = run("c.yaml")
    assert (code, err) == (0, "")
    assert Path("out.csv").read_bytes() == b"id,a,b\n0012,1.0,10.0\nx,1.5,3.0\ny z,5.0,0.0\nv1.5,2.0,1.0\n"
    assert "utterance level, mean of SRCC over the axes: " in out


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        ("id,a,b\n0012,1,1\nx,nan,1\ny z,1,inf\n",
         ["no finite number, 2 times: scores.csv:3: a of x is 'nan', expected a finite number; leave the cell empty",
          "missing score, once: scores.csv has no score for v1.5; score it too"]),
        ("id,a,b\n0012,1,1\nx,2,\ny z,3,3\nv1.5,4,4\nx.wav,2.5,2\n",
         ["two scores of one clip, once: scores.csv:6: a of x is 2.5, but 2 at scores.csv:3; keep one row"]),
        ("id,a,b\n0012,1,11\nx,-2,4\ny z,3,3\nv1.5,4,4\n",
         ["out of range, 2 times: b of 0012 is 11, beyond 0 to 10; clip_to_scale clips it; a of x is -2, beyond"]),
        ("id;a;b\n0012;1,5;2\nx;2;2\ny z;3;3\nv1.5;4;4\n",
         ["no finite number, once: scores.csv:2: a of 0012 is '1,5', expected a finite number"]),
    ],
)  # fmt: skip
def test_an_answer_that_would_be_wrong_is_not_written(table, lines, small, run):
    small.write_text(table)
    code, _, err = run("c.yaml")
    assert code == 2
    said = err.splitlines()
    assert said[-1].startswith("error: out.csv: not written, for ")
    assert len(said) == len(lines) + 1
    for line, told in zip(lines, said, strict=False):
        assert told.startswith(line)
    assert not Path("out.csv").exists()


def test_scores_beyond_their_scale_are_clipped_where_that_is_asked_for(small, run):
    small.write_text("id,a,b\n0012,1,11\nx,-2,4\ny z,3,3\nv1.5,4,4\n")
    code, out, _ = run("c.yaml", "--clip_to_scale")
    assert code == 0
    assert "2 scores beyond their scale were clipped, the first: b of 0012 is 11, beyond 0 to 10" in out
    assert Path("out.csv").read_text().splitlines()[1:3] == ["0012,1.0,10.0", "x,1.0,4.0"]


def test_check_lists_each_fault_with_its_line(small, run):
    Path("out.csv").write_text("id,a,b\nx,1,1\n0012,1,1\nx,2,2\ny z.wav,3,x\n")
    code, out, err = run("c.yaml", "--check")
    assert code == 2
    assert out.splitlines() == [
        "out.csv:2: x is where the list has 0012; keep the order of the list.",
        "out.csv:4: x is in line 2 too; keep one.",
        "out.csv:5: 'y z.wav' is called 'y z' in this challenge; write that.",
        "out.csv:5: b is 'x', expected a number from 0 to 10.",
        "out.csv: no line for v1.5; score it too.",
    ]
    assert err == "error: out.csv: 5 faults; correct and check again.\n"
    Path("out.csv").write_text("id,a,b\n" + "".join(f"n{n},1,1\n" for n in range(50)))
    code, out, _ = run("c.yaml", "--check")
    assert len(out.splitlines()) == 20 + 4 + 1
    assert out.splitlines()[-1] == "out.csv: unknown clip: 30 more."


def test_another_file_is_not_overwritten(small, run, fails):
    Path("out.csv").write_text("something of mine")
    assert fails("challenge", "c.yaml").startswith(
        "error: out.csv: another file is there; move it away or name another"
    )
    assert Path("out.csv").read_text() == "something of mine"
    assert not [item for item in Path().iterdir() if item.suffix == ".part"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("challenge: list", "challenge: lisst"), r"challenge is 'lisst', expected one of .*Did you mean 'list'\?"),
        (("challenge: list", "- a"), "not YAML that can be read|no settings of a challenge"),
        (("axes:", "axis:"), r"there is no key 'axis'; known: .*Did you mean 'axes'\?"),
        (("axes: {a: [1, 5], b: [0, 10]}", ""), "a list names its axes with their scales, such as axes: "),
        (("[1, 5]", "[5, 1]"), "c.yaml: "),
        (("header: true", "header: [id, a]"), "header is .*expected true, false or a list of 3 names"),
        (("header: true", "delimiter: ';;'"), "delimiter is ';;', expected one of comma, semicolon"),
        (("header: true", "keeps_suffix: perhaps"), "keeps_suffix is 'perhaps', expected true or false"),
        (("header: true", "file: ../x.txt"), r"file is '\.\./x\.txt', expected a name without a folder"),
        (("header: true", "system: 'a('"), "c.yaml: .*unterminated|c.yaml: missing"),
        (("header: true", "system: abc"), "system is 'abc', expected a group"),
        (("header: true", "column: a"), "column is for a challenge with one axis; this one has a, b"),
        (("clips: list.txt", "clips: 3"), "clips is 3, expected a path in quotes"),
        (("clips: list.txt", ""), "no list of clips; name one with clips, or try --made_up=FOLDER"),
        (("clips: list.txt", "clips: lisst.txt"), r"lisst\.txt: no such file\. Did you mean 'list\.txt'\?"),
        (("scores: scores.csv", ""), "no scores; name a table of scores, or a checkpoint and its audio"),
        (("scores: scores.csv", "scores: scores.csv\ncheckpoint: x"), "both scores and a checkpoint"),
        (("scores: scores.csv", "checkpoint: x"), "a checkpoint needs the audio of the clips; name its folder"),
        (("scores: scores.csv", "checkpoint: x\naudio: nowhere"), "nowhere: the folder does not exist"),
        (("labels: list.csv", "labels: wrong.csv"), r"wrong\.csv:2: a is 7, the scale is 1 to 5; and 1 more like it"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_yaml_is_told_in_one_line(change, told, small, fails):
    text = Path("c.yaml").read_text()
    assert change[0] in text
    Path("c.yaml").write_text(text.replace(*change))
    said = fails("challenge", "c.yaml")
    assert re.search(told, said), said
    assert said.count("\n") == 0
    assert not Path("out.csv").exists()


def test_a_made_up_folder_of_another_challenge_is_refused(run, fails):
    assert run(TRACK_1, "--made_up=made", "--answer=a.txt")[0] == 0
    said = fails("challenge", TRACK_2, "--made_up=made", "--answer=b.txt")
    assert re.search(r"made/\S+: is not of this made-up challenge; name another folder", said)
