"""Classical edits of a clip: what a listener would not hear, would find worse, or would call another clip."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_aqa.data import augment
from lightning_aqa.data.synthesis.degradations import DEGRADATIONS
from lightning_aqa.data.synthesis.scenes import rms

Samples = NDArray[np.float64]
Heard = Literal["same", "worse", "other"]
Make = Callable[[Samples, int, np.random.Generator], Samples]


class Edit(NamedTuple):
    """An edit.

    Args:
        name: What is done, in words.
        heard: ``same`` where no listener would rate it otherwise, ``worse`` where none would rate it higher, ``other``
            where the clip says something else, of no higher quality.
        make: Takes samples of shape ``(T,)``, their rate in Hz and the generator of all that is random.
    """

    name: str
    heard: Heard
    make: Make


def _gain(decibel: float) -> Make:
    return lambda x, rate, rng: x * 10 ** (decibel / 20)


def _peak(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    return x / max(float(np.abs(x).max(initial=0.0)), 1e-9)


def _noise(decibel: float, slope: float = 0.0) -> Make:
    """Add noise whose power falls with frequency to the power of ``slope``, at a signal-to-noise ratio."""

    def make(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
        spectrum = np.fft.rfft(rng.standard_normal(len(x)))
        frequency = np.maximum(np.fft.rfftfreq(len(x), 1 / rate), 20.0)
        return _mixed(x, np.fft.irfft(spectrum * frequency ** (-slope / 2), len(x)), decibel)

    return make


def _hum(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    t = np.arange(len(x)) / rate
    return _mixed(x, np.sum([np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 4)], axis=0), 25.0)


def _mixed(x: Samples, noise: Samples, decibel: float) -> Samples:
    clean, added = (torch.from_numpy(part).float() for part in (x, noise))
    mixed: Samples = augment.add_noise(clean, added, decibel).double().numpy()
    return mixed


def _filter(kind: Literal["lowpass", "highpass", "bandpass"], hertz: float | tuple[float, float]) -> Make:
    def make(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
        from scipy.signal import butter, sosfilt

        ends = np.minimum(hertz, 0.45 * rate)
        return np.asarray(sosfilt(butter(4, ends, kind, fs=rate, output="sos"), x))

    return make


def _equaliser(low: float, middle: float, high: float) -> Make:
    """Change the level, in decibel, below 250 Hz, from 500 to 2000 Hz and above 4000 Hz, smoothly in between."""

    def make(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
        octaves = np.log2(np.maximum(np.fft.rfftfreq(len(x), 1 / rate), 20.0))
        decibel = np.interp(octaves, np.log2([250, 500, 2000, 4000]), [low, middle, middle, high])
        return np.fft.irfft(np.fft.rfft(x) * 10 ** (decibel / 20), len(x))

    return make


def _clip(decibel: float) -> Make:
    def make(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
        limit = float(np.abs(x).max(initial=0.0)) * 10 ** (-decibel / 20)
        return np.clip(x, -limit, limit)

    return make


def _bits(count: int) -> Make:
    return lambda x, rate, rng: np.round(x * 2 ** (count - 1)) / 2 ** (count - 1)


def _coded(format: str, subtype: str) -> Make:
    """Code and decode at the lowest quality that the codec has."""

    def make(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, _safe(x), rate, format=format, subtype=subtype, compression_level=0.99)
        file.seek(0)
        decoded = soundfile.read(file, dtype="float64")[0]
        return np.pad(decoded, (0, max(0, len(x) - len(decoded))))[: len(x)]

    return make


def _safe(x: Samples) -> Samples:
    return x / max(1.0, float(np.abs(x).max(initial=0.0)))


def _degraded(name: str, strength: float) -> Make:
    function = DEGRADATIONS[name][0]
    return lambda x, rate, rng: np.asarray(function(x, strength, rate, rng), dtype=np.float64)


def _there_and_back(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    import soxr

    back = np.asarray(soxr.resample(soxr.resample(x, rate, 3 * rate, "VHQ"), 3 * rate, rate, "VHQ"))
    return np.pad(back, (0, max(0, len(x) - len(back))))[: len(x)]


def _speed(factor: float) -> Make:
    return lambda x, rate, rng: augment.change_speed(torch.from_numpy(x).float(), rate, factor).double().numpy()


def _reverb(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    from scipy.signal import fftconvolve

    t = np.arange(int(1.2 * rate)) / rate
    tail = rng.standard_normal(len(t)) * np.exp(-6.9 * t / 1.2)
    wet = np.asarray(fftconvolve(x, tail)[: len(x)])
    return x + wet * rms(x) / max(rms(wet), 1e-9)


def _echo(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    late = min(int(0.18 * rate), len(x))
    return x + 0.6 * np.concatenate([np.zeros(late), x[: len(x) - late]])


def _tremolo(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    return x * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * np.arange(len(x)) / rate))


def _compressed(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    """Bring the level of each 50 ms nearly to that of the loudest."""
    from scipy.ndimage import uniform_filter1d

    level = np.sqrt(np.maximum(uniform_filter1d(x**2, max(1, rate // 20), mode="nearest"), 0.0))
    loudest = max(float(level.max(initial=0.0)), 1e-9)
    return x * np.minimum((loudest / np.maximum(level, 1e-4 * loudest)) ** 0.8, 100.0)


def _silenced(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    return np.where(np.arange(len(x)) % rate < rate // 2, x, 0.0)


def _looped(x: Samples, rate: int, rng: np.random.Generator) -> Samples:
    return np.resize(x[: max(1, min(rate, len(x)))], len(x))


EDITS: tuple[Edit, ...] = (
    Edit("6 dB quieter", "same", _gain(-6)),
    Edit("20 dB quieter", "same", _gain(-20)),
    Edit("peak at full scale", "same", _peak),
    Edit("polarity inverted", "same", lambda x, rate, rng: -x),
    Edit("offset of .003", "same", lambda x, rate, rng: x + 0.003),
    Edit("16 bits", "same", _bits(16)),
    Edit("resampled there and back", "same", _there_and_back),
    Edit("noise, 40 dB below", "worse", _noise(40)),
    Edit("noise, 20 dB below", "worse", _noise(20)),
    Edit("pink noise, 20 dB below", "worse", _noise(20, 1.0)),
    Edit("hum of 50 Hz, 25 dB below", "worse", _hum),
    Edit("8 bits", "worse", _bits(8)),
    Edit("MP3, lowest rate", "worse", _coded("MP3", "MPEG_LAYER_III")),
    Edit("Vorbis, lowest rate", "worse", _coded("OGG", "VORBIS")),
    Edit("coarse codec", "worse", _degraded("codec", 1.0)),
    Edit("clipped by 6 dB", "worse", _clip(6)),
    Edit("clipped by 20 dB", "worse", _clip(20)),
    Edit("soft clipping", "worse", lambda x, rate, rng: np.tanh(4 * _peak(x, rate, rng))),
    Edit("heavy compression", "worse", _compressed),
    Edit("low-pass, 3.5 kHz", "worse", _filter("lowpass", 3500.0)),
    Edit("low-pass, 1 kHz", "worse", _filter("lowpass", 1000.0)),
    Edit("high-pass, 500 Hz", "worse", _filter("highpass", 500.0)),
    Edit("telephone band", "worse", _filter("bandpass", (300.0, 3400.0))),
    Edit("bass up 12 dB", "worse", _equaliser(12, 0, 0)),
    Edit("bass down 12 dB", "worse", _equaliser(-12, 0, 0)),
    Edit("middle up 12 dB", "worse", _equaliser(0, 12, 0)),
    Edit("treble up 12 dB", "worse", _equaliser(0, 0, 12)),
    Edit("treble down 12 dB", "worse", _equaliser(0, 0, -12)),
    Edit("reverberation", "worse", _reverb),
    Edit("echo", "worse", _echo),
    Edit("tremolo", "worse", _tremolo),
    Edit("drop-outs", "worse", _degraded("drop_outs", 0.5)),
    Edit("half of each second silent", "worse", _silenced),
    Edit("5 % faster", "other", _speed(1.05)),
    Edit("5 % slower", "other", _speed(0.95)),
    Edit("first second looped", "other", _looped),
    Edit("said twice", "other", lambda x, rate, rng: np.tile(x, 2)),
    Edit("first half alone", "other", lambda x, rate, rng: x[: max(1, len(x) // 2)]),
    Edit("backwards", "other", lambda x, rate, rng: x[::-1].copy()),
    Edit("2 s of silence after", "other", lambda x, rate, rng: np.pad(x, (0, 2 * rate))),
)
"""Edits, in the order of the table; none of them makes a clip better."""


def edited(samples: Samples, sample_rate: int, edit: Edit, seed: int = 0) -> Samples:
    """Apply an edit.

    Args:
        samples: The clip, shape ``(T,)``, full scale 1.
        sample_rate: In Hz.
        edit: The edit.
        seed: Of what is random in it; the same for the same clip gives the same samples.

    Returns:
        Finite samples of shape ``(T',)``.
    """
    made = edit.make(np.asarray(samples, dtype=np.float64), sample_rate, np.random.default_rng(seed))
    return np.nan_to_num(np.asarray(made, dtype=np.float64))
