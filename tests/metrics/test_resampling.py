"""Counts of resamples: what is drawn stays together, every draw has its size, and one seed gives one result."""

import numpy as np
import pytest

from lightning_aqa.metrics import resampling
from lightning_aqa.metrics.resampling import draw, everything, leave_out, units_of

SYSTEMS = ["b", "a", "b", "", "c", "", "a"]
PROMPTS = ["p", "q", "q", "p", "", "q", "p"]


def _all(parts):
    parts = list(parts)
    return np.concatenate([part.clips for part in parts], 1), np.concatenate([part.systems for part in parts], 1)


def test_units_are_numbered_by_name_and_unknown_ones_stand_alone():
    units = units_of("system", SYSTEMS)
    assert units.ways[0].tolist() == [1, 0, 1, 3, 2, 4, 0]
    assert units.systems.tolist() == [1, 0, 1, -1, 2, -1, 0]
    assert units_of("clip", SYSTEMS).ways[0].tolist() == list(range(7))


@pytest.mark.parametrize(("unit", "size"), [("clip", 7), ("system", 5), ("prompt", 3)])
def test_as_many_units_are_drawn_as_there_are_and_their_clips_stay_together(unit, size):
    units = units_of(unit, SYSTEMS, PROMPTS)
    clips, systems = _all(draw(units, 200, seed=3))
    first = [list(units.ways[0]).index(number) for number in range(size)]
    assert np.array_equal(clips, clips[first][units.ways[0]])
    assert (clips[first].sum(0) == size).all()
    assert clips[first].mean() == pytest.approx(1)
    assert np.array_equal(systems, clips[[1, 0, 4]] if unit == "system" else np.ones((3, 200)))


def test_each_unit_is_drawn_as_often_as_chance_has_it():
    clips, _ = _all(draw(units_of("clip", [""] * 10), 20_000))
    assert clips.mean(1) == pytest.approx(np.ones(10), abs=0.03)
    assert clips.var(1) == pytest.approx(np.full(10, 0.9), abs=0.05)  # n * 1/n * (1 - 1/n)


def test_two_ways_are_crossed():
    clips, _ = _all(draw(units_of("system+prompt", SYSTEMS, PROMPTS), 500))
    # Clip 0 is system b under prompt p, clip 6 system a under p, clips 2 and 1 the same systems under q.
    assert np.array_equal(clips[0] * clips[1], clips[6] * clips[2])


def test_one_seed_gives_one_result_and_another_another():
    units = units_of("clip", [""] * 9)
    one, again, other = (_all(draw(units, 50, seed=seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_chunks_bound_the_memory(monkeypatch):
    monkeypatch.setattr(resampling, "_ELEMENTS", 70)
    parts = list(draw(units_of("clip", [""] * 7), 25))
    assert [part.clips.shape[1] for part in parts] == [10, 10, 5]


def test_leaving_out_drops_each_unit_once():
    clips, systems = _all(leave_out(units_of("system", SYSTEMS)))
    assert clips.shape == (7, 5)
    assert clips[:, 0].tolist() == [1, 0, 1, 1, 1, 1, 0]
    assert systems[:, 0].tolist() == [0, 1, 1]
    crossed, _ = _all(leave_out(units_of("system+prompt", SYSTEMS, PROMPTS)))
    assert crossed.shape == (7, 5 + 3)


def test_many_units_are_left_out_in_groups():
    clips, _ = _all(leave_out(units_of("clip", [""] * 450), most=200))
    assert clips.shape == (450, 200)
    assert ((1 - clips).sum(1) == 1).all()
    assert set((1 - clips).sum(0)) == {2, 3}


def test_everything_is_there_once():
    assert everything(units_of("system+prompt", SYSTEMS, PROMPTS)).clips.tolist() == [[1]] * 7


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"unit must be one of clip, system, prompt, system\+prompt, got 'clips'"):
        units_of("clips", SYSTEMS)
    with pytest.raises(ValueError, match="unit 'prompt' needs the prompt of the clips, and none is named"):
        units_of("prompt", SYSTEMS)
    with pytest.raises(ValueError, match="needs the system of the clips"):
        units_of("system", ["", ""])
