"""Which clips to look at, against plain loops; where their audio is found."""

import numpy as np
import pytest

from lightning_aqa.data.manifest import Clip
from lightning_aqa.results.clips import read_listeners, read_sources, read_system_scores, worst_clips, worst_pairs
from lightning_aqa.results.observations import write_clips, write_systems
from lightning_aqa.results.runs import find_runs
from tests.small_sweep import table, write_run


def test_the_worst_clips_come_in_turns_over_axes_and_sides():
    targets = np.zeros((6, 2))
    scores = np.array([[3, 0], [2, 9], [-5, 0], [0.1, 0], [0, -8], [np.nan, 1.0]])
    assert worst_clips(targets, scores, 4) == [0, 2, 1, 4]
    assert sorted(worst_clips(targets, scores, 99)) == list(range(6))


def _reference_pairs(targets, scores):
    pairs = [
        (targets[i] - targets[j], scores[j] - scores[i], i, j)
        for i in range(len(targets))
        for j in range(len(targets))
        if targets[i] > targets[j] and scores[i] < scores[j]
    ]
    return [(i, j) for _, _, i, j in sorted(pairs, key=lambda pair: (-round(pair[0], 9), -pair[1]))]


@pytest.mark.parametrize("seed", range(3))
def test_the_worst_pairs_are_those_of_a_double_loop(seed):
    draw = np.random.default_rng(seed)
    targets, scores = draw.integers(1, 6, 60).astype(float), draw.normal(3, 1, 60)
    targets[4], scores[7] = np.nan, np.nan
    assert worst_pairs(targets, scores, 50, most_per_clip=99) == _reference_pairs(targets, scores)[:50]


def test_one_clip_does_not_fill_the_list():
    targets = np.array([5.0, *np.linspace(1, 2, 20)])
    scores = np.array([0.0, *np.linspace(1, 2, 20)])
    assert len(worst_pairs(targets, scores, 10, most_per_clip=4)) == 4
    assert worst_pairs(targets, scores, 2) == [(0, 1), (0, 2)]


def test_the_worst_pairs_of_thousands_of_clips_need_no_matrix_of_all_pairs():
    draw = np.random.default_rng(0)
    targets, scores = draw.normal(size=3000), draw.normal(size=3000)
    (better, worse), *_ = worst_pairs(targets, scores, 100)
    gap = targets[better] - targets[worse]
    order = np.argsort(targets)
    beyond = [
        (i, j)
        for i in order[-60:]
        for j in order[:60]
        if targets[i] - targets[j] > gap and scores[i] < scores[j]
    ]  # fmt: skip
    assert beyond == []


def test_perfect_scores_have_no_wrong_pairs():
    assert worst_pairs(np.arange(5.0), np.arange(5.0), 3) == []


def _run_with_clips(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").write_bytes(b"")
    run = write_run(tmp_path / "runs" / "one", table(6))
    clips = [
        Clip("a", str(tmp_path / "audio" / "a.wav"), start=1.5, end=3.0, prompt='said "so", twice'),
        Clip("b", str(tmp_path / "audio" / "gone.wav")),
    ]
    write_clips(run / "clips.csv", clips)
    return run


def test_a_run_knows_where_its_audio_is(tmp_path):
    sources = read_sources(find_runs([_run_with_clips(tmp_path)])[0])
    assert sources["a"].path.resolve() == tmp_path / "audio" / "a.wav"
    assert sources["a"][1:] == (1.5, 3.0, 'said "so", twice')
    assert sources["b"].path is None


def test_runs_and_audio_may_move_together(tmp_path):
    _run_with_clips(tmp_path)
    (tmp_path / "moved").mkdir()
    for name in ("runs", "audio"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    sources = read_sources(find_runs([tmp_path / "moved" / "runs" / "one"])[0])
    assert sources["a"].path.is_file()


def test_folds_tell_where_their_clips_are(tmp_path):
    run = _run_with_clips(tmp_path)
    (run / "fold0").mkdir()
    write_clips(run / "fold0" / "clips.csv", [Clip("c", str(tmp_path / "audio" / "a.wav"))])
    assert set(read_sources(find_runs([run])[0])) == {"a", "b", "c"}


def test_a_folder_of_audio_is_searched_by_id(tmp_path):
    ids = table(6).ids
    run = write_run(tmp_path / "run", table(6))
    (tmp_path / "audio" / "deep").mkdir(parents=True)
    for name in (f"{ids[0]}.flac", f"deep/{ids[1]}.mp3", "other.wav", f"{ids[2]}.txt"):
        (tmp_path / "audio" / name).write_bytes(b"")
    sources = read_sources(find_runs([run])[0], tmp_path / "audio")
    assert {id_: source.path.name for id_, source in sources.items()} == {
        ids[0]: f"{ids[0]}.flac", ids[1]: f"{ids[1]}.mp3",
    }  # fmt: skip


def test_published_scores_of_systems_are_read_for_each_clip(tmp_path):
    run = write_run(tmp_path / "run", table(6))
    assert read_system_scores(find_runs([run])[0], ["S1"], ["MI"]) is None
    write_systems(run / "systems.csv", {"S1": {"MI": 3.5, "TA": 2.0}, "S2": {"TA": 1.0}})
    found = read_system_scores(find_runs([run])[0], ["S2", "S1", "S9"], ["MI", "TA"])
    assert np.array_equal(found, [[np.nan, 1.0], [3.5, 2.0], [np.nan, np.nan]], equal_nan=True)


def test_ratings_of_the_split_are_read_as_a_table(sweep):
    runs, _ = find_runs([sweep])
    ids = table().ids
    assert read_listeners(runs, "test", ids, ["TA", "MI"]).values.shape == (40, 2, 4)
    assert read_listeners(runs, "dev", ids, ["TA"]) is None
    assert read_listeners(runs[1:], "test", ids, ["TA"]) is None
