"""Choices of a probe: the weight of each encoder and layer, and what each encoder would have given alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from rich.markup import escape
from rich.table import Table
from torch import Tensor

from lightning_aqa.heads.probe import Share
from lightning_aqa.metrics.correlation import mse, srcc
from lightning_aqa.results.console import make_console

MOST_LAYERS = 3
"""Layers to name of each encoder."""


def share_facts(shares: Sequence[Share], layers: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return what ``run.json`` holds of a fitted probe: an entry per encoder.

    ``srcc`` and ``standardised_mse`` are means over the axes, of training clips as this encoder alone predicts them
    from the other parts of the inner cross-validation; an error of 1 is that of the mean score. They are null where
    undefined.

    Args:
        shares: Of the probe.
        layers: Numbers of the layers of each encoder that it was given.
    """
    return [
        {
            "encoder": share.name,
            "weight": round(share.weight, 4),
            "layers": {str(n): round(w, 4) for n, w in zip(numbers, share.layers, strict=True)},
            "srcc": _over_axes(srcc, share),
            "standardised_mse": _over_axes(mse, share),
        }
        for share, numbers in zip(shares, layers, strict=True)
    ]


def mean_shares(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Average the entries of several runs; nothing where these had different encoders or layers.

    Example:
        >>> one = {"encoder": "e", "weight": 1.0, "layers": {"0": 1.0}, "srcc": 0.4, "standardised_mse": None}
        >>> mean_shares([[one], [{**one, "srcc": 0.6}]])
        [{'encoder': 'e', 'weight': 1.0, 'layers': {'0': 1.0}, 'srcc': 0.5, 'standardised_mse': None}]
    """
    if len({str([(share["encoder"], *share["layers"]) for share in shares]) for shares in runs}) != 1:
        return []
    return [
        {
            "encoder": entries[0]["encoder"],
            "weight": round(fmean(entry["weight"] for entry in entries), 4),
            "layers": {n: round(fmean(entry["layers"][n] for entry in entries), 4) for n in entries[0]["layers"]},
            **{name: _mean([entry[name] for entry in entries]) for name in ("srcc", "standardised_mse")},
        }
        for entries in zip(*runs, strict=True)
    ]


def print_shares(shares: Sequence[dict[str, Any]], num_folds: int = 0) -> None:
    """Print a table of the encoders, or one line of a single one, and say what its numbers are of.

    Args:
        shares: Entries of ``share_facts``.
        num_folds: Folds that they are the mean of; 0 for a single fit.
    """
    console = make_console()
    of = f"the training parts of {num_folds} folds" if num_folds else "the training clips"
    if len(shares) == 1:
        share = shares[0]
        words = f"probe: {share['encoder']}, layers by weight: {_best(share)}"
        words += f"; SRCC {_number(share['srcc'])} by inner cross-validation on {of}"
        console.print(words, highlight=False, markup=False, soft_wrap=True)
    else:
        table = Table(title=f"probe, fitted to {of}", title_justify="left", box=None, pad_edge=False)
        for name, justify in {"encoder": "left", "weight": "right", "layers by weight": "left"}.items():
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        table.add_column("SRCC alone", justify="right")
        for share in sorted(shares, key=lambda share: -share["weight"]):
            cells = escape(share["encoder"]), f"{share['weight']:.2f}", _best(share), _number(share["srcc"])
            table.add_row(*cells)
        console.print(table)
        console.print(f"SRCC alone: by inner cross-validation on {of}.", highlight=False, markup=False, soft_wrap=True)
    if num_folds:
        words = "The table below is out of fold: these choices were made anew for each fold, without its clips."
        console.print(words, highlight=False, markup=False, soft_wrap=True)


def _best(share: dict[str, Any]) -> str:
    """Name the layers that count most, each with its part of the encoder's weight."""
    total = sum(share["layers"].values())
    ranked = sorted(share["layers"].items(), key=lambda item: -item[1])[:MOST_LAYERS]
    return ", ".join(f"{n} ({w / total:.2f})" for n, w in ranked if w >= 0.005 * total) if total else "-"


def _over_axes(metric: Any, share: Share) -> float | None:
    left_out, targets = share.left_out.double(), share.targets.double()
    return _mean([_of_axis(metric, p, y) for p, y in zip(left_out.T, targets.T, strict=True)])


def _of_axis(metric: Any, predicted: Tensor, targets: Tensor) -> float:
    is_known = ~targets.isnan()
    return float(metric(predicted[is_known], targets[is_known]))


def _mean(values: Sequence[float | None]) -> float | None:
    """Average what is a number, to four digits."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return round(fmean(known), 4) if known else None


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
