"""What stands beside a score: intervals by domain and deviation, the distance from training, and the note of it."""

import math

import numpy as np
import pytest

from lightning_aqa.batch import make_axes
from lightning_aqa.metrics.conformal import ConformalCalibration
from lightning_aqa.results.notes import Expected
from lightning_aqa.results.predictions import ScoredWindow, clip_deviation
from lightning_aqa.results.trained_features import TrainedFeatures
from lightning_aqa.scoring.batching import ScoredClip, WindowScore
from lightning_aqa.scoring.inputs import item_of
from lightning_aqa.scoring.trust import Trust

AXES = make_axes({"MI": [1, 5], "TA": [1, 5]})


def _calibration(is_scaled=False):
    """Errors of up to .2 in music and of up to 2 in speech; none on the second axis."""
    rng = np.random.default_rng(0)
    sizes = np.repeat([0.2, 2.0], 50)
    errors = np.stack([rng.uniform(size=100) * sizes, np.full(100, math.nan)], axis=1)
    names = ["music"] * 50 + ["speech"] * 50
    return ConformalCalibration(
        "dev", ["MI", "TA"], is_scaled, False, names, [""] * 100, errors, list(map(str, range(100)))
    )


ONE_WINDOW = [(1.0, WindowScore([3.0, 3.0]))]


def _finished(trust, domain="", windows=ONE_WINDOW):
    item = item_of({"path": "a.wav", "domain": domain}, "list.jsonl:1")
    return trust.finish(ScoredClip(item, 1.0, (3.0, 3.0)), None, list(windows), Expected(AXES))


def _width(clip):
    return clip.ends[0][1] - clip.ends[0][0]


def test_a_clip_whose_list_names_a_known_domain_has_the_interval_of_that():
    trust = Trust(AXES, _calibration())
    widths = [_width(_finished(trust, domain)) for domain in ("music", "", "speech", "other")]
    assert widths[0] < 0.42 < widths[1] < widths[2]
    assert widths[3] == widths[1]
    assert trust.columns == ["MI", "MI low", "MI high", "TA", "TA low", "TA high"]
    assert trust.values(_finished(trust))[3:] == [3.0, None, None]
    assert trust.why_none == "0 rated clips of dev to calibrate by, 0.9 takes at least 9"
    assert Trust(AXES, _calibration(), share=0).columns == ["MI", "TA"]
    assert trust.fingerprint() != Trust(AXES, _calibration(), share=0.8).fingerprint() != b""


def test_the_deviation_of_a_clip_is_that_of_its_windows():
    trust = Trust(AXES, _calibration(is_scaled=True))
    windows = [(1.0, WindowScore([2.0, 3.0], [0.1, 0.1])), (3.0, WindowScore([3.0, 3.0], [0.2, 0.1]))]
    found = _finished(trust, windows=windows)
    wanted = clip_deviation([ScoredWindow("", tuple(of.scores), w, tuple(of.deviations)) for w, of in windows])
    assert found.deviations == pytest.approx(wanted)
    assert _width(found) == pytest.approx(2 * wanted[0] * trust.calibration.factor(0))
    assert math.isnan(_width(_finished(trust)))  # a head without deviations


def test_a_clip_far_from_training_has_a_note():
    rng = np.random.default_rng(0)
    known = TrainedFeatures.of(rng.normal(size=(50, 4)).astype(np.float32), list(map(str, range(50))))
    trust = Trust(AXES, None, known)
    near, far = (np.full(4, value, np.float32) for value in (0.0, 30.0))
    usual, odd = (_finished(trust, windows=[(1.0, WindowScore([3.0, 3.0], None, x))]) for x in (near, far))
    assert usual.note == ""
    assert usual.unlike < odd.unlike == 1
    assert odd.note.startswith("unlike any training clip: ")
    assert trust.columns == ["MI", "TA", "unlike"]
    assert trust.values(odd) == [3.0, 3.0, 1.0]
