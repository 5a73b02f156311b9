"""Which way a logged metric is better, and whether it will be logged at all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip
from lightning_aqa.metrics.levels import METRICS, higher_is_better


def direction_of(name: str, data: AQADataModule, objectives: Sequence[str]) -> str:
    """Return ``max`` or ``min``, the direction in which a logged metric is better.

    Args:
        name: Key of the metric, such as ``val/system/SRCC/PQ`` or ``val/loss``.
        data: The corpus, which has the axes and the domains.
        objectives: Names of the active objectives.

    Raises:
        ValueError: If no such metric is logged; the nearest name is given.
    """
    known = logged_names(data, objectives)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        no_dev = " There is no split 'dev' to validate on; --monitor=null keeps the last epoch."
        without = "" if "dev" in data.rated_splits else no_dev
        raise ValueError(f"--monitor={name} is not a logged metric. The nearest is {near[0]}.{without}")
    metric = name.split("/")[2] if name.count("/") == 3 else "loss"
    return "max" if metric in METRICS and higher_is_better(metric) else "min"


def logged_names(data: AQADataModule, objectives: Sequence[str]) -> list[str]:
    """List every key that a run logs after an epoch."""
    rated = data.manifest.where(Clip.is_rated)
    levels = ["utterance"]
    if any(clip.system for clip in rated):
        levels.append("system")
    domains = sorted({clip.domain for clip in rated if clip.domain})
    levels += [f"{level}@{domain}" for level in levels for domain in domains]
    if data.manifest.system_scores:
        levels.append("system_mos")
    axes = [*(axis.name for axis in data.axes), "mean"]
    metrics = [f"val/{level}/{metric}/{axis}" for level in levels for metric in METRICS for axis in axes]
    losses = [f"{stage}/{name}" for stage in ("val", "train") for name in ("loss", *objectives)]
    has_dev = "dev" in data.rated_splits
    return [name for name in metrics + losses if has_dev or name.startswith("train/")]
