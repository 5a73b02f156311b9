"""The one reader of audio: any file to mono float32 at the rate that an encoder asks for."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]
Samples = NDArray[np.float32] | NDArray[np.int16]
Resampler = Literal["soxr", "sinc"]

BLOCK_FRAMES = 2**16
COMPRESSED_BY_FFMPEG = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm"})

FFMPEG_RATE = 48_000
"""Rate of what ffmpeg decodes, in Hz."""


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and says what to do."""


class AudioInfo(NamedTuple):
    """Header of a file: its rate in Hz, and its length in seconds."""

    sample_rate: int
    seconds: float


def audio_info(path: str | Path) -> AudioInfo:
    """Read the rate and the length of a file without decoding it.

    Raises:
        AudioError: If the file is missing or no reader knows it.
    """
    import soundfile

    if Path(path).suffix.lower() in COMPRESSED_BY_FFMPEG:
        return AudioInfo(FFMPEG_RATE, sum(map(len, ffmpeg_blocks(path))) / FFMPEG_RATE)
    try:
        info = soundfile.info(file_name(path))
    except (soundfile.LibsndfileError, OSError, TypeError) as error:  # TypeError: .raw, whose rate nobody knows
        raise AudioError(_unreadable(path, error)) from None
    return AudioInfo(int(info.samplerate), info.frames / info.samplerate)


def read_audio(
    path: str | Path,
    sample_rate: int,
    start: float = 0.0,
    end: float | None = None,
    resampler: Resampler = "soxr",
) -> Waveform:
    """Read a file, or a part of it, as mono audio at a given rate.

    Channels are averaged, then the signal is resampled. Only the part is decoded. ``soxr`` (its HQ setting) sees the
    part alone; ``sinc`` sees a little on both sides of it too, so that the part is a piece of the resampled file.

    Args:
        path: Any file that libsndfile reads; m4a, aac and mp4 need the ``ffmpeg`` program.
        sample_rate: Rate to return, in Hz.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end.
        resampler: What resamples: ``soxr``, or ``sinc``, which is ``torchaudio.functional.resample``.

    Returns:
        Samples, shape ``(T,)``, float32, full scale at 1.

    Raises:
        AudioError: If the file is missing or unreadable, or the part holds no sample.
    """
    samples, rate, before, size = _decode(path, start, end, sample_rate if resampler == "sinc" else None)
    if size == 0:
        raise AudioError(f"{path}: no audio between {start:g} s and {'its end' if end is None else f'{end:g} s'}.")
    mono = _to_mono(samples)
    if rate == sample_rate:
        return mono[before : before + size]
    if resampler == "sinc":
        first = before * sample_rate // rate
        return _resample_by_sinc(mono, rate, sample_rate)[first : first - (-size * sample_rate // rate)]
    import soxr

    resampled: Waveform = soxr.resample(mono, rate, sample_rate)
    return resampled


def _resample_by_sinc(mono: Waveform, rate: int, sample_rate: int) -> Waveform:
    import torch
    from torchaudio.functional import resample

    resampled: Waveform = resample(torch.from_numpy(mono), rate, sample_rate).numpy()
    return resampled


class _Part(NamedTuple):
    """Decoded samples ``(T, C)``, their rate, how many come before the part, and how many the part has."""

    samples: Samples
    rate: int
    before: int
    size: int


def _decode(path: str | Path, start: float, end: float | None, new_rate: int | None) -> _Part:
    """Decode a part; where a new rate is named, with the context that resampling to it wants."""
    import soundfile

    if Path(path).suffix.lower() in COMPRESSED_BY_FFMPEG:
        samples, rate = np.concatenate([np.empty(0, np.float32), *ffmpeg_blocks(path)])[:, None], FFMPEG_RATE
        first, last, before, after = _place(len(samples), rate, start, end, new_rate)
        return _Part(samples[first - before : last + after], rate, before, last - first)
    try:
        with soundfile.SoundFile(file_name(path)) as file:
            rate = int(file.samplerate)
            first, last, before, after = _place(file.frames, rate, start, end, new_rate)
            _go_to(file, first - before)
            samples = file.read(last - first + before + after, dtype=_sample_type(file), always_2d=True)
            return _Part(samples, rate, before, min(last - first, len(samples) - before))
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise AudioError(_unreadable(path, error)) from None


def audio_blocks(path: str | Path, start: float = 0.0, end: float | None = None) -> Iterator[Waveform]:
    """Decode a file, or a part of it, from its begin to its end in blocks, so that hours of audio take little memory.

    Args:
        path: Any file that libsndfile reads.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end.

    Yields:
        Samples at the file's own rate, shape ``(T, C)``, float32.

    Raises:
        AudioError: If the file is missing or cannot be read.
    """
    import soundfile

    try:
        with soundfile.SoundFile(file_name(path)) as file:
            first, last, _, _ = _place(file.frames, int(file.samplerate), start, end, None)
            _go_to(file, first)
            while first < last:
                block = file.read(min(BLOCK_FRAMES, last - first), dtype="float32", always_2d=True)
                if not len(block):
                    return
                yield block
                first += len(block)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise AudioError(_unreadable(path, error)) from None


def _go_to(file: Any, frame: int) -> None:
    """Go to a frame; in Ogg Vorbis by decoding up to it, since libsndfile seeks beside it there (its issue 885)."""
    if file.subtype != "VORBIS":
        file.seek(frame)
        return
    for first in range(0, frame, BLOCK_FRAMES):
        file.read(min(BLOCK_FRAMES, frame - first), dtype="float32")


def _place(
    num_samples: int, rate: int, start: float, end: float | None, new_rate: int | None
) -> tuple[int, int, int, int]:
    """Return the part's first sample and the one after its last, and the samples of context before and after.

    The context before is a whole number of samples at the new rate too, or the grid would move.
    """
    first = min(round(start * rate), num_samples)
    last = num_samples if end is None else max(first, min(round(end * rate), num_samples))
    if new_rate is None or new_rate == rate:
        return first, last, 0, 0
    period = rate // math.gcd(rate, new_rate)
    context = period * math.ceil(0.02 * rate / period)
    return first, last, min(context, first) // period * period, min(context, num_samples - last)


def _sample_type(file: Any) -> str:
    """Return the type to decode to: 16-bit samples that lie in the file as such are read and mixed twice as fast."""
    return "int16" if file.subtype == "PCM_16" and file.format != "FLAC" else "float32"


def _to_mono(samples: Samples) -> Waveform:
    """Average the channels of ``(T, C)`` at full scale 1; the sum of columns is ten times faster than ``mean(1)``."""
    num_channels = samples.shape[1]
    mono: Waveform = samples[:, 0].astype(np.float32)
    for channel in range(1, num_channels):
        mono += samples[:, channel]
    full_scale = 2**15 if samples.dtype == np.int16 else 1
    if num_channels * full_scale > 1:
        mono *= np.float32(1 / (num_channels * full_scale))
    return mono


def ffmpeg_blocks(path: str | Path) -> Iterator[Waveform]:
    """Decode a whole file through the ffmpeg program, to mono at ``FFMPEG_RATE``, block by block.

    Yields:
        Samples, shape ``(T,)``, float32.

    Raises:
        AudioError: If the file or the program is missing, or, after what could be decoded, if the program fails.
    """
    command = _ffmpeg_command(path)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as program,
    ):
        assert program.stdout is not None
        while block := program.stdout.read(4 * BLOCK_FRAMES):
            yield np.frombuffer(block, np.float32, len(block) // 4)
        if program.wait():
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip()[-200:]
            raise AudioError(f"{path}: ffmpeg cannot read it: {reason}")


def _ffmpeg_command(path: str | Path) -> list[str]:
    if not Path(path).is_file():
        raise AudioError(f"{path}: no such file.")
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{path}: {Path(path).suffix} files need the ffmpeg program; install it "
            "(`apt-get install ffmpeg` or `conda install ffmpeg`), or convert the file to wav or flac."
        )
    mono = ["-rematrix_maxval", "1.0", "-ac", "1"]  # the mean of the channels; otherwise floats may add up beyond it
    return [program, "-v", "error", "-i", str(path), "-f", "f32le", *mono, "-ar", str(FFMPEG_RATE), "-"]


def file_name(path: str | Path) -> str | bytes:
    r"""Return the name of a file as libsndfile takes it: bytes where it is no text, which soundfile will not encode.

    Example:
        >>> file_name("a.wav"), file_name(os.fsdecode(b"caf\xe9.wav"))
        ('a.wav', b'caf\xe9.wav')
    """
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _unreadable(path: str | Path, error: Exception) -> str:
    if not Path(path).exists():
        return f"{path}: no such file."
    reason = str(error).rsplit(": ", 1)[-1].strip()
    return f"{path}: cannot be read as audio ({reason})."
