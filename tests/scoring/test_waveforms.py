"""Audio in memory: the layouts of soundfile and torchaudio, arrays, integers, lists, and what is refused."""

import numpy as np
import pytest
import torch

from lightning_aqa.module import AQAModule
from lightning_aqa.scoring.scorer import Scorer
from tests.scoring.test_scorer import AXES, Means, Same

RATE = 100
CLIP = (np.random.default_rng(0).integers(-128, 128, 80) / 128).astype(np.float32)
STEREO = np.stack([CLIP, CLIP / 2], axis=1)


@pytest.fixture(scope="module")
def means():
    """A scorer whose score is the mean of the samples."""
    return Scorer(AQAModule([AXES[0]], Means(), Same), device="cpu")


FORMS = {
    "(T,)": CLIP, "float64": CLIP.astype(np.float64), "float16": CLIP.astype(np.float16), "list": CLIP.tolist(),
    "int8": (CLIP * 2**7).astype(np.int8), "uint8": (CLIP * 2**7 + 2**7).astype(np.uint8),
    "int16": (CLIP * 2**15).astype(np.int16), "int32": (CLIP * 2.0**31).astype(np.int32),
    "int16 tensor": torch.from_numpy((CLIP * 2**15).astype(np.int16)), "big endian": CLIP.astype(">f4"),
    "backwards": CLIP[::-1][::-1],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_one_clip_in_any_form_has_one_score(means, form):
    assert means(FORMS[form], RATE)["MI"].item() == pytest.approx(CLIP.mean(), abs=1e-6)


@pytest.mark.parametrize("make", [np.array, torch.from_numpy, np.ndarray.tolist])
def test_the_longer_side_is_time(means, make):
    wanted = pytest.approx(STEREO.mean(), abs=1e-6)
    assert means(make(STEREO), sample_rate=RATE)["MI"].item() == wanted  # as soundfile gives it
    assert means(make(STEREO.T.copy()), sample_rate=RATE)["MI"].item() == wanted


def test_lists_and_batches_of_arrays_are_several_clips(means):
    rows = means([CLIP, STEREO, torch.from_numpy(STEREO)], RATE)
    assert [row["MI"].item() for row in rows] == pytest.approx([CLIP.mean(), *[STEREO.mean()] * 2], abs=1e-6)
    for batch in (np.stack([STEREO, -STEREO]), np.stack([STEREO.T, -STEREO.T])):
        assert means(batch, RATE)["MI"].tolist() == pytest.approx([STEREO.mean(), -STEREO.mean()], abs=1e-6)


@pytest.mark.parametrize("rate", [RATE, float(RATE), np.int64(RATE), np.float32(RATE)])
def test_a_rate_is_any_whole_number(means, rate):
    assert means(CLIP, sample_rate=rate)["MI"].item() == pytest.approx(CLIP.mean(), abs=1e-6)


@pytest.mark.parametrize(
    "rate", [None, 0, -1, 99, 100.5, 2**31, 10**400, np.nan, np.inf, "16000", True, [100], torch.tensor(100), 1j]
)
def test_what_is_no_rate_is_told(means, rate):
    with pytest.raises(ValueError, match=r"Tensors need their sample_rate"):
        means(CLIP, sample_rate=rate)


REFUSED = {
    "no full scale": np.zeros(90, dtype=np.int64), "real numbers, got torch.bool": CLIP > 0,
    "real numbers, got torch.complex64": CLIP + 0j, "of <U1": np.array(["a"] * 90), "of object": np.array([None] * 90),
    "not finite": np.where(CLIP > 0, np.nan, CLIP), "holds samples that": np.full(80, np.inf),
    "is 0.000 s long": CLIP[:0],
    r"A clip is 0\.000 s": np.zeros((2, 0)), r"got \(0, 80\)": np.zeros((0, 80)), r"got \(\)": torch.tensor(1.0),
    r"got \(1, 1, 1, 9\)": np.zeros((1, 1, 1, 9)), "got NoneType": None, "got dict": {}, "got bytes": b"a.wav",
    "paths alone, or tensors and arrays alone": [CLIP, "a.wav"], "a list of numbers, got list": [[0.1, 0.2], [0.3]],
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_no_clip_is_told_by_one_kind_of_error(means, said):
    with pytest.raises(ValueError, match=said):
        means(REFUSED[said], sample_rate=RATE)


def test_a_rate_whose_filters_fit_no_memory_is_told(scorer_at_16_khz):
    with pytest.raises(ValueError, match="A sample_rate of 44101 Hz has too little in common with 16000 Hz"):
        scorer_at_16_khz(CLIP, sample_rate=44101)


@pytest.fixture
def scorer_at_16_khz():
    """A scorer that has to resample."""

    class Fast(Means):
        """The same at 16 kHz."""

        sample_rate = 16000

    return Scorer(AQAModule([AXES[0]], Fast(), Same), device="cpu")
