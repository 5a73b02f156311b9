"""Sounds of a listening test: lossless, with all channels, under names that do not tell what made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from lightning_aqa.data.decoding import AudioError, audio_info, open_audio
from lightning_aqa.report.listening_design import Stimulus
from lightning_aqa.utils.files import complete

LONGEST = 600.0
"""Seconds above which nobody rates a clip as one."""
MOST_CHANNELS = 8
_PASSED, _STOPPED = 0.95, 1.05


def sound_name(number: int) -> str:
    """Return the file of a sound.

    Example:
        >>> sound_name(7)
        '0007.wav'
    """
    return f"{number:04d}.wav"


def write_sounds(folder: Path, stimuli: Sequence[Stimulus], paths: Sequence[Path]) -> int:
    """Write each sound as WAV of 16 bits at its own rate; return the bytes of all.

    FLAC would be half as large, but Chromium cannot go to a position in one of a second or less.

    Args:
        folder: An empty folder.
        stimuli: The sounds; those with ``low_pass`` are anchors, made from their file.
        paths: File of each.

    Raises:
        AudioError: If a file cannot be read, is too long, or has no room for the anchor.
    """
    total = 0
    for number, (stimulus, path) in enumerate(zip(stimuli, paths, strict=True)):
        samples_TC, rate = read_channels(path)
        if stimulus.low_pass:
            samples_TC = low_pass(samples_TC, rate, stimulus.low_pass, path)
        with complete(folder / sound_name(number), is_synced=False) as part:
            soundfile.write(part, samples_TC.clip(-1, 1), rate, format="WAV", subtype="PCM_16")
        total += (folder / sound_name(number)).stat().st_size
    return total


def read_channels(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read a file at its own rate, shape ``(T, C)``.

    Raises:
        AudioError: If it cannot be read, is empty or too long, or has too many channels.
    """
    seconds = audio_info(path).seconds
    if seconds > LONGEST:
        raise AudioError(f"{path}: {seconds:.0f} s, expected at most {LONGEST:g} s to be rated as one; cut it.")
    with open_audio(path) as audio:
        blocks = [block.astype(np.float32) for block in audio.blocks()]
        rate = audio.rate
    samples_TC = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
    if not len(samples_TC) or not np.isfinite(samples_TC).all():
        raise AudioError(f"{path}: {'no samples' if not len(samples_TC) else 'samples that are not finite'}.")
    if samples_TC.shape[1] > MOST_CHANNELS:
        raise AudioError(f"{path}: {samples_TC.shape[1]} channels, expected at most {MOST_CHANNELS}.")
    return samples_TC, rate


def low_pass(samples: NDArray[np.float32], rate: int, hz: float, path: Path) -> NDArray[np.float32]:
    """Cut what is above a frequency, without delay: an anchor of ITU-R BS.1534-3 (flat to .95, 60 dB from 1.05 on).

    Args:
        samples: Shape ``(T, C)``.
        rate: In Hz.
        hz: The frequency.
        path: Their file, for the message.

    Raises:
        AudioError: If the rate has no room above the frequency, so that the anchor would be the reference.
    """
    from scipy.signal import fftconvolve, firwin, kaiserord

    if hz * _STOPPED >= rate / 2:
        raise AudioError(
            f"{path}: {rate} Hz leave nothing above {hz:g} Hz to cut, so the anchor would be the reference itself; "
            "give anchors of your own as systems whose names begin with anchor, or --anchors=none."
        )
    taps, beta = kaiserord(60.0, hz * (_STOPPED - _PASSED) / (rate / 2))
    kernel = firwin(taps | 1, hz, window=("kaiser", beta), fs=rate)
    padded = np.pad(samples, ((len(kernel) // 2, len(kernel) // 2), (0, 0)))
    return np.asarray(fftconvolve(padded, kernel[:, None], mode="valid", axes=0), np.float32)
