"""Direction in which a logged metric is better, and a check that it will be logged at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.metrics.domains import rows_by_domain
from lightning_aqa.metrics.levels import MEAN, METRICS, PAIR_METRICS
from lightning_aqa.objectives.base import Objective
from lightning_aqa.results.history import is_better_if_higher
from lightning_aqa.utils.text import nearest

OF_PAIRS = f"val/pairs/log_loss/{MEAN}"


def direction_of(name: str, data: AQADataModule, objectives: Sequence[Objective]) -> str:
    """Return ``max`` or ``min``, the direction in which a logged metric is better.

    Args:
        name: Key of the metric, such as ``val/system/SRCC/PQ`` or ``val/loss``.
        data: The corpus, which has the axes and the domains.
        objectives: The active objectives.

    Raises:
        ValueError: If no such metric is logged; the nearest name is given.
    """
    known = logged_names(data, objectives)
    if not data.rated_splits:
        raise data.unrated()
    if name not in known:
        no_dev = " There is no split 'dev' to validate on; --monitor=null keeps the last epoch."
        without = "" if "dev" in data.rated_splits else no_dev
        raise ValueError(f"--monitor={name} is not a logged metric. The nearest is {_nearest(name, known)}.{without}")
    return "max" if is_better_if_higher(name) else "min"


def _nearest(name: str, known: Sequence[str]) -> str:
    """Name the most similar metric; where clips are compared and none is rated, the likelihood of the pairs."""
    is_of_ratings = name.startswith(("val/utterance", "val/system"))
    if is_of_ratings and OF_PAIRS in known and not any(one.startswith("val/utterance") for one in known):
        return OF_PAIRS
    return nearest(name, known, cutoff=0.0)


def logged_names(data: AQADataModule, objectives: Sequence[Objective]) -> list[str]:
    """List every key that a run logs after an epoch."""
    dev = data.manifest.split("dev").where(Clip.is_rated)
    axes = [*(axis.name for axis in data.axes), MEAN]
    metrics = [f"val/{level}/{metric}/{axis}" for level in _levels(dev) for metric in METRICS for axis in axes]
    of_pairs = [*dict.fromkeys(pair.axis for pair in dev.pairs), *([MEAN] if dev.pairs else [])]
    metrics += [f"val/pairs/{metric}/{axis}" for metric in PAIR_METRICS for axis in of_pairs]
    whole = [objective.name for objective in objectives if objective.reads_scores_alone] if len(dev) else []
    losses = [f"val/{name}" for name in (*whole, "loss") if whole]
    return metrics + losses + [f"train/{name}" for name in (*(objective.name for objective in objectives), "loss")]


def _levels(dev: Manifest) -> Iterator[str]:
    """Yield the levels that the clips of the validation split are evaluated at."""
    if len(dev) == 0 or not dev.has_ratings("dev"):
        return
    yield "utterance"
    if any(clip.system for clip in dev):
        is_published = not set(dev.system_scores).isdisjoint(clip.system for clip in dev)
        yield from ["system", "system_mos"] if is_published else ["system"]
    for domain, rows in list(rows_by_domain([clip.domain for clip in dev]).items())[1:]:
        yield f"utterance@{domain}"
        if any(dev[int(row)].system for row in rows):
            yield f"system@{domain}"
