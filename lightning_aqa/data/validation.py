"""Look at a whole corpus before training starts, and say everything that is wrong with it at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from lightning_aqa.data.audio import COMPRESSED_BY_FFMPEG, AudioError, audio_blocks, audio_info
from lightning_aqa.data.lookalikes import lookalike
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.utils.records import write_records
from lightning_aqa.utils.text import shortened

NUM_SHOWN = 10


class CorpusError(ValueError):
    """A corpus that cannot be used as it is; the message is the report."""


class AudioCheck(NamedTuple):
    """Length of each usable clip in seconds by id, and the problems of the others."""

    seconds: dict[str, float]
    problems: list[Problem]


def check_audio(clips: Sequence[Clip], min_seconds: float, *, decode: bool = True) -> AudioCheck:
    """Open every clip's audio: missing, unreadable, empty, not finite, too short.

    Args:
        clips: The clips to look at.
        min_seconds: Shortest usable clip, in seconds.
        decode: Decode the files whole; without it only their headers are read.
    """
    if not clips:
        return AudioCheck({}, [])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda clip: _check_clip(clip, min_seconds, decode=decode), clips)
        shown = track(found, "checking audio", total=len(clips), transient=True, disable=not _is_first_process())
        results = list(shown)
    seconds = {clip.id: result for clip, result in zip(clips, results, strict=True) if isinstance(result, float)}
    return AudioCheck(seconds, [result for result in results if isinstance(result, Problem)])


def _is_first_process() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0"


def _check_clip(clip: Clip, min_seconds: float, *, decode: bool) -> float | Problem:
    """Return the clip's length in seconds, or what is wrong with it."""
    if not os.path.isfile(clip.path):
        near = lookalike(clip.path)
        return Problem("missing file", clip.path, f"no such file.{near}".rstrip("."), clip.id, clip.source)
    try:
        rate, file_seconds = audio_info(clip.path)
        seconds = (file_seconds if clip.end is None else min(clip.end, file_seconds)) - clip.start
        if seconds <= 0:
            return Problem("empty audio", clip.path, "no samples in it", clip.id, clip.source)
        if seconds < min_seconds:
            what = f"{seconds:.3f} s long, the encoder needs {min_seconds:.3f} s"
            return Problem("too short", clip.path, what, clip.id, clip.source)
        if decode and Path(clip.path).suffix.lower() not in COMPRESSED_BY_FFMPEG:
            return _check_samples(clip, rate, seconds)
    except AudioError as error:
        return Problem("unreadable audio", clip.path, str(error).removeprefix(f"{clip.path}: "), clip.id, clip.source)
    return seconds


def _check_samples(clip: Clip, rate: int, seconds: float) -> float | Problem:
    import numpy as np

    num_samples = 0
    for block in audio_blocks(clip.path, clip.start, clip.end):
        if not np.isfinite(block).all():
            return Problem("not finite", clip.path, "holds NaN or infinite samples", clip.id, clip.source)
        num_samples += len(block)
    if num_samples < 0.98 * seconds * rate:
        what = f"ends after {num_samples / rate:.2f} s of the {seconds:.2f} s that its header promises"
        return Problem("unreadable audio", clip.path, what, clip.id, clip.source)
    return num_samples / rate  # an mp3's header may promise a little more


def report(problems: Sequence[Problem], where_to_get: dict[str, str]) -> str:
    """Put all problems into one text: per kind the count, the first ten, and where missing files come from.

    Args:
        problems: What was found.
        where_to_get: For a source corpus, the sentence that says where to get it.
    """
    lines: list[str] = []
    for kind, count in Counter(problem.kind for problem in problems).items():
        chosen = [problem for problem in problems if problem.kind == kind]
        lines.append(f"{kind}: {count}")
        lines += [
            f"    {shortened(problem.where, 300)}: {shortened(problem.what, 300)}" for problem in chosen[:NUM_SHOWN]
        ]
        if count > NUM_SHOWN:
            lines.append(f"    ... and {count - NUM_SHOWN} more")
        for source, number in Counter(problem.source for problem in chosen if problem.source).items():
            lines.append(f"    {number} of {source}. {where_to_get.get(source, '')}".rstrip())
    return "\n".join(lines)


def without(manifest: Manifest, problems: Iterable[Problem]) -> Manifest:
    """Leave out the clips that a problem concerns."""
    bad = {problem.clip_id for problem in problems}
    return manifest.where(lambda clip: clip.id not in bad)


def write_skipped(problems: Sequence[Problem], path: str | Path) -> None:
    """Write one row per problem: kind, where, what, clip_id, source."""
    names = [item.name for item in fields(Problem)]
    write_records(path, names, ([getattr(problem, name) for name in names] for problem in problems))
