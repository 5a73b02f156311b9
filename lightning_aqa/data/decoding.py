"""Decode any file to its end in blocks of bounded size, whatever its header says of its length."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from lightning_aqa.data.containers import layout_of
from lightning_aqa.data.lookalikes import lookalike
from lightning_aqa.data.stretches import Layout, StretchReader

Waveform = NDArray[np.float32]
Samples = NDArray[np.float32] | NDArray[np.int16]

BLOCK_FRAMES = 2**16
BLOCK_SAMPLES = 2**20
"""Most samples of a block, all channels together."""
PREROLL_FRAMES = {"MPEG_LAYER_III": 16 * 1152, "OPUS": 2 * 48_000}
"""What is decoded before a position: a frame of an mp3 uses bits of those before it, and Opus predicts from them."""
COMPRESSED_BY_FFMPEG = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm"})
READ_BY_LIBSNDFILE = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"}
    | {".w64", ".rf64", ".voc", ".sph", ".nist"}
)
AUDIO = READ_BY_LIBSNDFILE | COMPRESSED_BY_FFMPEG
FFMPEG_RATE = 48_000
"""Rate of what ffmpeg decodes, in Hz."""
FFMPEG_FORMATS = "aac,mov,mp4,m4a,asf,matroska,webm,mp3,wav,flac,ogg"
"""Formats that ffmpeg may find in a file; others, such as lists, name files of their own."""
MOST_FRAMES = 2**40
"""More than any file holds."""
LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000
DECODED = 0.98
"""Least share of the length which a header promises that has to be there."""


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and says what to do."""


class AudioInfo(NamedTuple):
    """Header of a file: its rate in Hz, and its length in seconds."""

    sample_rate: int
    seconds: float


def audio_info(path: str | Path) -> AudioInfo:
    """Find the rate and the length of a file without decoding it, from the frames and bytes that are there.

    Raises:
        AudioError: If the file is missing, no reader knows it, or it ends before its header says.
    """
    with open_audio(path) as audio:
        num_frames = audio.num_frames
        if num_frames > MOST_FRAMES:  # a length that is not known
            num_frames = sum(map(len, audio.blocks()))
        return AudioInfo(audio.rate, num_frames / audio.rate)


def open_audio(path: str | Path) -> Decoder | FfmpegDecoder:
    """Open a file by what can read it.

    Raises:
        AudioError: If nothing can.
    """
    return FfmpegDecoder(path) if Path(path).suffix.lower() in COMPRESSED_BY_FFMPEG else Decoder(path)


class Decoder:
    """An open file, decoded from its begin or from any position to its end.

    Args:
        path: Any file that libsndfile reads.

    Attributes:
        rate: Its rate, in Hz.
        num_frames: Its length, in frames: samples of all channels at one time.

    Raises:
        AudioError: If the file is missing, unreadable, of an impossible rate, or ends before its header says.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._files: list[_SequentialFile] = []
        self._readers: list[StretchReader] = []
        try:
            self._open(layout_of(path))
        except BaseException as error:
            self.close()
            raise _audio_error(path, error) from None

    def _open(self, layout: Layout) -> None:
        if not layout.stretches:
            self._files.append(_SequentialFile(file_name(self.path)))
        for stretch in layout.stretches:
            self._readers.append(StretchReader(self.path, stretch))
            self._files.append(_SequentialFile(self._readers[-1]))
        rates = sorted({int(file.samplerate) for file in self._files})
        if len(rates) > 1:
            raise AudioError(f"{self.path}: files of different rates are joined in it ({rates[0]} and {rates[1]} Hz).")
        self.rate = rates[0]
        check_rate(self.rate, f"{self.path}: its rate is")
        self.num_frames = sum(int(file.frames) for file in self._files)
        if layout.share < DECODED:
            promised = self.num_frames if self._is_told_in_full(layout) else self.num_frames / layout.share
            raise ended_early(self.path, promised * layout.share / self.rate, promised / self.rate)

    def _is_told_in_full(self, layout: Layout) -> bool:
        """Tell whether the decoder believes a header that promises more than there is."""
        format_ = self._files[0].format
        return format_ == "MP3" or (format_ == "FLAC" and not layout.stretches)

    def __enter__(self) -> Decoder:
        """Return the open file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        for file in self._files:
            file.close()
        for reader in self._readers:
            reader.close()

    def blocks(self, first: int = 0, last: int | None = None, *, is_exact: bool = False) -> Iterator[Samples]:
        """Decode blocks one after the other.

        Args:
            first: First frame.
            last: Frame to stop at; None goes to the end.
            is_exact: Leave samples of 16 bits as they are, which are mixed twice as fast; others are float32.

        Yields:
            Samples ``(T, C)``.

        Raises:
            AudioError: If there is something that cannot be decoded, or less than was promised.
        """
        begin = 0
        try:
            for file in self._files:
                end = begin + int(file.frames)
                if first < end and (last is None or begin < last):
                    stop = int(file.frames) if last is None else min(last, end) - begin
                    yield from self._blocks_of(file, max(0, first - begin), stop, is_exact=is_exact)
                begin = end
        except Exception as error:
            raise _audio_error(self.path, error) from None

    def _blocks_of(self, file: _SequentialFile, position: int, stop: int, *, is_exact: bool) -> Iterator[Samples]:
        dtype = "int16" if is_exact and file.subtype == "PCM_16" and file.format != "FLAC" else "float32"
        size = max(1, min(BLOCK_FRAMES, BLOCK_SAMPLES // file.channels))
        file.go_to(position, size)
        while position < stop:
            block: Samples = file.read(min(size, stop - position), dtype=dtype, always_2d=True)
            if not len(block):
                break
            yield block
            position += len(block)
        if position < DECODED * stop and file.format != "OGG":  # Ogg tells where it ends, not how long it is
            raise ended_early(self.path, position / self.rate, stop / self.rate)


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # a class without annotations
    """A file that is read on and on: otherwise soundfile seeks after each block, which mp3 and cut FLAC do not bear."""

    def seekable(self) -> bool:
        """Tell that positions are not to be gone to on the way."""
        return False

    def go_to(self, frame: int, size: int) -> None:
        """Go to a frame, so that what follows has the bits of a file that is read from its begin.

        Ogg Vorbis, where libsndfile seeks beside the frame (its issue 885), and codecs without positions, such as
        GSM 6.10, are decoded up to it; others a little before it.
        """
        has_positions = self.subtype != "VORBIS" and super().seekable()
        near = max(0, frame - PREROLL_FRAMES.get(self.subtype, 0)) if has_positions else 0
        if near:
            self.seek(near)
        for first in range(near, frame, size):
            self.read(min(size, frame - first), dtype="float32")


def check_rate(rate: int, what: str) -> None:
    """Refuse a rate that no audio has.

    Raises:
        AudioError: If it is out of range; ``what`` opens the message.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"{what} {rate} Hz, and rates from {LOWEST_RATE} to {HIGHEST_RATE} Hz can be read.")


def ended_early(path: str | Path, seconds: float, promised: float) -> AudioError:
    """Return the error of a file that is cut off."""
    return AudioError(f"{path}: ends after {seconds:.2f} s of the {promised:.2f} s that its header promises.")


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


def _audio_error(path: str | Path, error: BaseException) -> BaseException:
    """Say in one line what is wrong with a file, in words that are the same whenever it is tried."""
    if isinstance(error, AudioError) or not isinstance(error, Exception):
        return error
    if not os.path.lexists(path):
        return AudioError(f"{path}: no such file.{lookalike(str(path))}")
    if not os.path.exists(path):
        return AudioError(f"{path}: a link to nothing ({_target(path)}).")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rsplit(": ", 1)[-1]
    if reason.startswith("File does not exist"):  # as libsndfile says of an mp3 without a frame
        reason = "no frame of it can be decoded."
    return AudioError(f"{path}: cannot be read as audio ({reason.strip() or type(error).__name__}).")


def _target(path: str | Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return "in a linked folder"


class FfmpegDecoder:
    """A file that the ffmpeg program decodes, to mono at ``FFMPEG_RATE``, always from its begin.

    Args:
        path: The file.

    Raises:
        AudioError: If the file or the program is missing.
    """

    rate = FFMPEG_RATE

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._command = _ffmpeg_command(path)

    def __enter__(self) -> FfmpegDecoder:
        """Return the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of nothing: a program runs while its blocks are taken."""

    def close(self) -> None:
        """Let go of nothing."""

    @property
    def num_frames(self) -> int:
        """Length of the file, for which it is decoded."""
        return sum(map(len, self.blocks()))

    def blocks(self, first: int = 0, last: int | None = None, *, is_exact: bool = False) -> Iterator[Samples]:
        """Decode blocks ``(T, 1)`` of float32; see ``Decoder.blocks``.

        Raises:
            AudioError: After what could be decoded, if the program fails.
        """
        position = 0
        for block in self._all_blocks():
            kept = block[max(0, first - position) : None if last is None else max(0, last - position)]
            position += len(block)
            if len(kept):
                yield kept[:, None]
            if last is not None and position >= last:
                return

    def _all_blocks(self) -> Iterator[Waveform]:
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as program,
        ):
            assert program.stdout is not None
            while block := program.stdout.read(4 * BLOCK_FRAMES):
                yield np.frombuffer(block, np.float32, len(block) // 4)
            code = program.wait()
            errors.seek(0)
            said = errors.read(2**16).decode(errors="replace")
            if code or "partial file" in said:
                reason = re.sub(r"\[[^\]]*@ 0x[0-9a-f]+\] ?", "", said).strip()[-200:]
                raise AudioError(f"{self.path}: ffmpeg cannot read it: {reason}")


def _ffmpeg_command(path: str | Path) -> list[str]:
    try:
        layout_of(path)
    except OSError as error:
        raise _audio_error(path, error) from None
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{path}: {Path(path).suffix} files need the ffmpeg program; install it "
            "(`apt-get install ffmpeg` or `conda install ffmpeg`), or convert the file to wav or flac."
        )
    mono = ["-rematrix_maxval", "1.0", "-ac", "1"]  # the mean of the channels; otherwise floats may add up beyond it
    source = ["-format_whitelist", FFMPEG_FORMATS, "-i", f"file:{path}"]
    return [program, "-v", "error", *source, "-f", "f32le", *mono, "-ar", str(FFMPEG_RATE), "-"]
