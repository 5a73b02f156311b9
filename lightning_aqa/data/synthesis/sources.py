"""The natural corpora that simulated clips seem to come from: how their files are named, what rates, how damaged."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lightning_aqa.data.aes_natural_sources import SOURCES

_LETTERS = string.ascii_letters + string.digits


class Source(NamedTuple):
    """A natural corpus that clips seem to come from.

    Args:
        name: Its name, a key of ``aes_sources.SOURCES``, and the folder of its files below ``audio``.
        rates: Sample rates of its files, in Hz.
        damage: Least and most damage of its recordings, 0 to 1.
        file: Path of its n-th file.
        stereo: Whether its files have two channels.
    """

    name: str
    rates: tuple[int, ...]
    damage: tuple[float, float]
    file: Callable[[int, np.random.Generator], str]
    stereo: bool = False

    @property
    def domain(self) -> str:
        """Domain of its clips."""
        return SOURCES[self.name].domain


def _libritts(index: int, rng: np.random.Generator) -> str:
    speaker, chapter = rng.integers(100, 9000), rng.integers(10000, 200000)
    return f"train-clean-100/{speaker}/{chapter}/{speaker}_{chapter}_{index:06d}_000000.wav"


def _ears(index: int, rng: np.random.Generator) -> str:
    feeling = rng.choice(("contentment", "cuteness", "confusion", "amazement", "neutral"))
    return f"p{index + 1:03d}/emo_{feeling}_sentences.wav"


def _common_voice(index: int, rng: np.random.Generator) -> str:
    return f"en/clips/common_voice_en_{17000000 + 1000 * index + rng.integers(1000)}.mp3"


SONGS = (
    "Salt, Pepper & Tide - Slow Harbour",
    "Ana Brook - Night Bus",
    "Nine & Ten - Paper Boat",
    "The Low Shelf - Don't Wait",
    "Milo Kern - Winter, Again",
)
STEMS = {
    "mixture": ("drums", "bass", "chords", "vocals"),
    "bass": ("bass",),
    "drums": ("drums",),
    "other": ("chords", "melody"),
    "vocals": ("vocals",),
}


def _musdb(index: int, rng: np.random.Generator) -> str:
    song, stem = divmod(index, len(STEMS))
    again, song = divmod(song, len(SONGS))
    title = SONGS[song] + (f" {again + 1}" if again else "")
    return f"{'train' if song else 'test'}/{title}/{list(STEMS)[stem]}.wav"


def _musiccaps(index: int, rng: np.random.Generator) -> str:
    return f"{draw_code(11, rng, _LETTERS + '-_')}.wav"


def _audioset(index: int, rng: np.random.Generator) -> str:
    start = 10000 * rng.integers(30)
    return f"audio/{draw_code(11, rng, _LETTERS + '-_')}_{start}_{start + 10000}.flac"


def draw_code(length: int, rng: np.random.Generator, letters: str = _LETTERS) -> str:
    """Draw a name such as the ids of videos and of the evaluation set have."""
    return "".join(rng.choice(list(letters), length))


LIBRITTS = Source("LibriTTS", (24000,), (0.05, 0.4), _libritts)
EARS = Source("EARS", (48000,), (0.0, 0.25), _ears)
COMMON_VOICE = Source("CommonVoice", (32000, 48000), (0.2, 0.85), _common_voice)
MUSDB18 = Source("MUSDB18", (44100,), (0.0, 0.25), _musdb, stereo=True)
MUSICCAPS = Source("MusicCaps", (44100,), (0.1, 0.85), _musiccaps)
AUDIOSET = Source("AudioSet", (48000,), (0.1, 0.85), _audioset)
ROTA = (AUDIOSET, LIBRITTS, MUSDB18, AUDIOSET, COMMON_VOICE, MUSICCAPS, AUDIOSET, EARS, MUSDB18)
"""The corpus of each clip in turn: as many clips of speech as of music and of sound."""
