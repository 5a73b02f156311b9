"""Each variant against each other one: differences, simultaneous over all pairs, of any column of any level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_aqa.metrics.significance import Difference
from lightning_aqa.report.clip_browser import rounded
from lightning_aqa.report.context import choose_detailed
from lightning_aqa.report.tables import axis_title
from lightning_aqa.report.templating import render
from lightning_aqa.results.comparison import ONE_SEED, ComparisonTable
from lightning_aqa.results.tables import LEVELS, METRICS_SHOWN, axes_of, columns_of
from lightning_aqa.results.variants import SharedClips

MOST_VARIANTS = 12
"""More do not fit a table; these are the best ones and the baseline."""
DIGITS = 4


def each_against_each(evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
    """Return the table of all pairs, of which the reader chooses level, axis and metric; none below three variants.

    Args:
        evidence: The variants.
        blocks: Their tables; the one that the text speaks of first.
        titles: Title of each axis.
    """
    plain = [block for block in blocks if not block.domain and block.pairs]
    if len(evidence.variants) < 3 or not plain:
        return ""
    chosen = sorted(choose_detailed(evidence, plain[0], MOST_VARIANTS))
    data = {
        "names": [evidence.variants[v].name for v in chosen],
        "pairs": {f"{block.level}|{axis}|{metric}": _pairs(block, chosen, (axis, metric))
                  for block in plain for axis, metric in columns_of(block)},
    }  # fmt: skip
    return render(
        "pairwise",
        data=data,
        choosers=[
            ("level", "Level", [(block.level, LEVELS[block.level]) for block in plain]),
            ("axis", "Axis", [(axis, axis_title(axis, titles)) for axis in axes_of(plain[0])]),
            ("metric", "Metric", [(metric, metric) for metric in METRICS_SHOWN]),
        ],
        one_seed=ONE_SEED if plain[0].one_seed else "",
        equivalence=plain[0].equivalence,
        num_left_out=len(evidence.variants) - len(chosen),
    )


def _pairs(block: ComparisonTable, chosen: Sequence[int], column: tuple[str, str]) -> list[Any]:
    """List the differences of the first of two variants from the second, in the order of the upper triangle."""
    rows = block.pairs.get(column)
    upper = [(i, j) for n, i in enumerate(chosen) for j in chosen[n + 1 :]]
    return [_plain(rows[i][j]) for i, j in upper] if rows else []


def _plain(pair: Difference | None) -> list[float | str | None] | None:
    if pair is None:
        return None
    return [*rounded([pair.value, *pair.interval, pair.p_adjusted], DIGITS), pair.verdict]
