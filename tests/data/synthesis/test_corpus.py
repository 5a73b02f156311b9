"""The corpora that are written: their files, lists and ratings, and whether the audio carries the quality."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
import soundfile
import soxr
from scipy.stats import spearmanr

from lightning_aqa.data.aes_natural import COLUMNS, read_aes_natural
from lightning_aqa.data.musiceval import read_musiceval
from lightning_aqa.data.synthesis import corpus
from lightning_aqa.data.synthesis.aes_natural_plan import SYSTEM_DOMAINS, plan_aes_natural
from lightning_aqa.data.synthesis.corpus import STAMP, write_corpus
from lightning_aqa.data.synthesis.musiceval_plan import plan_musiceval
from lightning_aqa.data.synthesis.recordings import Settings

SMALL = {"num_clips": 40, "num_systems": 4, "seconds": (0.5, 0.6)}


@pytest.fixture(scope="module")
def musiceval(tmp_path_factory):
    root = tmp_path_factory.mktemp("musiceval")
    return write_corpus(root, "musiceval", num_clips=120, num_systems=8, seconds=(1.0, 1.5)) / "MusicEval-full"


@pytest.fixture(scope="module")
def aes_natural(tmp_path_factory):
    root = tmp_path_factory.mktemp("aes_natural")
    return write_corpus(root, "aes_natural", num_clips=120, num_systems=6, seconds=(1.0, 1.5))


def _rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _objects(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _features(path):
    """Mean, spread and change over time of 24 log bands, at 16 kHz and a common level."""
    samples, rate = soundfile.read(path, always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, 16000)
    mono = mono / np.sqrt(np.mean(mono**2))
    frames = np.lib.stride_tricks.sliding_window_view(mono, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(2, 257, 25).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-6)
    return np.concatenate(
        [bands.mean(0), bands.std(0), np.percentile(bands, 5, axis=0), np.abs(np.diff(bands, axis=0)).mean(0)]
    )


def _ridge_out_of_fold(features, targets, folds=5, penalty=30.0):
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    order = np.random.default_rng(0).permutation(len(targets))
    predictions = np.empty(len(targets))
    for fold in range(folds):
        test, train = order[fold::folds], np.delete(order, np.s_[fold::folds])
        gram = features[train].T @ features[train] + penalty * np.eye(features.shape[1])
        weights = np.linalg.solve(gram, features[train].T @ (targets[train] - targets[train].mean()))
        predictions[test] = features[test] @ weights + targets[train].mean()
    return predictions


# MusicEval


def test_musiceval_has_the_files_of_the_real_corpus(musiceval):
    files = {
        str(path.relative_to(musiceval)) for path in musiceval.rglob("*") if path.is_file() and path.suffix != ".wav"
    }
    assert files == {
        *(f"sets/{split}_mos_list.txt" for split in ("train", "dev", "test", "total")),
        *(f"person_mos/{split}_person_mos.txt" for split in ("train", "dev", "test")),
        "system_mos/system_mos_phase1.csv",
        "prompt_info.txt",
        "demo_prompt_info.txt",
    }
    names = {path.name for path in (musiceval / "wav").iterdir()}
    assert "audiomos2025-track1-S002_P004.wav" in names
    assert names == {row[0] for row in _rows(musiceval / "sets/total_mos_list.txt")}


def test_musiceval_audio_is_16_bit_mono_at_16_khz(musiceval):
    infos = [soundfile.info(path) for path in (musiceval / "wav").iterdir()]
    assert {(info.format, info.subtype, info.samplerate, info.channels) for info in infos} == {
        ("WAV", "PCM_16", 16000, 1)
    }
    assert all(1.0 <= info.duration <= 1.5 for info in infos)
    assert len({info.frames for info in infos}) > 20


def test_musiceval_splits_70_15_15_with_every_system_in_each(musiceval):
    lists = {split: _rows(musiceval / f"sets/{split}_mos_list.txt") for split in ("train", "dev", "test", "total")}
    assert {split: len(rows) for split, rows in lists.items()} == {"train": 84, "dev": 18, "test": 18, "total": 120}
    assert sorted(lists["train"] + lists["dev"] + lists["test"]) == sorted(lists["total"])
    systems = {split: {row[0].split("-")[2][:4] for row in rows} for split, rows in lists.items()}
    assert systems["train"] == systems["dev"] == systems["test"] == {f"S{number:03d}" for number in range(1, 9)}


def test_musiceval_means_are_the_means_of_five_of_fourteen_integer_ratings(musiceval):
    for split in ("train", "dev", "test"):
        ratings = defaultdict(list)
        for name, rater, *scores in _rows(musiceval / f"person_mos/{split}_person_mos.txt"):
            assert set(scores) <= set("12345")
            ratings[name].append((rater, *map(int, scores)))
        for name, *means in _rows(musiceval / f"sets/{split}_mos_list.txt"):
            raters, *per_axis = zip(*ratings[name], strict=True)
            assert len(set(raters)) == 5
            assert [float(mean) for mean in means] == [sum(values) / 5 for values in per_axis]
        assert {rater for rows in ratings.values() for rater, *_ in rows} <= {
            f"L{number:02d}" for number in range(1, 15)
        }


def test_musiceval_system_scores_are_the_means_over_train_and_dev(musiceval):
    rows = _rows(musiceval / "sets/train_mos_list.txt") + _rows(musiceval / "sets/dev_mos_list.txt")
    for system, *means in _rows(musiceval / "system_mos/system_mos_phase1.csv"):
        clips = np.array([row[1:] for row in rows if f"-{system}_" in row[0]], dtype=float)
        assert [float(mean) for mean in means] == pytest.approx(clips.mean(axis=0), abs=1e-6)


def test_musiceval_prompts_are_listed_by_number_or_for_demo_systems_by_file(musiceval):
    def read(name):
        header, *lines = (musiceval / name).read_text(encoding="utf-8").splitlines()
        assert header == "id\ttext"
        return dict(line.split("\t") for line in lines)

    names = [row[0] for row in _rows(musiceval / "sets/total_mos_list.txt")]
    assert read("prompt_info.txt").keys() == {f"P{number:03d}" for number in range(1, 16)}
    assert read("demo_prompt_info.txt").keys() == {name for name in names if "S001" in name or "S006" in name}
    assert all(text.startswith("A ") and text.endswith(".") for text in read("prompt_info.txt").values())


def test_musiceval_is_read_without_a_problem(musiceval):
    manifest = read_musiceval(musiceval.parent)
    assert not manifest.problems
    assert len(manifest) == 120
    assert all(clip.prompt and len(clip.ratings) == 5 for clip in manifest)
    assert len(manifest.system_scores) == 8


def test_musiceval_audio_predicts_its_ratings_out_of_fold(musiceval):
    rows = _rows(musiceval / "sets/total_mos_list.txt")
    features = np.stack([_features(musiceval / "wav" / row[0]) for row in rows])
    scores = np.array([row[1:] for row in rows], dtype=float)
    assert spearmanr(_ridge_out_of_fold(features, scores[:, 0]), scores[:, 0])[0] > 0.5
    assert scores[:, 0].std() > 0.6


# AES-Natural


def test_aes_natural_has_the_files_of_the_real_corpus(aes_natural):
    assert {path.name for path in aes_natural.iterdir()} == {
        *(f"AES_natural_{domain}.jsonl" for domain in ("speech", "music", "sound")),
        *(f"audiomos2025-track2-{split}_list.csv" for split in ("train", "dev")),
        "audiomos2025_track2_human_annotations.jsonl",
        "audiomos2025-track2-eval-phase",
        "audio",
        SYSTEM_DOMAINS,
        STAMP,
    }
    evaluation = aes_natural / "audiomos2025-track2-eval-phase/DATA"
    listed = (evaluation / "sets/eval_list.txt").read_text(encoding="utf-8").split()
    assert sorted(listed) == sorted(path.stem for path in (evaluation / "wav").iterdir())
    annotations = aes_natural / "audiomos2025_track2_human_annotations.jsonl"
    assert [row["data_path"] for row in _objects(annotations)] == listed
    assert not annotations.read_bytes().endswith(b"\n")


def test_aes_natural_lists_hold_the_means_of_ten_integer_ratings(aes_natural):
    ratings = {row["data_path"]: row for path in aes_natural.glob("AES_natural_*.jsonl") for row in _objects(path)}
    for split, count in (("train", 72), ("dev", 18)):
        header, *rows = _rows(aes_natural / f"audiomos2025-track2-{split}_list.csv")
        assert header == ["sample_id", "data_path", *COLUMNS.values()]
        assert len(rows) == count
        for _, data_path, *means in rows:
            given = [ratings[data_path][column] for column in COLUMNS.values()]
            assert all(len(values) == 10 and set(values) <= set(range(11)) for values in given)
            assert [float(mean) for mean in means] == [sum(values) / 10 for values in given]
    assert len(ratings) == 90


def test_aes_natural_spells_paths_and_ids_as_the_real_lists_do(aes_natural):
    raw = (aes_natural / "audiomos2025-track2-train_list.csv").read_bytes()
    assert b'"/your_path/MUSDB18/test/Salt, Pepper & Tide - Slow Harbour/mixture.wav"' in raw
    assert b'"audiomos2025-track2-music-MUSDB18_test_Salt,_Pepper_&_Tide_-_Slow_Harbour_mixture"' in raw
    assert raw.count(b"\r\n") == raw.count(b"\n") == 73
    starts = Counter(
        path.split("/")[2] for _, path, *_ in _rows(aes_natural / "audiomos2025-track2-train_list.csv")[1:]
    )
    assert starts.keys() == {
        "LibriTTS", "EARS", "cv-corpus-13.0-2023-03-09", "MUSDB18", "musiccaps", "unbalanced_train_segments",
    }  # fmt: skip
    assert b"_clips_common_voice_en_17000" in raw
    assert b".flac," in raw
    assert b"0000.flac,/your_path" not in raw


def test_aes_natural_audio_has_formats_and_rates_of_its_sources(aes_natural):
    found = defaultdict(set)
    for path in (path for path in (aes_natural / "audio").rglob("*") if path.is_file()):
        info = soundfile.info(path)
        found[path.relative_to(aes_natural / "audio").parts[0]].add((info.subtype, info.samplerate, info.channels))
    assert found == {
        "LibriTTS": {("PCM_16", 24000, 1)},
        "EARS": {("PCM_16", 48000, 1)},
        "CommonVoice": {("MPEG_LAYER_III", 32000, 1), ("MPEG_LAYER_III", 48000, 1)},
        "MUSDB18": {("PCM_16", 44100, 2)},
        "MusicCaps": {("PCM_16", 44100, 1)},
        "AudioSet": {("PCM_16", 48000, 1)},
    }


def test_aes_natural_is_read_without_a_problem(aes_natural):
    manifest = read_aes_natural(aes_natural, system_domains=aes_natural / SYSTEM_DOMAINS)
    assert not manifest.problems
    assert Counter(clip.split for clip in manifest) == {"train": 72, "dev": 18, "test": 30}
    assert all(os.path.isfile(clip.path) for clip in manifest)
    domains = Counter((clip.split, clip.domain) for clip in manifest)
    assert {split for split, _ in domains} == {"train", "dev", "test"}
    assert set(domains.values()) == {24, 6, 10}


@pytest.mark.parametrize("axis", COLUMNS)
def test_aes_natural_audio_predicts_its_ratings_out_of_fold(aes_features, axis):
    features, scores = aes_features
    assert spearmanr(_ridge_out_of_fold(features, scores[axis]), scores[axis])[0] > 0.5


@pytest.fixture(scope="module")
def aes_features(aes_natural):
    clips = list(read_aes_natural(aes_natural))
    scores = {axis: np.array([clip.scores[axis] for clip in clips]) for axis in COLUMNS}
    return np.stack([_features(clip.path) for clip in clips]), scores


# Both


@pytest.mark.slow
def test_a_corpus_is_the_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys; from lightning_aqa.data.synthesis.corpus import write_corpus; "
        f"[write_corpus(f'{{sys.argv[1]}}/{{name}}', name, **{SMALL!r}) for name in ('musiceval', 'aes_natural')]"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "there")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    for name in ("musiceval", "aes_natural"):
        write_corpus(tmp_path / "here" / name, name, **SMALL)
    assert _hashes(tmp_path / "here") == _hashes(tmp_path / "there")


def test_another_seed_makes_another_corpus(tmp_path):
    one, other = (_hashes(write_corpus(tmp_path / str(seed), "musiceval", **SMALL, seed=seed)) for seed in (0, 1))
    assert one.keys() == other.keys()
    assert not one.items() & other.items()


@pytest.mark.parametrize("plan", [plan_musiceval, plan_aes_natural])
def test_a_clip_does_not_depend_on_the_clips_before_it(plan):
    settings = Settings(num_clips=40, num_systems=4, seconds=(0.5, 0.6), sample_rate=16000, seed=3)
    first, again = plan(settings).recordings, plan(settings).recordings
    forwards = [recording.render(3) for recording in first[:6]]
    backwards = [recording.render(3) for recording in again[5::-1]][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(forwards, backwards, strict=True))
    assert len({recording.path for recording in first}) == 40


def test_a_corpus_that_is_there_is_left_alone(tmp_path, monkeypatch):
    root = write_corpus(tmp_path / "corpus", "musiceval", **SMALL)
    monkeypatch.setattr(corpus, "_write", None)
    assert write_corpus(root, "musiceval", **SMALL) == root
    monkeypatch.chdir(root)
    assert write_corpus(".", "musiceval", **SMALL) == root


def test_the_stamp_says_what_the_corpus_is_made_from_and_that_it_is_simulated(tmp_path):
    root = write_corpus(tmp_path / "corpus", "musiceval", **SMALL)
    stamp = json.loads((root / STAMP).read_text(encoding="utf-8"))
    assert "simulated" in stamp["note"]
    assert stamp["num_clips"] == 40
    assert stamp["seconds"] == [0.5, 0.6]


def test_an_interrupted_corpus_leaves_nothing_and_is_redone(tmp_path, monkeypatch):
    calls = []

    def interrupt(path, recording, seed):
        calls.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_write_audio", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_corpus(tmp_path / "corpus", "musiceval", **SMALL)
    assert list(tmp_path.iterdir()) == []
    root = write_corpus(tmp_path / "corpus", "musiceval", **SMALL)
    assert len(list(root.rglob("*.wav"))) == 40


def test_a_run_that_comes_second_takes_the_corpus_of_the_first(tmp_path, monkeypatch):
    first = _hashes(write_corpus(tmp_path / "first", "musiceval", **SMALL))
    write = corpus._write

    def write_while_another_run_finishes(folder, plan, seed):
        write(folder, plan, seed)
        (tmp_path / "first").rename(tmp_path / "corpus")

    monkeypatch.setattr(corpus, "_write", write_while_another_run_finishes)
    root = write_corpus(tmp_path / "corpus", "musiceval", **SMALL)
    assert _hashes(root) == first
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    write_corpus(tmp_path / "corpus", "musiceval", **SMALL)
    with pytest.raises(ValueError, match=r"other settings \(seed is 0, not 1\); delete it"):
        write_corpus(tmp_path / "corpus", "musiceval", **SMALL, seed=1)
    (tmp_path / "corpus" / STAMP).write_text("[]")
    with pytest.raises(ValueError, match=r"synthetic\.json cannot be read"):
        write_corpus(tmp_path / "corpus", "musiceval", **SMALL)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty and holds no synthetic\.json"):
        write_corpus(tmp_path, "musiceval", **SMALL)
    with pytest.raises(ValueError, match="is a file"):
        write_corpus(tmp_path / "thesis.txt", "musiceval", **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("layout", "settings", "message"),
    [
        ("somos", {}, "it must be one of musiceval, aes_natural"),
        ("musiceval", {"num_clips": 8}, "num_clips is 8, too few for 12 systems in layout musiceval"),
        ("aes_natural", {"num_clips": 40}, "at least 36, and four clips per system"),
        ("musiceval", {"seconds": (3.0, 2.0)}, "expected shortest <= longest"),
        ("musiceval", {"sample_rate": 400}, "sample_rate 400"),
        ("musiceval", {"seed": -1}, "seed -1"),
    ],
)
def test_settings_that_make_no_corpus_are_refused(tmp_path, layout, settings, message):
    with pytest.raises(ValueError, match=message):
        write_corpus(tmp_path / "corpus", layout, **settings)
    assert not (tmp_path / "corpus").exists()
