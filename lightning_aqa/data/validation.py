"""Look at a whole corpus before training starts, and say everything that is wrong with it at once."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from lightning_aqa.data.audio import measure
from lightning_aqa.data.decoding import AudioError, audio_info
from lightning_aqa.data.lookalikes import lookalike
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.signal import Signal
from lightning_aqa.utils.records import write_records
from lightning_aqa.utils.text import shortened

NUM_SHOWN = 10


class CorpusError(ValueError):
    """A corpus that cannot be used as it is; the message is the report."""


class AudioCheck(NamedTuple):
    """Length of each usable clip in seconds by id, and the problems of the others."""

    seconds: dict[str, float]
    problems: list[Problem]


class _Checked(NamedTuple):
    """Length of a usable clip in seconds, and its signal where it was decoded."""

    seconds: float
    signal: Signal | None = None


def check_audio(
    clips: Sequence[Clip], min_seconds: float, *, decode: bool = True, signals: dict[str, Signal] | None = None
) -> AudioCheck:
    """Open every clip's audio: missing, unreadable, empty, not finite, too short.

    Args:
        clips: The clips to look at.
        min_seconds: Shortest usable clip, in seconds.
        decode: Decode the files whole; without it only their headers are read.
        signals: Takes the facts of what was decoded, by id.
    """
    if not clips:
        return AudioCheck({}, [])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda clip: _check_clip(clip, min_seconds, decode=decode), clips)
        shown = track(found, "checking audio", total=len(clips), transient=True, disable=not _is_first_process())
        results = list(shown)
    usable = {clip.id: result for clip, result in zip(clips, results, strict=True) if isinstance(result, _Checked)}
    if signals is not None:
        signals |= {id_: found.signal for id_, found in usable.items() if found.signal is not None}
    seconds = {id_: found.seconds for id_, found in usable.items()}
    return AudioCheck(seconds, [result for result in results if isinstance(result, Problem)])


def _is_first_process() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0"


def _check_clip(clip: Clip, min_seconds: float, *, decode: bool) -> _Checked | Problem:
    """Return the clip's length in seconds, or what is wrong with it."""

    def problem(kind: str, what: str) -> Problem:
        return Problem(kind, clip.path, what, clip.id, clip.source)

    if not os.path.exists(clip.path) or os.path.isdir(clip.path):
        if os.path.islink(clip.path):
            return problem("missing file", f"a link to nothing ({os.readlink(clip.path)})")
        return problem("missing file", f"no such file.{lookalike(clip.path)}".rstrip("."))
    try:
        found = _decoded(clip) if decode else _by_header(clip)
    except AudioError as error:
        return problem("unreadable audio", str(error).removeprefix(f"{clip.path}: "))
    if found.signal is not None and not math.isfinite(found.signal.peak):
        return problem("not finite", "holds NaN or infinite samples")
    if found.seconds <= 0:
        return problem("empty audio", "no samples in it")
    if found.seconds < min_seconds:
        return problem("too short", f"{found.seconds:.3f} s long, the encoder needs {min_seconds:.3f} s")
    return found


def _by_header(clip: Clip) -> _Checked:
    rate, whole = audio_info(clip.path)
    end = whole if clip.end is None else min(clip.end, whole)
    return _Checked((round(end * rate) - round(min(clip.start, whole) * rate)) / rate)


def _decoded(clip: Clip) -> _Checked:
    """Decode a clip, unless this process, or the one that it is a fork of, has decoded the same file before."""
    found = os.stat(clip.path)
    key = (os.path.abspath(clip.path), clip.start, clip.end, found.st_mtime_ns, found.st_size)
    if key not in _SIGNALS:
        _SIGNALS[key] = measure(clip.path, clip.start, clip.end)
    return _Checked(_SIGNALS[key].seconds, _SIGNALS[key])


_SIGNALS: dict[tuple[str, float, float | None, int, int], Signal] = {}


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
