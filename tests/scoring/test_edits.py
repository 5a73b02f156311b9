"""Edits of a clip: what they do, and what is said of scores that they change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightning_aqa.scoring.edits import EDITS, edited
from lightning_aqa.scoring.probing import ORIGINAL, ProbedClip, effects

BY_NAME = {edit.name: edit for edit in EDITS}
TONE = 0.2 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)


def test_there_are_thirty_edits_or_more_each_once():
    assert len(EDITS) == len(BY_NAME) >= 30
    assert {edit.heard for edit in EDITS} == {"same", "worse", "other"}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_changes_a_clip_the_same_way_each_time(edit):
    noisy = np.tile(TONE, 2) + 0.01 * np.random.default_rng(0).standard_normal(32000)
    made = edited(noisy, 16000, edit)
    assert np.array_equal(made, edited(noisy, 16000, edit))
    assert np.isfinite(made).all()
    assert len(made) >= 16000
    assert len(made) != len(noisy) or not np.array_equal(made, noisy)


@settings(max_examples=15, deadline=None)
@given(arrays(np.float64, st.integers(400, 900), elements=st.floats(-1, 1)), st.sampled_from([8000, 16000, 48000]))
def test_any_clip_comes_out_finite(samples, rate):
    for edit in EDITS:
        assert np.isfinite(edited(samples, rate, edit)).all(), edit.name


def test_edits_do_what_they_are_called():
    def level(name):
        return 20 * math.log10(edited(TONE, 16000, BY_NAME[name]).std() / TONE.std())

    assert level("6 dB quieter") == pytest.approx(-6)
    assert level("low-pass, 1 kHz") == pytest.approx(0, abs=0.1)
    assert level("high-pass, 500 Hz") < -3
    assert np.abs(edited(TONE, 16000, BY_NAME["peak at full scale"])).max() == pytest.approx(1)
    noise = edited(TONE, 16000, BY_NAME["noise, 20 dB below"]) - TONE
    assert 20 * math.log10(TONE.std() / noise.std()) == pytest.approx(20, abs=0.1)
    assert len(edited(TONE, 16000, BY_NAME["5 % faster"])) == pytest.approx(16000 / 1.05, abs=2)
    looped = edited(np.arange(40000.0), 16000, BY_NAME["first second looped"])
    assert looped[16000] == 0


def rows_of(changes):
    """Make scores of clips: each edit's change is a list over clips."""
    count = len(next(iter(changes.values())))
    rows = [ProbedClip(str(c), ORIGINAL, "", (3.0,), "") for c in range(count)]
    return rows + [
        ProbedClip(str(c), edit, "worse", (3.0 + change[c],), "")
        for edit, change in changes.items()
        for c in range(count)
    ]


def test_effects_worked_by_hand():
    found = effects(rows_of({"a": [0.1, 0.3], "b": [-0.5, math.nan]}), ["MI"])
    a, b = found
    assert (a.edit, a.n, a.up) == ("a", 2, 1.0)
    assert a.mean == pytest.approx(0.2)
    t = 25.4517  # Student's t of one degree of freedom, .975 for each of two edits: 1 - .05 / 4
    assert a.high - a.mean == pytest.approx(t * 0.1, rel=1e-4)
    assert not a.buys
    assert (b.n, b.mean, math.isnan(b.low), b.buys) == (1, -0.5, True, False)


@pytest.mark.parametrize("count", [2, 3, 6, 20])
def test_intervals_hold_for_all_edits_at_once(count):
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(200):
        changes = {str(k): rng.normal(0.1, 0.3, count) for k in range(10)}
        held += all(effect.low <= 0.1 <= effect.high for effect in effects(rows_of(changes), ["MI"]))
    assert held >= 0.91 * 200  # 95 %, less 2.6 standard errors of 200 trials
