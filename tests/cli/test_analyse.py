"""``analyse``: ratings of some clips and predictions of all become means and ranks of systems, or one clear line."""

import csv

import numpy as np
import pytest

from lightning_aqa.cli.main import main


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Five systems of 25 clips, of which eight are rated by three of six listeners each."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    rated, predicted, truth = [], [], []
    for s in range(5):
        quality = 2.2 + 0.4 * s + rng.normal(0, 0.6, 25)
        truth.append(quality.mean())
        for c, q in enumerate(quality):
            predicted.append((f"s{s}/{c:02d}.wav", f"s{s}", round(q + rng.normal(0, 0.2), 3)))
            if c >= 8:
                rated.append((f"s{s}/{c:02d}.wav", f"s{s}", "", ""))
            for i in rng.permutation(6)[:3] if c < 8 else ():
                score = float(np.clip(round(q + rng.normal(0, 0.5)), 1, 5))
                rated.append((f"s{s}/{c:02d}.wav", f"s{s}", f"L{i}", score))
    for name, columns, rows in (
        ("ratings.csv", ("file", "system", "listener", "overall"), rated),
        ("predictions.csv", ("path", "system", "overall"), predicted),
    ):
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return folder, np.array(truth)


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_narrow_the_intervals_and_the_table_says_who_is_not_told_apart(study, tmp_path, capsys):
    folder, truth = study
    found = {}
    for name, more in {"alone": [], "with": [f"--predictions={folder / 'predictions.csv'}"]}.items():
        words = ["analyse", str(folder / "ratings.csv"), "--target=clips", "--axes={overall: [1, 5]}", *more]
        assert main([*words, f"--output={tmp_path / name}"]) == 0
        found[name] = _rows(tmp_path / name)
    shown = capsys.readouterr().out
    assert "8 of 25" in shown
    assert "narrower" in shown
    ends = {
        name: np.array([[float(row[end]) for end in ("low", "high")] for row in rows]) for name, rows in found.items()
    }
    assert (ends["with"][:, 1] - ends["with"][:, 0]).mean() < 0.9 * (ends["alone"][:, 1] - ends["alone"][:, 0]).mean()
    rows = found["with"]
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5]
    means = [float(row["mean"]) for row in rows]
    assert means == sorted(means, reverse=True)
    held = [float(row["low"]) <= truth[int(row["system"][1])] <= float(row["high"]) for row in rows]
    assert sum(held) >= 4
    assert rows[0]["system"] == "s4"
    assert "s0" not in rows[0]["not_told_apart"].split("; ")
    for row in rows:
        assert int(row["best_rank"]) <= int(row["rank"]) <= int(row["worst_rank"])
        assert row["clips"] == "25"
        for other in filter(None, row["not_told_apart"].split("; ")):
            assert row["system"] in next(of for of in rows if of["system"] == other)["not_told_apart"].split("; ")


def test_predictions_of_a_run_are_read_and_noise_is_left_out(study, tmp_path, capsys):
    folder, _ = study
    rng, lines = np.random.default_rng(1), ["split,id,system,domain,prompt,axis,target,score"]
    lines += [f"test,s{s}/{c:02d}.wav,s{s},,,overall,,{rng.normal():.3f}" for s in range(5) for c in range(25)]
    (tmp_path / "noise.csv").write_text("\n".join(lines) + "\n")
    for more in ([], [f"--predictions={tmp_path / 'noise.csv'}"]):
        assert main(["analyse", str(folder / "ratings.csv"), *more, f"--output={tmp_path / str(len(more))}"]) == 0
    alone, noise = (_rows(tmp_path / str(count)) for count in (0, 1))
    gap = [abs(float(one["mean"]) - float(other["mean"])) for one, other in zip(alone, noise, strict=True)]
    assert max(gap) < 0.1
    width = [sum(float(row["high"]) - float(row["low"]) for row in rows) for rows in (alone, noise)]
    assert width[1] == pytest.approx(width[0], rel=0.1)


def test_what_cannot_be_joined_is_said_in_a_line(study, tmp_path, fails):
    folder, _ = study
    ratings = str(folder / "ratings.csv")
    (tmp_path / "there.csv").write_text("")
    assert "there is such a file" in fails("analyse", ratings, f"--output={tmp_path / 'there.csv'}")
    assert "expected names and scales" in fails("analyse", ratings, "--axes=overall")
    (tmp_path / "other.csv").write_text("path,quality\na.wav,1\n")
    assert "no column is called as an axis (overall)" in fails(
        "analyse", ratings, f"--predictions={tmp_path / 'other.csv'}"
    )
    (tmp_path / "nan.csv").write_text("path,overall\ns0/00.wav,nan\n")
    assert "expected a finite number" in fails("analyse", ratings, f"--predictions={tmp_path / 'nan.csv'}")
    (tmp_path / "bare.csv").write_text("file,listener,overall\na.wav,L1,3\nb.wav,L1,4\n")
    assert "no clip names its system; expected a column system" in fails("analyse", str(tmp_path / "bare.csv"))
    (tmp_path / "wrong.csv").write_text("file,system,listener,overall\na.wav,a,L1,3\nb.wav,b,L1,good\n")
    assert "have to be mended first" in fails("analyse", str(tmp_path / "wrong.csv"), "--axes={overall: [1, 5]}")
    assert "no such file" in fails("analyse", str(tmp_path / "none.csv"))


def test_predictions_of_other_clips_are_refused(study, tmp_path, capsys):
    folder, _ = study
    other = tmp_path / "other.csv"
    other.write_text((folder / "predictions.csv").read_text().replace("\ns", "\nother/s").replace(".wav", "_b.wav"))
    assert main(["analyse", str(folder / "ratings.csv"), f"--predictions={other}", "--axes={overall: [1, 5]}"]) == 2
    assert (
        "other.csv: has no score of any rated clip, such as 's0/00.wav'; expected the names" in capsys.readouterr().err
    )
