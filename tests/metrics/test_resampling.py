"""Counts of samples: what is one unit stays together, and each is left out or doubled once."""

import numpy as np
import pytest

from lightning_aqa.metrics import resampling
from lightning_aqa.metrics.resampling import check_unit, count_groups, count_units, everything, units_of, vary

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


def test_chunks_bound_the_memory(monkeypatch):
    monkeypatch.setattr(resampling, "_ELEMENTS", 70)
    parts = list(vary(units_of("clip", [""] * 7), 0))
    assert [part.clips.shape[1] for part in parts] == [7]
    parts = list(vary(units_of("clip", [""] * 20), 0))
    assert [part.clips.shape[1] for part in parts] == [3, 3, 3, 3, 3, 3, 2]


def test_leaving_out_drops_each_unit_once():
    clips, systems = _all(vary(units_of("system", SYSTEMS), 0))
    assert clips.shape == (7, 5)
    assert clips[:, 0].tolist() == [1, 0, 1, 1, 1, 1, 0]
    assert systems[:, 0].tolist() == [0, 1, 1]
    crossed, _ = _all(vary(units_of("system+prompt", SYSTEMS, PROMPTS), 0))
    assert crossed.shape == (7, 5 + 3)


def test_many_units_are_left_out_in_groups():
    clips, _ = _all(vary(units_of("clip", [""] * 450), 0, most=200))
    assert clips.shape == (450, 200)
    assert ((1 - clips).sum(1) == 1).all()
    assert set((1 - clips).sum(0)) == {2, 3}


def test_doubling_repeats_each_unit_once():
    clips, systems = _all(vary(units_of("system", SYSTEMS), 2))
    assert clips[:, 0].tolist() == [1, 2, 1, 1, 1, 1, 2]
    assert systems[:, 0].tolist() == [2, 1, 1]


def test_units_of_the_clips_that_are_kept_are_counted():
    units, kept = units_of("system+prompt", SYSTEMS, PROMPTS), np.array([1, 0, 1, 1, 0, 0, 0], bool)
    assert count_units(units, kept) == (2, 2)
    assert count_groups(units_of("clip", [""] * 450), np.ones(450, bool)) == (200,)


def test_everything_is_there_once():
    assert everything(units_of("system+prompt", SYSTEMS, PROMPTS)).clips.tolist() == [[1]] * 7


def test_what_cannot_vary_is_refused():
    with pytest.raises(ValueError, match=r"unit must be one of clip, system, prompt, system\+prompt, got 'clips'"):
        check_unit("clips", SYSTEMS)
    with pytest.raises(ValueError, match="unit 'prompt' needs the prompt of the clips, and none is named"):
        check_unit("prompt", SYSTEMS)
    with pytest.raises(ValueError, match="needs the system of the clips"):
        check_unit("system", ["", ""])
