"""Faults of a clip, each a pure function of waveform and strength, and mixes of them.

Every function of ``DEGRADATIONS`` takes ``(waveform, strength, sample_rate, rng)``: a waveform of shape ``(T,)``, a
strength above 0 and up to 1, the sample rate in Hz and the generator of everything random. It returns a new waveform of
the same shape, worse the higher the strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lightning_aqa.data.synthesis.scenes import Waveform, rms

Degradation = Callable[[Waveform, float, int, np.random.Generator], Waveform]


def band_limit(waveform: Waveform, strength: float, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Cut what lies above ``8000 * (700 / 8000) ** strength`` Hz."""
    from scipy.signal import butter, sosfilt

    cutoff = min(8000 * (700 / 8000) ** strength, 0.45 * sample_rate)
    return np.asarray(sosfilt(butter(8, cutoff, fs=sample_rate, output="sos"), waveform))


def codec(waveform: Waveform, strength: float, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Code coarsely: in frames of 32 ms, drop bins ``60 - 45 * strength`` dB below the loudest, round the rest.

    Magnitudes are rounded to steps of ``1 + 11 * strength`` dB, phases are kept.
    """
    from scipy.signal import istft, stft

    size = min(round(0.032 * sample_rate), len(waveform))
    spectrum_KF = stft(waveform, nperseg=size)[2]
    level_KF = 20 * np.log10(np.maximum(np.abs(spectrum_KF), 1e-9))
    step = 1 + 11 * strength
    change_KF = step * np.round(level_KF / step) - level_KF
    kept_KF = level_KF > level_KF.max(axis=0) - (60 - 45 * strength)
    return np.asarray(istft(spectrum_KF * kept_KF * 10 ** (change_KF / 20), nperseg=size)[1])[: len(waveform)]


def clipping(waveform: Waveform, strength: float, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Clip ``30 * strength`` dB below the peak, then bring the level back."""
    limit = np.abs(waveform).max(initial=0.0) * 10 ** (-30 * strength / 20)
    clipped_T = np.clip(waveform, -limit, limit)
    return clipped_T * (rms(waveform) / max(rms(clipped_T), 1e-12))


def noise(waveform: Waveform, strength: float, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Add white noise at a signal-to-noise ratio of ``45 - 45 * strength`` dB."""
    return waveform + rms(waveform) * 10 ** (-(45 - 45 * strength) / 20) * rng.normal(size=len(waveform))


def drop_outs(waveform: Waveform, strength: float, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Silence gaps of 40 to 120 ms, as many as make about ``0.45 * strength`` of the clip, with edges of 4 ms."""
    from scipy.ndimage import uniform_filter1d

    gain_T = np.ones(len(waveform))
    for _ in range(max(1, round(0.45 * strength * len(waveform) / sample_rate / 0.08))):
        start = rng.integers(0, len(waveform))
        gain_T[start : start + round(rng.uniform(0.04, 0.12) * sample_rate)] = 0
    return waveform * np.asarray(uniform_filter1d(gain_T, max(1, round(0.004 * sample_rate)), mode="nearest"))


# In the order in which a bad chain applies them, each with how much of the quality it takes away at strength 1, as a
# listener might say; a choice, not a measurement.
DEGRADATIONS: dict[str, tuple[Degradation, float]] = {
    "band_limit": (band_limit, 0.7),
    "codec": (codec, 0.8),
    "clipping": (clipping, 0.75),
    "noise": (noise, 0.85),
    "drop_outs": (drop_outs, 0.85),
}


def degrade(waveform: Waveform, strengths: Mapping[str, float], sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Apply the degradations with a strength above 0, in the order of ``DEGRADATIONS``; shape ``(T,)`` stays."""
    for name, (degradation, _) in DEGRADATIONS.items():
        if strengths.get(name, 0) > 0:
            waveform = degradation(waveform, strengths[name], sample_rate, rng)
    return waveform


def damage(strengths: Mapping[str, float]) -> float:
    r"""Sum up a mix in one number, ``1 - \prod_d (1 - c_d s_d)``: 0 for a clean clip, towards 1 for a ruined one.

    Example:
        >>> round(damage({"noise": 1.0}), 3), round(damage({"noise": 1.0, "codec": 0.5}), 3), damage({})
        (0.85, 0.91, 0.0)
    """
    return float(1 - np.prod([1 - DEGRADATIONS[name][1] * strength for name, strength in strengths.items()]))


def draw_mix(target: float, rng: np.random.Generator) -> dict[str, float]:
    """Draw noise and up to two more degradations that together do a given damage, each the same share of it.

    Noise is always there: were every clip bad in a way of its own, small corpora could not teach what bad means.

    Args:
        target: The damage, 0 to 1; a mix whose strengths would pass 1 stays below it.
        rng: Decides which, and how many.
    """
    others = [name for name in DEGRADATIONS if name != "noise"]
    names = ["noise", *rng.permutation(others)[: rng.integers(0, 3)].tolist()]
    share = 1 - (1 - target) ** (1 / len(names))
    return {name: min(1.0, share / DEGRADATIONS[name][1]) for name in names}


def replace_end(waveform: Waveform, other: Waveform, strength: float) -> Waveform:
    """Let ``other`` be heard from ``1 - strength`` of a clip on, after a cross-fade over 4 % of it.

    Wrong content lowers how well a clip fits its prompt and nothing else, so it is no part of ``DEGRADATIONS``.
    """
    position_T = np.linspace(0, 1, len(waveform))
    fade_T = np.clip((position_T - (1 - strength) * 1.04) / 0.04 + 1, 0, 1)
    return (1 - fade_T) * waveform + fade_T * other
