"""The folder of features: where the entry of a window is, reading and writing it, and what is held in memory."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_aqa.batch import Features
from lightning_aqa.data.audio import Resampler
from lightning_aqa.data.cache.content_index import FORMAT, ContentIndex
from lightning_aqa.data.cache.entry import SUFFIX, DamagedError, read_entry, write_entry
from lightning_aqa.data.cache.pooled import RICHER, Form, pack, unpack
from lightning_aqa.data.dataset import Normalise
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.windows import Window

MEMORY_BYTES = 2**31
"""Features that take no more than this are held in memory, by each process that trains."""

INDEX = "index.json"


class FeatureStore:
    """Keep the features of windows, one file each, found by what they were computed from.

    Args:
        folder: Where the files are.
        encoder_key: Hash of all that shapes the encoder's features.
        sample_rate: Rate of the audio that it reads, in Hz.
        encoder_name: Name of its class, for those who look after the folder.
        reads_prompts: Whether its features depend on the prompt too.
        resampler: What resampled the audio.
        normalise: Whether the windows were divided by their root mean square.
        form: What of the features is kept.

    Attributes:
        holds_all: Whether every entry that is asked for is in memory.
    """

    def __init__(
        self,
        folder: Path,
        encoder_key: str,
        sample_rate: int,
        encoder_name: str = "",
        reads_prompts: bool = False,
        resampler: Resampler = "soxr",
        normalise: Normalise = "keep",
        form: Form = Form(),  # noqa: B008 it cannot change
    ) -> None:
        self.folder, self.encoder_key, self.form = folder, encoder_key, form
        self.encoder_name, self.sample_rate, self.reads_prompts = encoder_name, sample_rate, reads_prompts
        self.resampler: Resampler = resampler
        self.normalise: Normalise = normalise
        self.holds_all = False
        self.contents = ContentIndex(folder / INDEX)
        self._held: dict[Path, dict[str, Tensor]] = {}
        self._held_bytes = 0
        self._whole: set[Path] = set()

    def path(self, clip: Clip, window: Window, form: Form | None = None) -> Path:
        """Return where a window's features are, or will be, in this store's form or another."""
        form, begin = form or self.form, clip.start + window.start
        prompt = clip.prompt if self.reads_prompts else ""
        settings = [self.sample_rate, self.resampler, self.normalise]
        audio = [self.contents.digest(clip.path), begin, window.seconds, *settings]
        parts = [FORMAT, self.encoder_key, *audio, *form, prompt]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def read(self, clip: Clip, window: Window) -> Features:
        """Read the features of one window, B = 1.

        Raises:
            ValueError: If another process has removed or damaged the entry since this one started.
        """
        path = self.path(clip, window)
        try:
            return unpack(self._held.get(path) or read_entry(path).tensors)
        except (DamagedError, FileNotFoundError) as error:
            raise ValueError(f"{error} It was whole at the start; start again, and it is computed anew.") from None

    def write(self, clip: Clip, window: Window, features: Features) -> int:
        """Write the features of one window (B = 1), all at once or not at all; return their size in bytes.

        Raises:
            ValueError: If a number is not finite, or does not fit the precision; the clip is named.
        """
        try:
            tensors = pack(features, self.form)
        except ValueError as error:
            raise ValueError(f"Features of clip {clip.id} ({clip.path}) cannot be kept: {error}") from None
        return self._write(self.path(clip, window), tensors, clip)

    def _write(self, path: Path, tensors: dict[str, Tensor], clip: Clip) -> int:
        about = {"format": str(FORMAT), "encoder": self.encoder_name, "kind": self.form.kind, "clip": clip.id}
        size = write_entry(path, tensors, about)
        self._hold(path, tensors)
        return size

    def is_there(self, path: Path) -> bool:
        """Tell whether an entry is there and whole, reading it once; it is then marked as used now.

        Raises:
            DamagedError: If it is there and not whole.
        """
        if path in self._whole:
            return True
        try:
            tensors = read_entry(path).tensors
        except FileNotFoundError:
            return False
        with suppress(OSError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        self._hold(path, tensors)
        return True

    def _hold(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Keep an entry in memory, as long as there is room."""
        self._whole.add(path)
        self._held_bytes += sum(tensor.nbytes for tensor in tensors.values())
        if self._held_bytes <= MEMORY_BYTES:
            self._held[path] = tensors
        else:
            self._held = {}

    def derive(self, clip: Clip, window: Window) -> bool:
        """Write a window's entry from one that holds more, if there is one; tell whether there was."""
        for kind in RICHER[self.form.kind]:
            if kind == "frames" and self.form.precision == "float16":
                continue  # what is rounded is not averaged
            with suppress(FileNotFoundError, DamagedError):
                tensors = read_entry(self.path(clip, window, self.form._replace(kind=kind))).tensors
                if kind == "frames":
                    self.write(clip, window, unpack(tensors))
                else:
                    self._write(self.path(clip, window), {k: v for k, v in tensors.items() if k != "factor"}, clip)
                return True
        return False

    def hold(self, paths: Sequence[Path]) -> None:
        """Take entries that other processes have written into memory too, if all of them fit."""
        for path in paths:
            if self._held_bytes <= MEMORY_BYTES:
                self.is_there(path)
        self.holds_all = all(path in self._held for path in paths)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is in memory behind: a worker that is not forked reads files."""
        return {**vars(self), "_held": {}, "_held_bytes": MEMORY_BYTES + 1}
