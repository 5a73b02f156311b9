"""The browser of errors: all clips with their scores as data in the page, and sound and spectrogram of the worst."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.audio import AudioError
from lightning_aqa.report.audio import Media, read_media
from lightning_aqa.report.maps import frames_of
from lightning_aqa.report.templating import render
from lightning_aqa.results.clips import ClipSource, worst_clips, worst_pairs
from lightning_aqa.results.variants import SharedClips

Array = NDArray[np.float64]
NUM_PAIRS = 100
TEXT_OVER_BYTES = 4 / 3


class InlinedAudio(NamedTuple):
    """Limits of the sound that goes into the page.

    Args:
        num_clips: At most so many clips.
        max_seconds: Of each, at most so many seconds.
        max_megabytes: All together, as text in the page.
    """

    num_clips: int = 40
    max_seconds: float = 10.0
    max_megabytes: float = 8.0


def choose_clips(evidence: SharedClips, detailed: Sequence[int], pairs: Any, count: int) -> list[int]:
    """Return the clips to embed: the worst of the detailed variants in turns, then those of the worst pairs."""
    queues: list[Iterator[int]] = []
    for v in detailed:
        worst = worst_clips(evidence.targets, evidence.variants[v].mean_scores, count)
        queues.append(iter(worst))
        queues += [iter([clip for pair in of_axis for clip in pair]) for of_axis in pairs[v]]
    chosen: dict[int, None] = {}
    while queues and len(chosen) < count:
        for queue in list(queues):
            clip = next((clip for clip in queue if clip not in chosen), None)
            if clip is None:
                queues.remove(queue)
            elif len(chosen) < count:
                chosen[clip] = None
    return list(chosen)


def embed(
    clips: Sequence[int], sources: Sequence[ClipSource], limits: InlinedAudio
) -> tuple[dict[int, Media], list[str]]:
    """Read sound and spectrogram of clips until the page is full.

    Returns:
        What is embedded per clip, and notes on what could not be.
    """
    room = limits.max_megabytes * 1e6
    flac_bytes = int(room / max(len(clips), 1) / TEXT_OVER_BYTES)
    found: dict[int, Media] = {}
    unread = full = 0
    for clip in clips:
        source = sources[clip]
        if source.path is None:
            continue
        try:
            media = read_media(source.path, source.start, source.end, limits.max_seconds, flac_bytes)
        except AudioError:
            unread += 1
            continue
        size = len(media.sound) + len(media.picture)
        if size > room:
            full += 1
            continue
        room -= size
        found[clip] = media
    notes = [f"{unread} of the worst clips could not be read as audio."] if unread else []
    if full:
        notes.append(
            f"{full} of the worst clips did not fit into {limits.max_megabytes:g} MB; --megabytes gives more room."
        )
    return found, notes


def browser_data(
    evidence: SharedClips,
    axes: Sequence[Axis],
    detailed: Sequence[int],
    sources: Sequence[ClipSource],
    ratings: Array | None,
    output: Path,
    limits: InlinedAudio,
) -> tuple[dict[str, Any], list[str]]:
    """Return everything that the browser shows, as plain data, and notes on what is missing.

    Args:
        evidence: The variants on their clips.
        axes: The axes, with titles and scales.
        detailed: Variants to show.
        sources: Where each clip's audio is.
        ratings: Ratings of single listeners, shape ``(N, A, L)``, NaN where fewer rated.
        output: Folder of the page; links start from there.
        limits: How much sound to embed.
    """
    columns = range(len(axes))
    pairs = {
        v: [worst_pairs(evidence.targets[:, a], evidence.variants[v].mean_scores[:, a], NUM_PAIRS) for a in columns]
        for v in detailed
    }
    media, notes = embed(choose_clips(evidence, detailed, pairs, limits.num_clips), sources, limits)
    frames = frames_of(evidence.variants[detailed[0]].runs[0], evidence.split)
    systems, domains = (list(dict.fromkeys(names)) for names in (evidence.systems, evidence.domains))
    data = {
        "axes": [{"name": axis.name, "title": axis.title, "scale": [axis.low, axis.high]} for axis in axes],
        "ids": list(evidence.ids),
        "systems": systems,
        "system": [systems.index(name) for name in evidence.systems],
        "domains": domains,
        "domain": [domains.index(name) for name in evidence.domains],
        "prompts": list(evidence.prompts),
        "targets": [rounded(evidence.targets[:, a]) for a in columns],
        "scores": [[rounded(evidence.variants[v].mean_scores[:, a]) for a in columns] for v in detailed],
        "pairs": [pairs[v] for v in detailed],
        "paths": [_link(source.path, output) for source in sources],
        "media": {clip: _plain(of) for clip, of in media.items()},
        "frames": {i: _frames(frames[id_]) for i, id_ in enumerate(evidence.ids) if i in media and id_ in frames},
        "ratings": _strips(ratings),
        "quantiles": _quantiles(evidence),
    }
    return data, notes


def _quantiles(evidence: SharedClips) -> dict[int, float]:
    """Return Student's quantiles for the intervals of means over up to as many clips as a system has."""
    from scipy.stats import t

    most = max(Counter(evidence.systems).values(), default=0)
    return {n: round(float(t.ppf(0.975, n - 1)), 4) for n in range(2, most + 1)} if evidence.has_systems else {}


def rounded(values: NDArray[np.float64] | Sequence[float], digits: int = 3) -> list[float | None]:
    """Return plain numbers with few digits, None where not finite."""
    return [round(float(value), digits) if math.isfinite(value) else None for value in values]


def _plain(media: Media) -> dict[str, object]:
    return {
        "sound": media.sound,
        "picture": media.picture,
        "seconds": round(media.seconds, 2),
        "top": media.top_hz,
        "lossless": media.is_lossless,
        "cut": media.is_cut,
    }


def _link(path: Path | None, output: Path) -> str | None:
    return None if path is None else quote(Path(os.path.relpath(path, output)).as_posix())


def _frames(scores_FA: Array) -> list[list[float | None]]:
    return [rounded(scores_F) for scores_F in scores_FA.T]


def _strips(ratings: Array | None) -> list[list[list[float] | None]] | None:
    """Return the ratings per axis and clip, sorted; None where there are none."""
    if ratings is None:
        return None
    return [
        [sorted(values_L[np.isfinite(values_L)].tolist()) or None for values_L in ratings[:, a]]
        for a in range(ratings.shape[1])
    ]


def browser(evidence: SharedClips, axes: Sequence[Axis], detailed: Sequence[int], data: Mapping[str, Any]) -> str:
    """Return the browser: its controls, an empty table for the script to fill, and the data."""
    names = {name: sorted(filter(None, data[f"{name}s"])) for name in ("domain", "system")}
    filters = [
        (name, name.capitalize(), [("", "all"), *zip(found, found, strict=True)])
        for name, found in names.items()
        if len(found) > 1
    ]
    return render(
        "browser",
        variants=[(str(i), evidence.variants[v].name) for i, v in enumerate(detailed)],
        axes=[(str(a), axis.title) for a, axis in enumerate(axes)],
        filters=filters,
        num_pairs=NUM_PAIRS,
        has_systems=evidence.has_systems,
        data=data,
    )
