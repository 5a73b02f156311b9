"""``lightning-aqa analyse``: means of systems from ratings of some clips and predictions of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning_aqa.cli.signatures import call
from lightning_aqa.utils.text import shortened

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_aqa.results.analysis import SystemAnalysis


def analyse(
    ratings: str,
    *,
    predictions: str | None = None,
    axes: str | None = None,
    target: Literal["systems", "clips"] = "systems",
    output: str | None = None,
) -> int:
    """Join ratings and predictions: means of systems, their ranks, what is sure.

    Predictions of clips that nobody rated make the intervals of the systems narrower, as far as they agree with the
    ratings; those of a predictor that is of no use are left out by itself. The predictor must not have been trained on
    these ratings; predictions out of fold are.

    Args:
        ratings: Table of ratings with columns for file, system, listener and score; rows without a score are clips
            that were not rated.
        predictions: Table of scores with a row per clip: of score, of a run, or of another tool; a column system is
            needed for clips that the ratings do not name.
        axes: Lowest and highest score of each axis, such as '{overall: [1, 5]}'; the default guesses the one there is.
        target: What the intervals are about: the systems, whatever clips they make, or these clips.
        output: Table to write, which must not be there.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If a table or an option is wrong.
    """
    if output is not None and Path(output).exists():
        raise ValueError(f"--output={output}: there is such a file; name another, or move it away.")
    from lightning_aqa.results.analysis import COLUMNS, analyse_axis, join
    from lightning_aqa.results.console import make_console
    from lightning_aqa.utils.records import write_records

    joined = join(Path(ratings), None if predictions is None else Path(predictions), _scales(axes))
    found = [analyse_axis(joined, a, target) for a in range(len(joined.axes))]
    console = make_console()
    for of in found:
        console.print(table_of(of))
        for line in [*joined.notes, *lines_of(of, target, has_predictions=predictions is not None)]:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if output is not None:
        write_records(output, COLUMNS, (row for of in found for row in of.rows()))
        print(output)
    return 0


def _scales(text: str | None) -> dict[str, list[float]] | None:
    if text is None:
        return None
    from lightning_aqa.utils.documents import parse_yaml

    try:
        found = parse_yaml(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"--axes={shortened(text)}: expected names and scales, such as '{{overall: [1, 5]}}'.")
    return found


def table_of(of: SystemAnalysis) -> Table:
    """Lay out the systems, the best first."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(of.axis.title), title_justify="left", box=None, pad_edge=False)
    for name in ("rank", "system", "mean", "95 %", "ranks", "rated clips", "ratings"):
        table.add_column(name, justify="left" if name == "system" else "right")
    for _, rank, system, mean, low, high, best, worst, clips, rated, ratings, _ in of.rows():
        ends = f"{low:.2f} to {high:.2f}" if low != "" else "-"
        ranks = f"{best}" if best == worst else f"{best} to {worst}"
        shown = f"{mean:.2f}" if mean != "" else "-"
        table.add_row(str(rank), escape(str(system)), shown, ends, ranks, f"{rated} of {clips}", str(ratings))
    return table


def lines_of(of: SystemAnalysis, target: str, *, has_predictions: bool) -> list[str]:
    """Say what the predictions gave, what the intervals hold, and what they do not."""
    lines = [
        f"95 %: of the mean over {'any clips of the system' if target == 'systems' else 'these clips'} and all "
        "listeners. ranks: those that a system may have, all of them at once; --output also says which systems are not "
        "told apart."
    ]
    if of.found.num_listeners < 2:
        lines.append("One listener: the intervals are about other clips, and this listener alone.")
    few = [name for name, half in zip(of.systems, of.found.half_widths(), strict=True) if not math.isfinite(half)]
    if few:
        lines.append(f"No interval: {', '.join(map(shortened, few[:5]))}; expected two rated clips or more per system.")
    if of.found.slope:
        width, alone = (float(sum(found.half_widths())) for found in (of.found, of.alone))
        lines.append(
            f"Predictions: used with a slope of {of.found.slope:.3f}; intervals are {100 * (1 - width / alone):.0f} % "
            f"narrower, as by {(alone / width) ** 2:.1f} times the ratings."
        )
    elif has_predictions:
        lines.append(
            "Predictions: left out; they do not go with the ratings within systems, or clips are too few to tell."
        )
    return lines


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(analyse, args)
