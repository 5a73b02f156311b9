"""``lightning-aqa probe``: a predictor that likes what no listener does is found out; what is refused."""

import csv

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.scoring.edits import EDITS


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def quietness(tmp_path_factory):
    """The folder of a run that learned that quiet is good, and the clips it learned that from."""
    root, rng = tmp_path_factory.mktemp("quiet"), np.random.default_rng(0)
    (root / "clips").mkdir()
    lines = ["file,overall,split"]
    for k in range(24):
        level = -45 + 1.5 * k
        samples = 10 ** (level / 20) * rng.standard_normal(8000)
        soundfile.write(root / "clips" / f"{k:02d}.wav", samples.clip(-1, 1), 16000)
        lines.append(f"{k:02d}.wav,{5 - 4 * k / 23:.3f},{'dev' if k % 5 == 4 else 'train'}")
    (root / "ratings.csv").write_text("\n".join(lines) + "\n")
    words = ["--data=Table", f"--data.path={root / 'ratings.csv'}", f"--data.audio_root={root / 'clips'}"]
    words += ["--data.axes={overall: [1, 5]}", "--model.head=Probe", "--trainer.max_epochs=0"]
    words += ["--trainer.logger=false", f"--trainer.default_root_dir={root}", "--name=run", "--monitor=null"]
    assert main(["fit", *words]) == 0
    return root


def test_a_predictor_that_likes_quiet_is_found_out(quietness, tmp_path, capsys):
    folder = tmp_path / "probe"
    assert main(["probe", str(quietness / "run"), str(quietness / "clips"), f"--output={folder}", "--clips=5"]) == 0
    said = capsys.readouterr().out
    rows = {row["edit"]: row for row in read(folder / "probe.csv")}
    assert rows.keys() == {edit.name for edit in EDITS}
    assert float(rows["6 dB quieter"]["low"]) > 0
    assert float(rows["peak at full scale"]["change"]) < 0
    assert rows["16 bits"]["clips"] == "5"
    (line,) = [line for line in said.splitlines() if line.startswith("raises the score without quality, for sure:")]
    assert "6 dB quieter (overall +" in line
    assert "full scale" not in line
    assert "no gradient: this encoder gives the waveform none" in said
    versions = read(folder / "scores.csv")
    assert len(versions) == 5 * (1 + len(EDITS))
    change = [
        float(row["overall"]) - float(first["overall"])
        for row in versions
        for first in versions
        if row["edit"] == "20 dB quieter" and first["edit"] == "original" and row["clip"] == first["clip"]
    ]
    assert float(rows["20 dB quieter"]["change"]) == pytest.approx(np.mean(change), abs=1e-5)
    from matplotlib.image import imread

    picture = imread(folder / "probe.png")
    assert picture[..., :3].std() > 0.05


def test_an_encoder_with_a_gradient_is_climbed(checkpoint, clips, tmp_path, capsys):
    folder = tmp_path / "probe"
    words = ["probe", checkpoint, str(clips / "a.wav"), f"--output={folder}", "--steps=3", "--seconds=0.6"]
    assert main(words) == 0
    row = next(row for row in read(folder / "probe.csv") if row["edit"] == "gradient ascent, -40 dB")
    assert float(row["change"]) >= 0
    assert row["low"] == ""
    said = capsys.readouterr().out
    assert "gradient ascent, -40 dB" in said
    assert "one clip gives no interval" in said


def test_what_cannot_be_probed_is_said_in_one_line(checkpoint, clips, tmp_path, fails):
    def said(*words):
        return fails("probe", checkpoint, *map(str, words))

    assert "--decibel below it, got 10 and 3" in said(clips, "--decibel=3")
    assert "--clips must be at least 1, got 0" in said(clips, "--clips=0")
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "no clip to probe with" in said(tmp_path / "empty.jsonl", f"--output={tmp_path / 'out'}")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    assert "bad.wav" in said(tmp_path / "bad.wav", f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert "there is something in it; name another folder" in said(clips, f"--output={tmp_path / 'full'}")
