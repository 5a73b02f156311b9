"""Sound and spectrogram of a clip, small enough to lie inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.audio import read_audio
from lightning_aqa.data.decoding import audio_info

NUM_MELS = 96
PICTURE = (480, 96)
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
DECIBELS = 70.0


class Media(NamedTuple):
    """Sound and picture of a clip, as they lie in the page.

    Args:
        sound: Data URI of the audio.
        picture: Data URI of its mel spectrogram: dark is loud.
        seconds: Length of what is embedded.
        top_hz: Highest frequency of the picture, in Hz.
        is_lossless: Whether the sound is the file's samples, as mono, and not a lossy copy.
        is_cut: Whether the clip is longer than that.
    """

    sound: str
    picture: str
    seconds: float
    top_hz: float
    is_lossless: bool
    is_cut: bool


def read_media(path: Path, start: float, end: float | None, max_seconds: float, max_bytes: int) -> Media:
    """Read the first seconds of a clip: as FLAC where that is small enough, otherwise as MP3.

    Args:
        path: The audio file.
        start: Where the clip starts in it, in seconds.
        end: Where it ends; None is the end of the file.
        max_seconds: Longest piece to take.
        max_bytes: Size from which on FLAC is not taken; as text in the page it is a third larger.

    Raises:
        AudioError: If the file cannot be read.
    """
    info = audio_info(path)
    seconds = (info.seconds if end is None else min(end, info.seconds)) - start
    samples_T = read_audio(path, info.sample_rate, start, start + min(seconds, max_seconds))
    sound, mime = encode(samples_T, info.sample_rate, max_bytes)
    picture, top_hz = spectrogram(samples_T, info.sample_rate)
    return Media(
        _uri(sound, mime),
        _uri(picture, "image/webp" if picture[:4] == b"RIFF" else "image/png"),
        len(samples_T) / info.sample_rate,
        top_hz,
        mime == "audio/flac",
        seconds > max_seconds + 0.01,
    )


def encode(samples: NDArray[np.float32], sample_rate: int, max_bytes: int) -> tuple[bytes, str]:
    """Encode mono audio; return the bytes of the file and their type.

    Args:
        samples: Shape ``(T,)``.
        sample_rate: In Hz.
        max_bytes: Size up to which FLAC (16 bit, lossless) is taken; above it MP3.
    """
    import soundfile

    clipped_T = samples.clip(-1, 1)
    buffer = io.BytesIO()
    soundfile.write(buffer, clipped_T, sample_rate, format="FLAC", subtype="PCM_16")
    if len(buffer.getvalue()) <= max_bytes:
        return buffer.getvalue(), "audio/flac"
    if sample_rate not in MP3_RATES:
        import soxr

        rate = max((known for known in MP3_RATES if known <= sample_rate), default=MP3_RATES[0])
        clipped_T, sample_rate = soxr.resample(clipped_T, sample_rate, rate).clip(-1, 1), rate
    buffer = io.BytesIO()
    soundfile.write(buffer, clipped_T, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5)
    return buffer.getvalue(), "audio/mpeg"


def spectrogram(samples: NDArray[np.float32], sample_rate: int) -> tuple[bytes, float]:
    """Draw a mel spectrogram in grey, the loudest black, 70 dB below white; return a file and its highest frequency."""
    import librosa
    from PIL import Image, features

    hop = max(len(samples) // PICTURE[0], 64)
    size = 2 ** int(np.ceil(np.log2(max(2 * hop, sample_rate // 24))))
    top_hz = min(sample_rate / 2, 16_000.0)
    power_MF = librosa.feature.melspectrogram(
        y=np.pad(samples, (0, max(0, size - len(samples)))),
        sr=sample_rate,
        n_fft=size,
        hop_length=hop,
        n_mels=NUM_MELS,
        fmax=top_hz,
        power=2.0,
    )
    level_MF = 10 * np.log10(power_MF.clip(min=1e-10) / max(float(power_MF.max()), 1e-10))
    grey_MF = (255 * (-level_MF / DECIBELS).clip(0, 1)).astype(np.uint8)[::-1]
    buffer = io.BytesIO()
    kind = "WEBP" if features.check("webp") else "PNG"
    Image.fromarray(grey_MF).resize(PICTURE, Image.Resampling.BILINEAR).save(buffer, kind, quality=45)
    return buffer.getvalue(), top_hz


def _uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
