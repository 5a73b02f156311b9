"""The subcommand score through the command line: the numbers of predict, any input, bad files, a resumed run."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from lightning_aqa.cli.main import main
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.scoring.writer import ScoreWriter

AXES = ("MI", "TA")


def _scores(rows):
    return {os.path.basename(row["path"]): [float(row[axis]) for axis in AXES] for row in rows}


def _predicted(checkpoint, clips, root):
    args = ["--data=Folder", f"--data.root={clips}", f"--ckpt_path={checkpoint}", "--name=p"]
    assert main(["predict", *args, f"--trainer.default_root_dir={root}"]) == 0
    with open(root / "p" / "predictions.csv", newline="") as file:
        return {(os.path.basename(row["id"]), row["axis"]): float(row["score"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def wanted(checkpoint, clips, tmp_path_factory):
    """What predict gives for the folder."""
    return _predicted(checkpoint, clips, tmp_path_factory.mktemp("predicted"))


def test_scores_are_those_of_predict(score, clips, wanted):
    code, rows, said = score(clips)
    assert code == 0
    assert list(rows[0]) == ["id", "path", "start", "end", "seconds", *AXES, "unlike", "note", "error"]
    assert len(rows) == 10
    found = {
        (name, axis): value for name, values in _scores(rows).items() for axis, value in zip(AXES, values, strict=True)
    }
    assert found == pytest.approx(wanted, abs=1e-5)
    assert "10 clips done at" in said.out
    assert said.err == ""


def test_rows_are_in_the_order_of_inputs_and_of_names(score, clips):
    names = [os.path.relpath(row["path"], clips) for row in score(clips / "g.wav", clips)[1]]
    assert names == [
        "g.wav",
        "a.wav",
        "b.flac",
        "c.ogg",
        "d.mp3",
        "h.wav",
        "i.flac",
        "j.wav",
        "more/e.wav",
        "more/f.wav",
    ]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
def test_what_ffmpeg_decodes_is_scored_as_predict_does(score, checkpoint, clips, tmp_path):
    os.system(f"ffmpeg -v error -i {clips / 'h.wav'} {tmp_path / 'h.m4a'}")
    found = _scores(score(tmp_path / "h.m4a")[1])["h.m4a"]
    wanted = _predicted(checkpoint, tmp_path / "h.m4a", tmp_path)
    assert found == pytest.approx([wanted["h.m4a", axis] for axis in AXES], abs=1e-5)


@pytest.mark.parametrize("args", [["--num_workers=0"], ["--num_workers=3"], ["--batch_seconds=1", "--num_workers=1"]])
def test_the_number_of_workers_moves_no_digit(score, clips, args):
    batch = args[:1] if "batch" in args[0] else []
    assert score(clips, *args, output="one.csv")[1] == score(clips, *batch, output="two.csv")[1]


def test_batches_move_no_score(score, clips):
    alone = _scores(score(clips, "--batch_seconds=0", output="alone.csv")[1])
    for name, values in _scores(score(clips, output="together.csv")[1]).items():
        assert values == pytest.approx(alone[name], abs=1e-5)


def test_a_list_names_parts_ids_and_prompts(score, clips, tmp_path):
    samples, rate = soundfile.read(clips / "h.wav")
    soundfile.write(tmp_path / "part.wav", samples[rate // 10 : rate], rate, subtype="PCM_16")
    lines = [
        {"path": f"{clips}/h.wav", "start": 0.1, "end": 1.0},
        {"path": f"{clips}/h.wav", "start_time": 0.1, "id": "mine", "prompt": "a tone"},
        {"path": "part.wav"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, rows, _ = score(tmp_path / "list.jsonl", output="scores.jsonl")
    assert code == 0
    assert [row["id"] for row in rows] == [f"{clips}/h.wav#0.1-1", "mine", f"{tmp_path}/part.wav"]
    assert [(row["start"], row["end"]) for row in rows] == [(0.1, 1.0), (0.1, None), (0.0, None)]
    assert [rows[0][axis] for axis in AXES] == pytest.approx([rows[2][axis] for axis in AXES], abs=1e-5)
    assert rows[0]["MI"] != rows[1]["MI"]


def test_standard_input_holds_paths_and_objects(score, clips, monkeypatch):
    lines = f'{clips}/a.wav\n\n{{"path": "{clips}/b.flac", "end": 0.4}}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    code, rows, _ = score("-")
    assert code == 0
    assert [row["id"] for row in rows] == [f"{clips}/a.wav", f"{clips}/b.flac#0-0.4"]
    assert rows[0]["MI"] == score(clips / "a.wav", output="file.csv")[1][0]["MI"]


def test_bad_clips_are_rows_with_their_error(score, clips, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF not audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1] * 4000 + [np.nan] * 5000), 16000, subtype="FLOAT")
    lines = [
        '{"path": "a',
        '{"file": "a.wav"}',
        f'{{"path": "{clips}/a.wav", "start": 2, "end": 1}}',
        f"{clips}/b.flac",
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    names = ("broken.wav", "gone.wav", "empty.wav", "nan.wav", "list.jsonl")
    code, rows, said = score(clips / "a.wav", *(tmp_path / name for name in names), clips / "c.ogg")
    assert code == 1
    errors = [row["error"] for row in rows]
    wanted = ["", "cannot be read as audio", "no such file", "no samples in it", "not finite", "not JSON", "no path in"]
    wanted += ["not seconds in that order"]
    assert [part for part, error in zip(wanted, errors, strict=False) if part not in error] == [], errors
    assert [row["error"] == "" for row in rows] == [True, *[False] * 7, True, True]
    assert all((row["MI"] == "") == bool(row["error"]) for row in rows)
    assert "7 rows have an error" in said.out


def test_rows_that_are_there_are_not_computed_again(score, clips, tmp_path):
    copy = tmp_path / "clips"
    shutil.copytree(clips, copy)
    undisturbed = score(copy, "--batch_seconds=0.2", output="undisturbed.csv")[1]
    text = (tmp_path / "undisturbed.csv").read_bytes()
    end = text.index(b"\n", len(text) // 2)
    (tmp_path / "scores.csv").write_bytes(text[: end + 20])  # five rows and a piece of one
    shutil.copy(tmp_path / "undisturbed.csv.stamp.json", tmp_path / "scores.csv.stamp.json")
    done = text[:end].decode().splitlines()[1:]
    for line in done:
        os.remove(line.split(",")[1])
        open(line.split(",")[1], "w").close()  # cannot be scored any more
    code, rows, said = score(copy, "--batch_seconds=0.2")
    assert (code, rows) == (0, undisturbed)
    assert f"{10 - len(done)} clips done" in said.out
    assert f"{len(done)} were there before" in said.out


def test_a_stopped_run_goes_on_to_the_same_bytes(score, clips, tmp_path, monkeypatch):
    args = [clips, "--batch_seconds=0.2"]
    score(*args, output="undisturbed.csv")
    write, calls = ScoreWriter.write, []

    def stop(self, rows):
        calls.append(rows)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(self, rows)

    monkeypatch.setattr(ScoreWriter, "write", stop)
    code, rows, said = score(*args)
    assert code == 130
    assert 0 < len(rows) < 10
    assert "the same command goes on from there" in said.err
    monkeypatch.setattr(ScoreWriter, "write", write)
    assert score(*args)[0] == 0
    assert (tmp_path / "scores.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()


FORKS = """
import os, sys
from lightning_aqa.cli.main import main
assert main(["score", *sys.argv[4:7], f"--output={sys.argv[3]}"]) == 0  # all is imported once
for pipe in sys.argv[1:3]:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(pipe, os.O_RDONLY), 0)
        os._exit(main(["score", sys.argv[4], "-", *sys.argv[6:]]))
    print(child, file=sys.stderr, flush=True)
    print(os.waitpid(child, 0)[1], file=sys.stderr, flush=True)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(score, checkpoint, clips, tmp_path, monkeypatch):
    starts = [number / 100 for number in range(4)]
    lines = [json.dumps({"path": str(path), "start": start}) + "\n" for start in starts for path in clips.glob("*.*")]
    (tmp_path / "list.jsonl").write_text("".join(lines))
    assert score(tmp_path / "list.jsonl", "--batch_seconds=0", output="undisturbed.csv")[0] == 0
    output, sizes, pipes = tmp_path / "scores.csv", [0], [tmp_path / name for name in ("one", "two")]
    for pipe in pipes:
        os.mkfifo(pipe)
    words = [checkpoint, clips / "a.wav", "--batch_seconds=0", f"--output={output}"]
    words = [sys.executable, "-c", FORKS, *pipes, tmp_path / "first.csv", *words]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for num_given, pipe in zip((12, 24), pipes, strict=True):
            child = int(process.stderr.readline())
            with open(pipe, "w") as file:  # no more come until it is killed, at work or while it waits for them
                file.write("".join(lines[:num_given]))
                file.flush()
                while (output.stat().st_size if output.exists() else 0) < sizes[-1] + 100:
                    os.kill(child, 0)  # it is alive
                    time.sleep(0.01)
                os.kill(child, signal.SIGKILL)
                assert int(process.stderr.readline()) == signal.SIGKILL
            sizes.append(output.stat().st_size)
    assert 100 < sizes[1] < sizes[2] < (tmp_path / "undisturbed.csv").stat().st_size
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(lines)))
    code, _, said = score("-", "--batch_seconds=0")
    assert code == 0, said.err
    assert "were there before" in said.out
    assert output.read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_parts_are_the_whole_to_the_byte_and_are_joined_as_they_say(score, clips, tmp_path, monkeypatch, count, suffix):
    monkeypatch.chdir(tmp_path)
    command = [clips, clips / "a.wav", "gone.wav", clips / "more", "--shard_clips=2"]
    score(*command, output=f"whole.{suffix}")
    for number in range(1, count + 1):
        said = score(*command, "--shard", f"{number}/{count}", output=f"scores.{suffix}")[2].out
    join = said.splitlines()[-1].removeprefix(f"once all {count} parts are done: ")
    assert len(list(tmp_path.glob(f"scores.*-of-{count}.{suffix}"))) == count
    assert not (tmp_path / f"scores.{suffix}").exists()
    subprocess.run(["sh", "-c", join], check=True)
    assert (tmp_path / f"scores.{suffix}").read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()


def test_a_stopped_part_resumes_and_is_refused_for_other_clips(score, clips, tmp_path):
    command = [clips, "--shard_clips=2", "--shard=1/2"]
    said = score(*command, output="{shard} mine.csv")[2].out
    subprocess.run(["sh", "-c", said.splitlines()[-1].partition("done: ")[2]], check=True)
    part = tmp_path / "1-of-2 mine.csv"
    done = part.read_bytes()
    assert (tmp_path / "all mine.csv").read_bytes() == done
    part.write_bytes(done[: len(done) * 2 // 3])
    assert "were there before" in score(*command, output="{shard} mine.csv")[2].out
    assert part.read_bytes() == done
    code, _, said = score(*command, "--shard_clips=5", output="{shard} mine.csv")
    assert (code, "its rows come from other weights or settings" in said.err) == (2, True)


def test_errors_are_tried_again_when_asked(score, clips, tmp_path):
    late = tmp_path / "late.wav"
    assert score(late, clips / "a.wav")[0] == 1
    shutil.copy(clips / "b.flac", late)
    assert score(late, clips / "a.wav")[0] == 1
    code, rows, _ = score(late, clips / "a.wav", "--retry")
    assert code == 0
    assert [os.path.basename(row["path"]) for row in rows] == ["a.wav", "late.wav"]


def test_other_weights_or_settings_are_refused_for_the_same_output(score, clips, run_folder, tmp_path):
    assert score(clips / "a.wav")[0] == 0
    before = (tmp_path / "scores.csv").read_bytes()
    for args in (["--window_seconds=0.4"], ["--normalise=rms"], ["--dtype=float64"], ["--format=jsonl"]):
        code, _, said = score(clips / "b.flac", *args)
        assert code == 2
        assert "its rows come from other weights or settings" in said.err
        assert said.err.count("\n") == 1
    assert (tmp_path / "scores.csv").read_bytes() == before
    (tmp_path / "foreign.csv").write_text("mine\n")
    assert "holds no scores to go on with" in score(clips / "b.flac", output="foreign.csv")[2].err
    assert (tmp_path / "foreign.csv").read_text() == "mine\n"


def test_a_clip_that_comes_twice_is_scored_once_and_ids_are_unique(score, clips, tmp_path):
    (tmp_path / "list.jsonl").write_text(
        "".join(f'{{"path": "{clips}/{name}", "id": "x"}}\n' for name in ("a.wav", "g.wav"))
    )
    code, rows, said = score(clips / "a.wav", clips / "a.wav", tmp_path / "list.jsonl")
    assert code == 1
    assert [row["id"] for row in rows] == [f"{clips}/a.wav", "x", "x"]
    assert "another clip has this id" in rows[2]["error"]
    assert "1 came twice" in said.out


def test_how_audio_is_read_follows_the_config_of_the_run(run_folder, score, clips, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["data"]["init_args"] |= {"resampler": "sinc", "normalise": "rms", "window_seconds": 0.3}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    source = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    args = ["--resampler=sinc", "--normalise=rms", "--window_seconds=0.3"]
    followed = score(clips, source=source, output="followed.csv")[1]
    assert followed == score(clips, *args, output="named.csv")[1]
    assert followed != score(clips, output="other.csv")[1]
    kept = score(clips, "--normalise=keep", source=source, output="kept.csv")[1]
    assert kept == score(clips, "--resampler=sinc", "--window_seconds=0.3", output="also.csv")[1] != followed


def test_the_old_name_of_normalise_counts_with_a_warning(run_folder, score, clips, tmp_path):
    wanted = score(clips, "--normalise=rms", output="wanted.csv")[1]
    with pytest.warns(FutureWarning, match="the argument level is now normalise; the old name will go in 0.3") as told:
        assert score(clips, "--level=rms", output="told.csv")[1] == wanted
    assert len(told) == 1
    shutil.copytree(run_folder, tmp_path / "old")
    config = yaml.safe_load((tmp_path / "old" / "config.yaml").read_text())
    config["data"]["init_args"] |= {"level": "rms"}
    (tmp_path / "old" / "config.yaml").write_text(yaml.safe_dump(config))
    assert score(clips, source=str(tmp_path / "old" / "checkpoints" / "last.ckpt"), output="old.csv")[1] == wanted


def test_ids_may_be_numbers_and_those_of_parts_have_all_their_digits(score, clips, tmp_path):
    starts = (0.10000123, 0.10000124)
    lines = [json.dumps({"path": f"{clips}/h.wav", "start": start}) for start in starts]
    lines += [json.dumps({"path": f"{clips}/a.wav", "id": 0})]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    code, rows, _ = score(tmp_path / "list.jsonl")
    assert code == 0
    assert [row["id"] for row in rows] == [f"{clips}/h.wav#0.10000123-", f"{clips}/h.wav#0.10000124-", "0"]


def test_names_that_are_no_text_and_numbers_that_are_no_times_are_rows_too(checkpoint, clips, tmp_path):
    odd = tmp_path / "odd" / os.fsdecode(b"caf\xe9.wav")
    odd.parent.mkdir()
    shutil.copy(clips / "a.wav", odd)
    lines = [b'{"path": "gone.wav", "id": "\\ud83d"}', b'{"path": "a.wav", "start": 1' + b"0" * 400 + b"}"]
    (tmp_path / "list.jsonl").write_bytes(b"\n".join([*lines, os.fsencode(odd), b"missing.wav"]))
    for args in ([], ["--retry"]):
        output = tmp_path / "s.csv"
        assert main(["score", checkpoint, str(tmp_path / "list.jsonl"), f"--output={output}", *args]) == 1
        rows = sorted(output.read_bytes().splitlines()[1:])
        assert len(rows) == 4
        assert rows[-1].startswith(b"?,%s" % os.fsencode(tmp_path / "gone.wav")) or rows[0].startswith(b"?,")
        assert sum(b"no such file." in row for row in rows) == 2
        assert sum(b"are not seconds in that order" in row for row in rows) == 1
        assert sum(b"caf\\xe9.wav" in row and row.endswith(b",") for row in rows) == 1  # as UTF-8 can say it


def test_a_device_that_fails_ends_the_run_and_loses_no_row(score, clips, monkeypatch):
    args = [clips, "--batch_seconds=0.2"]
    undisturbed = score(*args, output="undisturbed.csv")[1]
    forward, calls = Scorer._forward, []

    def fail(self, windows, prompts):
        calls.append(1)
        if len(calls) > 6:
            raise torch.AcceleratorError("CUDA error: an illegal memory access\nmore lines")
        return forward(self, windows, prompts)

    monkeypatch.setattr(Scorer, "_forward", fail)
    code, rows, said = score(*args)
    assert code == 2
    assert said.err.startswith("error: the device has failed (CUDA error: an illegal memory access); the rows are kept")
    assert 0 < len(rows) < 10
    assert [row["error"] for row in rows] == [""] * len(rows)
    monkeypatch.setattr(Scorer, "_forward", forward)
    assert score(*args)[1] == undisturbed


def test_a_head_that_is_given_some_layers_scores_as_predict_does(corpora, fit, tmp_path, capfd):
    corpus = ["--data=MusicEval", f"--data.root={corpora['musiceval']}"]
    run = fit(*corpus, "--model.encoder=MelSpectrogram", "--model.freeze=all", "--model.layers=[1, 3]")
    clips = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:3]
    assert main(["predict", f"--ckpt_path={run}", *corpus, f"--trainer.default_root_dir={tmp_path}", "--name=p"]) == 0
    with open(tmp_path / "p" / "predictions.csv", newline="") as file:
        of_predict = {
            (row["id"].removesuffix(".wav"), row["axis"]): float(row["score"]) for row in csv.DictReader(file)
        }
    assert main(["score", str(run), *map(str, clips), f"--output={tmp_path / 's.csv'}"]) == 0
    with open(tmp_path / "s.csv", newline="") as file:
        for row in csv.DictReader(file):
            stem = Path(row["path"]).stem
            assert float(row["MI"]) == pytest.approx(of_predict[stem, "MI"], abs=1e-4)


def test_without_a_name_the_table_is_scores_csv_here(checkpoint, clips, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["score", str(Path(checkpoint).parent.parent), str(clips)]) in (0, 1)  # the run folder
    assert capfd.readouterr().out.startswith("scores.csv: ")
    named = main(["score", str(checkpoint), str(clips), "--output=named.csv"])
    assert named in (0, 1)
    assert Path("scores.csv").read_text() == Path("named.csv").read_text()


MISTAKES = {
    "{clips}/gone --output={out}": "gone: no such file or folder.",
    "{out} --output={out}": "no audio found",
    "{clips} --output={out}/x.csv --num_workers=-1": "num_workers must be at least 0, got -1.",
    "{clips} --output={out}/x.csv --device=tpu": "device tpu cannot be used here",
    "{clips} --output={out}/x.csv --dtype=int8": "--dtype must be one of float32, bfloat16, float64, got 'int8'.",
    "{clips} --output={out}/x.csv --shard_clips=0": "shard_clips must be at least 1, got 0.",
    "{clips} --output={out}/x.csv --shard=5/4": "--shard must be k/n with k from 1 to n, such as 2/4, got 5/4.",
    "{clips} --output={out}/x.csv --shard=0/4": "--shard must be k/n with k from 1 to n, such as 2/4, got 0/4.",
    "{clips} --output={out}/x.csv --shard x": "--shard must be k/n with k from 1 to n, such as 2/4, got x.",
    "- --output={out}/x.csv --shard=1/2": "--shard cannot divide standard input",
    "{clips} --output={out}/x.csv --num_actors=0": "num_actors must be at least 1, got 0.",
    "{clips} --output={out}/x.csv --model.head=MLP": "--model.head is for a config",
    "{clips} --output={out}/x.csv --outptu=1": "unknown option --outptu=1. Did you mean 'output'?",
    "{clips} --output={out}/x.csv --wrong=1": "unknown option --wrong=1.",
}


@pytest.mark.parametrize("args", MISTAKES)
def test_a_mistake_is_told_in_one_line(checkpoint, clips, fails, tmp_path, args):
    said = fails("score", checkpoint, *args.format(clips=clips, out=tmp_path).split())
    assert MISTAKES[args] in said
    assert said.count("\n") == 0


def test_what_is_no_list_and_no_config_is_refused(checkpoint, clips, fails, tmp_path):
    args = [str(clips), f"--output={tmp_path / 'x.csv'}"]
    (tmp_path / "list.csv").write_text("path\na.wav\n")
    assert "list.csv: give a list as JSON lines" in fails("score", checkpoint, str(tmp_path / "list.csv"), args[1])
    (tmp_path / "bad.yaml").write_text("model: [")
    assert "bad.yaml: cannot be read as a config (" in fails("score", str(tmp_path / "bad.yaml"), *args)


def test_a_file_that_ends_before_its_header_says_is_a_row(score, clips, tmp_path):
    (tmp_path / "cut.flac").write_bytes((clips / "b.flac").read_bytes()[:6000])
    (tmp_path / "cut.mp3").write_bytes((clips / "d.mp3").read_bytes()[:3000])
    code, rows, _ = score(tmp_path / "cut.flac", tmp_path / "cut.mp3", clips / "a.wav")
    assert code == 1
    assert rows[0]["error"].startswith("ends after 0.19 s of the 1.00 s that its header promises")
    assert rows[1]["error"].startswith("ends after 0.25 s of the 0.65 s that its header promises")
    assert rows[2]["error"] == ""


def test_what_is_no_trained_model_is_refused(clips, fails, tmp_path):
    args = [str(clips), f"--output={tmp_path / 'x.csv'}"]
    assert "its head is not trained" in fails("score", "experiments/quickstart.yaml", *args)
    assert "gone.ckpt: no such checkpoint" in fails("score", "gone.ckpt", *args)
    assert "gone.yaml: no such config" in fails("score", "gone.yaml", *args)
