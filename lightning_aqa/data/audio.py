"""The one reader of audio: any file to mono float32 at the rate that an encoder asks for."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.stderr import without_notes

Waveform = NDArray[np.float32]

BLOCK_FRAMES = 2**16
COMPRESSED_BY_FFMPEG = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm"})


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and says what to do."""


class AudioInfo(NamedTuple):
    """What a file's header says: its rate in Hz, and its length in seconds."""

    sample_rate: int
    seconds: float


def audio_info(path: str | Path) -> AudioInfo:
    """Read the rate and the length of a file without decoding it.

    Raises:
        AudioError: If the file is missing or no reader knows it.
    """
    import soundfile

    if Path(path).suffix.lower() in COMPRESSED_BY_FFMPEG:
        samples, rate = _decode_by_ffmpeg(path)
        return AudioInfo(rate, len(samples) / rate)
    try:
        with _quietly(path):
            info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError, TypeError) as error:  # TypeError: .raw, whose rate nobody knows
        raise AudioError(_unreadable(path, error)) from None
    return AudioInfo(int(info.samplerate), info.frames / info.samplerate)


def read_audio(path: str | Path, sample_rate: int, start: float = 0.0, end: float | None = None) -> Waveform:
    """Read a file, or a part of it, as mono audio at a given rate.

    Channels are averaged, then the signal is resampled by soxr at its HQ setting. A part is cut before resampling, so
    only the part is decoded.

    Args:
        path: Any file that libsndfile reads; m4a, aac and mp4 need the ``ffmpeg`` program.
        sample_rate: Rate to return, in Hz.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end.

    Returns:
        Samples, shape ``(T,)``, float32, full scale at 1.

    Raises:
        AudioError: If the file is missing or unreadable, or the part holds no sample.
    """
    samples, rate = _decode(path, start, end)
    if samples.shape[0] == 0:
        raise AudioError(f"{path}: no audio between {start:g} s and {'its end' if end is None else f'{end:g} s'}.")
    mono = _to_mono(samples)
    if rate == sample_rate:
        return mono
    import soxr

    resampled: Waveform = soxr.resample(mono, rate, sample_rate)
    return resampled


def _decode(path: str | Path, start: float, end: float | None) -> tuple[Waveform, int]:
    import soundfile

    if Path(path).suffix.lower() in COMPRESSED_BY_FFMPEG:
        samples, rate = _decode_by_ffmpeg(path)
        return samples[round(start * rate) : None if end is None else round(end * rate)], rate
    try:
        with _quietly(path), soundfile.SoundFile(str(path)) as file:
            rate = int(file.samplerate)
            first = min(round(start * rate), file.frames)
            last = file.frames if end is None else min(round(end * rate), file.frames)
            _go_to(file, first)
            return file.read(max(last - first, 0), dtype="float32", always_2d=True), rate
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise AudioError(_unreadable(path, error)) from None


def _go_to(file: Any, frame: int) -> None:
    """Go to a frame; in Ogg Vorbis by decoding up to it, since libsndfile seeks beside it there (its issue 885)."""
    if file.subtype != "VORBIS":
        file.seek(frame)
        return
    for first in range(0, frame, BLOCK_FRAMES):
        file.read(min(BLOCK_FRAMES, frame - first), dtype="float32")


def _quietly(path: str | Path) -> AbstractContextManager[None]:
    return without_notes() if Path(path).suffix.lower() in {".mp3", ".mp2"} else nullcontext()


def _to_mono(samples: Waveform) -> Waveform:
    """Average the channels of ``(T, C)``; the sum of two columns is ten times faster than ``mean(1)``."""
    num_channels = samples.shape[1]
    mono = samples[:, 0].copy()
    for channel in range(1, num_channels):
        mono += samples[:, channel]
    if num_channels > 1:
        mono *= np.float32(1 / num_channels)
    return mono


def _decode_by_ffmpeg(path: str | Path) -> tuple[Waveform, int]:
    """Decode a whole file through the ffmpeg program, to (T, 1) at 48 kHz."""
    if not Path(path).is_file():
        raise AudioError(f"{path}: no such file.")
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{path}: {Path(path).suffix} files need the ffmpeg program; install it "
            "(`apt-get install ffmpeg` or `conda install ffmpeg`), or convert the file to wav or flac."
        )
    rate = 48_000
    command = [program, "-v", "error", "-i", str(path), "-f", "f32le", "-ac", "1", "-ar", str(rate), "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise AudioError(f"{path}: ffmpeg cannot read it: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return np.frombuffer(done.stdout, dtype=np.float32).reshape(-1, 1), rate


def _unreadable(path: str | Path, error: Exception) -> str:
    if not Path(path).exists():
        return f"{path}: no such file."
    reason = str(error).rsplit(": ", 1)[-1].strip()
    return f"{path}: cannot be read as audio ({reason})."
