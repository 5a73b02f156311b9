from itertools import pairwise

import numpy as np
import pytest

from lightning_aqa.data.synthesis.degradations import DEGRADATIONS, damage, degrade, draw_mix, replace_end
from lightning_aqa.data.synthesis.scenes import Scene, rms

RATE = 16000
STRENGTHS = (0.2, 0.5, 1.0)


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(0)
    tune = Scene("music", ("drums", "bass", "chords", "melody"), ("mid-tempo", "organ", "minor"), 220.0)
    return tune.render(rng, 2.0, RATE) + 1e-4 * rng.normal(size=2 * RATE)


def _apply(name, waveform, strength):
    return DEGRADATIONS[name][0](waveform, strength, RATE, np.random.default_rng(1))


def _snr(clean, degraded):
    return 20 * np.log10(rms(clean) / rms(degraded - clean))


def _is_falling(values):
    return all(later < earlier for earlier, later in pairwise(values))


def test_noise_sets_the_signal_to_noise_ratio(clean):
    # 45 - 45 * 0.4 = 27 dB.
    assert _snr(clean, _apply("noise", clean, 0.4)) == pytest.approx(27, abs=0.2)
    assert _snr(clean, _apply("noise", clean, 1.0)) == pytest.approx(0, abs=0.2)


def test_band_limit_sets_the_bandwidth():
    white = np.random.default_rng(0).normal(size=8 * RATE)
    frequency = np.fft.rfftfreq(len(white), 1 / RATE)
    for strength, cutoff in ((0.5, (8000 * 700) ** 0.5), (1.0, 700)):
        gain = np.abs(np.fft.rfft(_apply("band_limit", white, strength)) / np.fft.rfft(white)) ** 2
        assert gain[frequency < 0.8 * cutoff].mean() > 0.95
        assert gain[np.abs(frequency / cutoff - 1) < 0.02].mean() == pytest.approx(0.5, abs=0.05)
        assert gain[frequency > 1.3 * cutoff].mean() < 0.01


def test_clipping_lowers_the_crest_and_keeps_the_level(clean):
    clipped = [_apply("clipping", clean, strength) for strength in STRENGTHS]
    assert _is_falling([np.abs(waveform).max() / rms(waveform) for waveform in (clean, *clipped)])
    assert [rms(waveform) for waveform in clipped] == pytest.approx([rms(clean)] * 3)


def test_drop_outs_silence_their_share_of_the_clip():
    ones = np.ones(60 * RATE)
    silent = [np.mean(_apply("drop_outs", ones, strength) < 1e-9) for strength in STRENGTHS]
    # Gaps that overlap leave 1 - exp(-share) of the clip silent; the edges take 4 ms of each gap of 80 ms.
    assert silent == pytest.approx([0.95 * (1 - np.exp(-0.45 * strength)) for strength in STRENGTHS], abs=0.03)


def test_codec_empties_bins_and_lowers_the_signal_to_noise_ratio(clean):
    from scipy.signal import stft

    coded = [_apply("codec", clean, strength) for strength in STRENGTHS]
    assert _is_falling([_snr(clean, waveform) for waveform in coded])
    filled = [np.mean(np.abs(stft(waveform, nperseg=512)[2]) > 1e-4 * rms(clean)) for waveform in (clean, *coded)]
    assert _is_falling(filled)


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("num_samples", [2 * RATE, 1001])
def test_degradations_keep_the_shape_and_leave_their_input_alone(clean, name, num_samples):
    waveform = clean[:num_samples].copy()
    degraded = _apply(name, waveform, 0.7)
    assert degraded.shape == waveform.shape
    assert np.isfinite(degraded).all()
    np.testing.assert_array_equal(waveform, clean[:num_samples])
    np.testing.assert_array_equal(degraded, _apply(name, waveform, 0.7))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_survive_silence(name):
    assert np.isfinite(_apply(name, np.zeros(RATE), 1.0)).all()


def test_degrade_applies_the_chain_in_its_order_and_leaves_zeros_out(clean):
    both = degrade(clean, {"noise": 0.3, "band_limit": 0.5, "codec": 0.0}, RATE, np.random.default_rng(1))
    by_hand = _apply("noise", _apply("band_limit", clean, 0.5), 0.3)
    np.testing.assert_array_equal(both, by_hand)
    np.testing.assert_array_equal(degrade(clean, {}, RATE, np.random.default_rng(1)), clean)


def test_damage_grows_with_every_strength():
    mix = dict.fromkeys(DEGRADATIONS, 0.3)
    assert all(damage({**mix, name: 0.6}) > damage(mix) for name in mix)
    assert damage(dict.fromkeys(mix, 1.0)) < 1


@pytest.mark.parametrize("target", [0.0, 0.2, 0.5])
def test_a_drawn_mix_does_the_damage_asked_for(target):
    rng = np.random.default_rng(0)
    mixes = [draw_mix(target, rng) for _ in range(30)]
    assert [damage(mix) for mix in mixes] == pytest.approx([target] * 30)
    assert {len(mix) for mix in mixes} == {1, 2, 3}
    assert set().union(*mixes) == set(DEGRADATIONS)
    assert all("noise" in mix for mix in mixes)


def test_wrong_content_replaces_the_end_of_a_clip():
    mixed = replace_end(np.ones(1000), np.zeros(1000), 0.3)
    assert mixed.mean() == pytest.approx(0.7, abs=0.02)
    assert mixed[:600].min() == 1
    assert mixed[750:].max() == 0
    assert replace_end(np.ones(10), np.zeros(10), 0.0).min() == 1
    assert replace_end(np.ones(10), np.zeros(10), 1.0).max() == 0
