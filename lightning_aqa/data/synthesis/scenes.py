"""Made-up music, speech and everyday sounds: tones and noise under envelopes, and a sentence on what is heard."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float64]

TIMBRES = {  # amplitudes of the harmonics, and how long they ring, in seconds
    "piano": ((1, 0.6, 0.35, 0.2, 0.1), 0.5),
    "guitar": ((0.8, 1, 0.5, 0.6, 0.2, 0.3), 0.3),
    "organ": ((1, 0.6, 0.3, 0.4, 0, 0, 0, 0.15), 30.0),
    "flute": ((1, 0.25, 0.08), 30.0),
    "bass": ((1, 0.5, 0.2), 0.5),
    "vocals": ((0.6, 1, 0.8, 0.25, 0.15, 0.3), 30.0),
}
LEADS, TEMPOS = ("piano", "guitar", "organ", "flute"), {"slow": 72, "mid-tempo": 104, "fast": 148}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
CHORDS = (0, 4, 5, 3)
PARTS = {  # beats of the half bar on which a part plays, steps above the chord, loudness
    "bass": ((0, 1), (-14,), 0.6),
    "chords": ((0,), (0, 2, 4), 0.3),
    "melody": ((0, 0.5, 1, 1.5), (7, 8, 9, 11), 0.5),
    "vocals": ((0, 1), (7, 9, 11), 0.6),
}
VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
SOUNDS = {  # band of the noise, in Hz, and how often a second it swells or is struck
    "wind": (60, 350, 0.6),
    "rain": (1500, 6500, 0.0),
    "an engine": (100, 900, 14.0),
    "birds": (2500, 5000, 5.0),
    "knocking": (150, 1200, 2.5),
}


@dataclass(frozen=True)
class Scene:
    """Content of a clip.

    Args:
        domain: ``speech``, ``music`` or ``sound``.
        layers: What sounds at the same time.
        manner: Adjectives: tempo, lead and mode of music, pitch and pace of a voice; none of everyday sounds.
        pitch: Tonic or voice, in Hz.
    """

    domain: str
    layers: tuple[str, ...]
    manner: tuple[str, ...] = ()
    pitch: float = 0.0

    @classmethod
    def draw(cls, domain: str, rng: np.random.Generator) -> Scene:
        """Draw a tune with a melody, a voice, or one to three everyday sounds."""
        if domain == "sound":
            return cls(domain, tuple(rng.permutation(list(SOUNDS))[: rng.integers(1, 4)].tolist()))
        if domain == "speech":
            kind, pace = str(rng.choice(("low", "high"))), str(rng.choice(("calm", "quick")))
            return cls(domain, ("speech",), (kind, pace), rng.uniform(0.85, 1.2) * (105 if kind == "low" else 200))
        extra = rng.permutation(("drums", "bass", "chords"))[: rng.integers(0, 4)].tolist()
        layers = (*(part for part in ("drums", "bass", "chords") if part in extra), "melody")
        manner = tuple(str(rng.choice(list(names))) for names in (TEMPOS, LEADS, SCALES))
        return cls(domain, layers, manner, float(rng.uniform(170, 330)))

    def draw_other(self, rng: np.random.Generator) -> Scene:
        """Draw music of another instrument and tempo, with the same parts."""
        tempo, lead = (str(rng.choice([n for n in names if n not in self.manner])) for names in (TEMPOS, LEADS))
        return replace(self, manner=(tempo, lead, self.manner[2]), pitch=float(rng.uniform(170, 330)))

    @property
    def prompt(self) -> str:
        """Say what is heard.

        Example:
            >>> Scene("music", ("drums", "melody"), ("slow", "piano", "minor")).prompt
            'A slow piano piece in a minor key with drums and melody.'
        """
        if self.domain == "sound":
            return f"The sound of {' and '.join(self.layers)}."
        if self.domain == "speech":
            return "A {} voice speaking at a {} pace.".format(*self.manner)
        *others, last = self.layers
        parts = f"with {', '.join(others)} and {last}" if others else f"for {last} alone"
        return "A {} {} piece in a {} key {}.".format(*self.manner, parts)

    def render(self, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
        """Make the waveform, shape ``(T,)``, at any level."""
        make = {"music": _music, "speech": _speech, "sound": _ambience}[self.domain]
        return make(self, rng, np.zeros(round(seconds * sample_rate)), sample_rate)


def set_level(waveform: Waveform, level: float) -> Waveform:
    """Scale a waveform of any shape to a root mean square in dB of full scale, or to a peak of 0.95 below that."""
    peak = float(np.abs(waveform).max(initial=0.0))
    return waveform * min(10 ** (level / 20) / max(rms(waveform), 1e-9), 0.95 / max(peak, 1e-9))


def rms(waveform: Waveform) -> float:
    """Measure the root mean square of a waveform of any shape."""
    return float(np.sqrt(np.mean(waveform**2)))


def _music(tune: Scene, rng: np.random.Generator, mix: Waveform, sample_rate: int) -> Waveform:
    """Play every part of every half bar, with notes a few milliseconds early or late."""
    tempo, lead, mode = tune.manner
    beat, first = 60 / TEMPOS[tempo], int(rng.integers(len(CHORDS)))
    for half_bar in range(int(len(mix) / sample_rate / (2 * beat)) + 1):
        start, degree = 2 * beat * half_bar, CHORDS[(first + half_bar) % len(CHORDS)]
        for part in tune.layers:
            if part == "drums":
                for at, low, high, ring in ((0, 40, 120, 0.07), (1, 150, 2500, 0.06), (0.5, 4000, 7500, 0.02)):
                    hit_T = 5 * _noise(rng, round(0.2 * sample_rate), low, high, sample_rate, ring)
                    _add(mix, hit_T, start + at * beat, sample_rate)
                continue
            beats, steps, gain = PARTS[part]
            for at in beats:
                for step in steps if part == "chords" else (int(rng.choice(steps)),):
                    octave, note = divmod(degree + step, 7)
                    pitch = tune.pitch * 2 ** (octave + SCALES[mode][note] / 12)
                    sound_T = _tone(pitch, 2 * beat / len(beats), part if part in TIMBRES else lead, sample_rate)
                    _add(
                        mix, gain * rng.uniform(0.8, 1) * sound_T, start + at * beat + rng.normal(0, 0.004), sample_rate
                    )
    return mix


def _tone(pitch: float, seconds: float, timbre: str, sample_rate: int) -> Waveform:
    """Play one note, with an attack of 5 and a release of 40 ms."""
    gains, ring = TIMBRES[timbre]
    time_T, order_K = np.arange(round(seconds * sample_rate)) / sample_rate, np.arange(1, len(gains) + 1)
    partials_KT = np.sin(2 * np.pi * np.outer(order_K * pitch, time_T)) * np.exp(-np.outer(order_K / ring, time_T))
    fade_T = np.minimum(1, np.minimum(time_T / 0.005, (seconds - time_T) / 0.04))
    return np.asarray((np.array(gains) * (order_K * pitch < 0.45 * sample_rate)) @ partials_KT * fade_T)


def _speech(voice: Scene, rng: np.random.Generator, mix: Waveform, sample_rate: int) -> Waveform:
    """Babble syllables of a hiss and a vowel that falls in pitch, with a pause here and there."""
    time, pace = rng.uniform(0.02, 0.12), 0.24 if "calm" in voice.manner else 0.16
    order_K = np.arange(1, int(3800 / voice.pitch))
    while time * sample_rate < len(mix):
        length, low = pace * rng.uniform(0.7, 1.35), rng.uniform(1800, 4000)
        hiss_T = _noise(rng, round(0.3 * length * sample_rate), low, 2.2 * low, sample_rate)
        _add(mix, 0.5 * hiss_T * np.hanning(len(hiss_T)), time - 0.2 * length, sample_rate)
        fade_T = np.linspace(0, 1, round(length * sample_rate))
        angle_T = 2 * np.pi * voice.pitch * rng.uniform(0.9, 1.1) * np.cumsum(1.08 - 0.16 * fade_T) / sample_rate
        formants = np.array(VOWELS[rng.integers(len(VOWELS))])  # a harmonic is as loud as the nearest of them make it
        gains_K = (1 / (1 + ((order_K[:, None] * voice.pitch - formants) / 120) ** 2)).sum(1) / order_K**0.5
        _add(mix, gains_K @ np.sin(np.outer(order_K, angle_T)) * np.sin(np.pi * fade_T) ** 0.6, time, sample_rate)
        time += length + (rng.uniform(0.15, 0.4) if rng.random() < 0.15 else 0.0)
    return mix


def _ambience(scene: Scene, rng: np.random.Generator, mix: Waveform, sample_rate: int) -> Waveform:
    """Sum the sounds, each a band of noise that swells, steadily or in strokes, at a level of its own."""
    time_T = np.arange(len(mix)) / sample_rate
    for low, high, rate in (SOUNDS[name] for name in scene.layers):
        swell_T = 0.5 + 0.5 * np.sin(2 * np.pi * rate * rng.uniform(0.7, 1.3) * time_T + rng.uniform(0, 6))
        mix += set_level(_noise(rng, len(mix), low, high, sample_rate) * swell_T ** (1 + rate), rng.uniform(-28, -22))
    return mix


def _noise(
    rng: np.random.Generator, length: int, low: float, high: float, sample_rate: int, ring: float = np.inf
) -> Waveform:
    """Draw noise between two frequencies in Hz, as far as the sample rate reaches; it fades within ``ring`` seconds."""
    spectrum_K, frequency_K = np.fft.rfft(rng.normal(size=length)), np.fft.rfftfreq(length, 1 / sample_rate)
    heard_K = (frequency_K >= min(low, 0.4 * sample_rate)) & (frequency_K <= high)
    return np.asarray(np.fft.irfft(spectrum_K * heard_K, length) * np.exp(-np.arange(length) / sample_rate / ring))


def _add(mix: Waveform, sound: Waveform, start: float, sample_rate: int) -> None:
    """Add a sound to a mix in place from ``start`` seconds on; what lies outside is cut off."""
    at = round(start * sample_rate)
    first, last = max(at, 0), min(at + len(sound), len(mix))
    if first < last:
        mix[first:last] += sound[first - at : last - at]
