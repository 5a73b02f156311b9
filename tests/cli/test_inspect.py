"""``inspect`` through the front door: what it finds in tables of all kinds, and that fit agrees."""

import shlex

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.data.table import Table


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder of six short clips, in which a table can be written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for n in range(6):
        soundfile.write(tmp_path / "clips" / f"{n}.wav", 0.1 * np.sin(np.arange(1600) * (n + 1) / 20), 8000)
    return tmp_path


@pytest.fixture
def look(study, capsys):
    """Write a table and look at it; return the exit code and what was printed, and nothing else is written."""

    def run(text, *words, name="ratings.csv"):
        (study / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        before = sorted(study.rglob("*"))
        capsys.readouterr()
        code = main(["inspect", name, *words])
        assert sorted(study.rglob("*")) == before
        return code, capsys.readouterr().out

    return run


WIDE = "file,mos,comment\n" + "".join(f"{n}.wav,{1 + n % 5},x\n" for n in range(6))
LONG = "file,listener,score\n" + "".join(f"{n}.wav,{k},{1 + (n + k) % 5}\n" for n in range(6) for k in range(3))
TABLES = {
    "wide": (WIDE, "ratings.csv", "mos", [1, 5]),
    "long": (LONG, "ratings.csv", "score", [1, 5]),
    "semicolon": (WIDE.replace(",", ";"), "ratings.csv", "mos", [1, 5]),
    "BOM": (b"\xef\xbb\xbf" + WIDE.encode(), "ratings.csv", "mos", [1, 5]),
    "0-100": ("file,overall\n" + "".join(f"{n}.wav,{17 * n}\n" for n in range(6)), "ratings.csv", "overall", [0, 100]),
    "extensionless table": (LONG, "ratings", "score", [1, 5]),
    "extensionless JSON": ('{"file": "0.wav", "mos": 3}\n' + "".join(
        f'{{"file": "{n}.wav", "mos": {n}}}\n' for n in range(1, 6)), "ratings", "mos", [1, 5]),
    "extensionless names": (WIDE.replace(".wav", ""), "ratings.csv", "mos", [1, 5]),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_what_inspect_guesses_is_what_fit_takes(look, kind):
    text, name, axis, scale = TABLES[kind]
    code, said = look(text, "--data.audio_root=clips", name=name)
    assert code == 0, said
    assert f"--data.axes='{{{axis}: [{scale[0]}, {scale[1]}]}}'" in said
    assert "usable        6 of 6 clips" in said.replace("usable             6", "usable        6")
    assert said.rstrip().endswith(f"lightning-aqa fit {name} clips")
    manifest = Table(name, audio_root="clips").manifest
    assert [(found.name, found.low, found.high) for found in manifest.axes] == [(axis, *map(float, scale))]
    assert all(clip.path.endswith(".wav") for clip in manifest)


def test_columns_listeners_and_splits_are_told(look):
    _, said = look(LONG, "clips")
    assert "listeners         3" in said
    assert "ratings per clip  3 / 3 / 3" in said
    assert "none in the table: 5 folds are drawn by clip (seed 0)" in said
    own = "file,mos,subset,notes\n" + "".join(
        f"{n}.wav,{1 + n % 5},{split},?\n"
        for n, split in enumerate(["train", "train", "valid", "test", "test", "Train"])
    )
    code, said = look(own, "clips", "--data.batch_size=2")
    assert code == 1  # four clips to learn from
    assert "4 clips to learn from cannot fill 5 folds: --data.folds=4 is the most." in said
    code, said = look(own, "clips", "--data.batch_size=2", "--data.folds=3")
    assert code == 0
    assert "column 'subset': the splits are the table's own (train 3, dev 1, test 2): 3 folds are drawn within" in said
    assert [line.split()[1:] for line in said.splitlines() if line.startswith("  notes")] == [["not", "used"]]
    assert "  test: 2 rated clips\n" in said
    assert said.rstrip().endswith("fit ratings.csv clips --data.batch_size=2 --data.folds=3")


@pytest.mark.parametrize(
    ("change", "kind", "mend"),
    [
        (lambda name: f"clips/{name}", "the folder written twice", "--data.audio_root=."),
        (lambda name: name.replace(".wav", ".mp3"), "another extension", r"sed -E 's#\.mp3\b#.wav#g' ratings.csv"),
        (lambda name: name.replace(".wav", ".WAV"), "another letter case", "rename the files"),
        (lambda name: f".\\{name}", "back-slashes", "sed -E"),
        (lambda name: f"/home/other/clips/{name}", "a path of another machine", "sed -E 's#/home/other/clips/##g'"),
        (lambda name: f"C:\\study\\{name}", "a path of another machine", "sed -E"),
        (lambda name: f"gone{name}", "nothing like it", "copy these files"),
    ],
)
def test_missing_files_are_told_by_kind_with_the_line_that_mends(look, change, kind, mend):
    text = "file,mos\n" + "".join(f"{change(f'{n}.wav')},{1 + n % 5}\n" for n in range(6))
    code, said = look(text, "clips")
    assert code == 1
    assert f"  {kind}" in said
    assert ": 6, such as " in said
    assert mend in said
    line = next(line for line in said.splitlines() if "to mend: " in line).split("to mend: ")[1]
    if line.startswith("sed"):
        import subprocess

        subprocess.run(line, shell=True, check=True, timeout=60)
        assert main(["inspect", "ratings_mended.csv", "clips"]) == 0
    elif line.startswith("--data"):
        assert main(["inspect", "ratings.csv", *shlex.split(line)]) == 0


def test_what_is_wrong_with_audio_and_what_skipping_leaves(look, study):
    (study / "clips" / "0.wav").write_text("no audio")
    soundfile.write(study / "clips" / "1.wav", np.zeros(800), 8000)
    code, said = look(WIDE.replace("5.wav", "gone.wav"), "clips")
    assert code == 1
    assert "unreadable audio: 1" in said
    assert "silent        1, such as 1.wav" in said
    assert "--data.on_bad_clip=skip would leave 4 of 6 clips." in said
    assert look(WIDE.replace("5.wav", "gone.wav"), "clips", "--data.on_bad_clip=skip")[0] == 0


def test_several_axes_and_a_column_of_files_under_another_name_are_lines_to_paste(look):
    code, said = look(WIDE.replace("mos,comment", "mos,clear").replace(",x", ",2"), "clips")
    assert code == 0  # constant: no second axis
    wide = "file,good?,overall mos\n" + "".join(f"{n}.wav,{5 - n % 5},{1 + n % 5}\n" for n in range(6))
    code, said = look(wide, "clips")
    assert code == 1
    line = next(line.strip() for line in said.splitlines() if line.startswith("    --data.axes="))
    assert main(["inspect", "ratings.csv", "clips", *shlex.split(line)]) == 0
    code, said = look(WIDE.replace("file", "stimulus"), "clips")
    assert code == 1
    line = said.split("may be the audio file: ")[1].splitlines()[0]
    assert main(["inspect", "ratings.csv", "clips", *shlex.split(line)]) == 0


def test_mistakes_are_one_line(fails, study):
    assert fails("inspect", "gone.csv").startswith("error: gone.csv: no such file.")
    (study / "r.csv").write_text(WIDE)
    assert "no such folder" in fails("inspect", "r.csv", "--data.audio_root=nowhere")
    assert fails("inspect", "r.csv", "clips", "--data.bach_size=3").endswith("Did you mean 'batch_size'?")
    assert "one folder" in fails("inspect", "r.csv", "clips", "--data.audio_root=clips")
