"""Sentences about what stands beside a result: what ceilings assume, and where the system alone is as good."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_aqa.metrics.levels import MEAN


def ceiling_notes(ceilings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what the ceilings of some axes assume, and why an axis has none.

    Args:
        ceilings: Fields of ``Ceiling`` per axis.

    Example:
        >>> ceiling_notes({"PQ": {"assumes": "", "why": "fewer than 3 clips"}})
        ['none for PQ: fewer than 3 clips']
    """
    assumed: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for axis, of in ceilings.items():
        assumed.setdefault(of.get("assumes", ""), []).append(axis)
        missing.setdefault(of.get("why", ""), []).append(axis)
    texts = [(text, axes) for text, axes in assumed.items() if text]
    said = [f"assumes {text}" + ("" if len(texts) == 1 else f" ({', '.join(axes)})") for text, axes in texts]
    return said + [f"none for {', '.join(axes)}: {text}" for text, axes in missing.items() if text]


def behind_system(axis: str, own: Mapping[str, float], alone: Mapping[str, float], who: str = "this model") -> str:
    """Say where a model is not better than knowing the system alone, in LCC or in MSE; empty where it is in both.

    Args:
        axis: Name of the axis.
        own: LCC and MSE of the model at utterance level.
        alone: Those of ``system_only``.
        who: Name of the model.

    Example:
        >>> behind_system("overall", {"LCC": 0.598, "MSE": 0.123}, {"LCC": 0.686, "MSE": 0.101})
        'overall: knowing the system alone would give LCC .686 and MSE 0.101; this model has .598 and 0.123.'
    """
    values = [float(of.get(name, math.nan)) for of in (own, alone) for name in ("LCC", "MSE")]
    if not all(map(math.isfinite, values)) or (values[0] > values[2] and values[1] < values[3]):
        return ""
    have, would = (f"{_correlation(r)} and {{}}{error:.3f}" for r, error in (values[:2], values[2:]))
    return f"{axis}: knowing the system alone would give LCC {would.format('MSE ')}; {who} has {have.format('')}."


def run_notes(results: Mapping[str, Any]) -> list[str]:
    """List the sentences for the results of a run, over all its clips: those of ceilings once, the others by split.

    Args:
        results: ``{split: {level: {axis: entry}}}`` as in ``results.json``.
    """
    ceilings = dict.fromkeys(note for levels in results.values() for note in _notes_of_ceilings(levels))
    behind = [f"{split}: {note}" for split, levels in results.items() for note in _behind(levels)]
    return [*(f"Highest LCC: {note}." for note in ceilings), *behind]


def _notes_of_ceilings(levels: Mapping[str, Any]) -> Iterator[str]:
    for level in ("utterance", "system"):
        found = {axis: of["ceiling"] for axis, of in levels.get(level, {}).items() if "ceiling" in of}
        yield from ceiling_notes(found)


def _behind(levels: Mapping[str, Any]) -> Iterator[str]:
    for axis, of in levels.get("utterance", {}).items():
        if axis != MEAN and (said := behind_system(axis, of, of.get("system_only", {}))):
            yield said


def _correlation(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)
