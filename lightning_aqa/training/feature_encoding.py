"""Compute what a folder of features lacks: one window at a time, with what it will take told before it is taken."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch.utils.data import DataLoader

from lightning_aqa.batch import Batch, Features
from lightning_aqa.data.cache.store import FeatureStore
from lightning_aqa.data.dataset import ClipWindows, collate
from lightning_aqa.data.manifest import Manifest
from lightning_aqa.data.windows import Window

Encode = Callable[[Batch], Features]


class _Speed(ProgressColumn):
    """Clips per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} clips/s")


def human(num_bytes: float) -> str:
    """Write a number of bytes in the unit that suits it.

    Example:
        >>> human(512), human(3_000_000), human(19.8e9)
        ('512 bytes', '3.0 MB', '19.8 GB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def check_disk(folder: Path, needed: float, num_windows: int) -> None:
    """Refuse to fill a disk.

    Raises:
        ValueError: If there is less room than is needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"Features of {num_windows} windows will take about {human(needed)}, and the disk of {folder} has "
            f"{human(free)} left. Halve them by --data.cache_precision=float16, keep fewer layers (--model.layers), "
            "take a head that pools its frames, another folder, or none (--data.cache=null)."
        )


def fill(
    store: FeatureStore,
    encode: Encode,
    clips: Manifest,
    missing: Sequence[Window],
    *,
    num_workers: int = 0,
    num_ranks: int = 1,
    shows: bool = True,
) -> int:
    """Encode windows one by one, so that an entry is the same to the bit whatever else was missing.

    The longest comes first and says what all will take: no other takes more for each second of audio. The rest follows
    from a random place on and skips what has appeared meanwhile, so that processes that start together share the work.

    Args:
        store: Where features go.
        encode: Gives the features of a batch.
        clips: The clips.
        missing: Windows of theirs to encode, at least one.
        num_workers: Worker processes that read audio.
        num_ranks: Processes of this run that fill the same disk with as much each.
        shows: Whether to tell on standard error what will be taken, with a progress bar on a terminal.

    Returns:
        Number of windows encoded here.

    Raises:
        ValueError: If the disk is too small; or if features cannot be kept.
    """
    ordered = _in_order(missing)
    dataset = ClipWindows(clips, store.sample_rate, resampler=store.resampler, normalise=store.normalise)
    loader = DataLoader(dataset, batch_sampler=[[w] for w in ordered], num_workers=num_workers, collate_fn=collate)
    num_encoded = 0
    console = Console(stderr=True, quiet=not shows)
    progress = _progress(console)
    task = progress.add_task("encoding", total=len(ordered))
    with progress if console.is_terminal and shows else nullcontext():
        for window, batch in zip(ordered, loader, strict=True):
            clip = clips[window.clip]
            if not store.path(clip, window).exists():
                with torch.no_grad():
                    size = store.write(clip, window, encode(batch))
                num_encoded += 1
                if num_encoded == 1:
                    shares = [w.seconds / window.seconds if store.form.kind == "frames" else 1.0 for w in ordered]
                    _announce(store, size * sum(shares) * num_ranks, len(ordered) * num_ranks, console)
            progress.advance(task)
    return num_encoded


def _in_order(windows: Sequence[Window]) -> list[Window]:
    """Return the longest window, then the others from a random place on; nothing depends on where that is."""
    by_length = sorted(windows, key=lambda window: (window.seconds, window.clip, window.start))
    longest, position = by_length.pop(), random.Random().randrange(len(windows))
    return [longest, *by_length[position:], *by_length[:position]]


def _announce(store: FeatureStore, total: float, num_windows: int, console: Console) -> None:
    check_disk(store.folder, total, num_windows)
    message = f"features of {num_windows} windows will take about {human(total)} in {store.folder}"
    console.print(message, highlight=False, soft_wrap=True, markup=False)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
