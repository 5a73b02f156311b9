"""``lightning-aqa plan``: the size that a test needs, and the smallest difference that a test of this size can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_aqa.cli.signatures import call, check_at_least

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_aqa.results.planning import Pilot

DIFFERENCES = (0.01, 0.02, 0.05)
LARGEST = 1e9
"""Number above which nothing is planned."""


def plan(
    runs: list[str] | None = None,
    *,
    difference: list[float] | None = None,
    metric: Literal["MSE", "LCC", "SRCC", "KTAU"] = "SRCC",
    level: Literal["utterance", "system"] = "utterance",
    unit: Literal["clip", "system", "prompt"] | None = None,
    axis: str | None = None,
    split: str | None = None,
    power: float = 0.8,
    srcc: float | None = None,
    correlation: float | None = None,
    size: int | None = None,
    seeds: int | None = None,
    seed_deviation: float | None = None,
    reliability: float | None = None,
    listeners: float | None = None,
    output: str = "plan",
) -> int:
    """Say how many clips, systems, listeners and seeds it takes to show a difference.

    From pilots, which are run folders, of two variants or more; or without runs from --srcc, which is assumed. And the
    other way round: the smallest difference that a test of this size can show.

    Args:
        runs: Run folders of the pilot, and folders of run folders; none with --srcc.
        difference: Difference to show; may be given several times; the default is .01, .02 and .05.
        metric: Metric of the difference.
        level: Level of the metric.
        unit: What is counted; the default is clips, and systems at system level.
        axis: Axis of the metric; the default is the mean over all.
        split: Split of the pilot; the default is test, else dev.
        power: Chance to find a true difference.
        srcc: Assumed SRCC of either predictor with the ratings, where there are no runs.
        correlation: Assumed correlation of two predictors, without runs or with those of one variant alone; default .9.
        size: Clips (systems, prompts) at hand; the default is the pilot's.
        seeds: Seeds per variant at hand; the default is the pilot's.
        seed_deviation: Assumed standard deviation of the metric over seeds.
        reliability: Assumed reliability of the mean ratings, 0 to 1.
        listeners: Listeners per clip that this reliability is of; the default is 1.
        output: Folder to write the curve to, as plan.png and plan.csv.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If the runs, or an option, are wrong.
    """
    differences = sorted(set(difference or DIFFERENCES))
    _check(locals())
    from lightning_aqa.results.pilots import from_runs
    from lightning_aqa.results.planning import from_assumptions

    if srcc is not None:
        found = from_assumptions(srcc, 0.9 if correlation is None else correlation, level, unit)
    else:
        found = from_runs(
            runs or [], metric, level, unit=unit, axis=axis, split=split, correlation=correlation
        )  # fmt: skip
    given: dict[str, Any] = {"size": size, "num_seeds": seeds, "seeds_vary": seed_deviation, "reliability": reliability}
    given["listeners"] = listeners or (None if reliability is None else 1.0)
    found = found._replace(**{name: value for name, value in given.items() if value is not None})
    _print(found, differences, power)
    for path in _write(Path(output), found, differences, power):
        print(path)
    return 0


def _check(given: dict[str, object]) -> None:
    """Refuse what cannot be planned."""
    check_at_least({"size": 6, "seeds": 1, "seed_deviation": 0, "listeners": 1}, given)
    for name, low, high in (("power", 0.05, 1), ("srcc", -1, 1), ("reliability", 0, 1.0000001)):
        value = given[name]
        if isinstance(value, float) and not low < value < high:
            raise ValueError(f"--{name} must be between {low:g} and {high:g}, got {value:g}.")
    for value in given["differences"]:  # type: ignore[attr-defined]
        if not value > 0:
            raise ValueError(f"--difference must be above 0, got {value:g}.")
        if not 1 / LARGEST <= value <= LARGEST:
            raise ValueError(f"--difference must be between {1 / LARGEST:g} and {LARGEST:g}, got {value:g}.")
    for name in ("size", "seeds", "seed_deviation", "listeners"):
        value = given[name]
        if isinstance(value, int | float) and value > LARGEST:
            raise ValueError(f"--{name} must be at most {LARGEST:g}, got {value:g}.")
    if (given["srcc"] is None) == (not given["runs"]):
        what = "either one" if given["runs"] else "none"
        raise ValueError(f"give run folders of a pilot, or --srcc to plan without one; there is {what}.")
    for name in ("axis", "split"):
        if given["srcc"] is not None and given[name] is not None:
            raise ValueError(
                f"--{name}={given[name]}: there are no runs to take it from; leave it out, or give run folders."
            )
    if given["srcc"] is not None and given["metric"] != "SRCC":
        raise ValueError(f"--metric={given['metric']}: only SRCC can be planned without a pilot; give run folders.")


def _print(found: Pilot, differences: Sequence[float], power: float) -> None:
    from lightning_aqa.results.console import make_console

    console = make_console()
    console.print(_table(found, differences, power))
    for line in _lines(found, differences, power):
        console.print(line, highlight=False, markup=False)


def _table(found: Pilot, differences: Sequence[float], power: float) -> Table:
    """Lay out units by difference and seeds, and what either takes alone."""
    from rich.table import Table

    from lightning_aqa.metrics import planning

    units = f"{found.unit}s"
    level = "system" if found.is_system else "utterance"
    title = f"to show a difference of {found.metric} at {level} level: power {100 * power:g} %, two-sided test at 5 %"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in (
        "difference",
        *(f"{units}, {_seeds(found, k)}" for k in found.seed_counts),
        f"seeds, any number of {units}",
    ):
        table.add_column(name, justify="right")
    if found.has_formula:
        table.add_column(f"{units} for interval ±", justify="right")
    for d in differences:
        cells = [_units(found, d, seeds, power) for seeds in found.seed_counts]
        cells.append(_count(planning.seeds_needed(d, found.seeds_vary, power)))
        if found.has_formula:
            cells.append(_count(planning.units_for_interval(found.value, 2 * d, is_rank=found.is_rank)))
        table.add_row(f"{d:g}", *cells)
    return table


def _seeds(found: Pilot, count: float) -> str:
    if math.isinf(count):
        return "if runs do not vary" if math.isnan(found.seeds_vary) else "any number of seeds"
    return f"{count:g} seeds"


def _units(found: Pilot, difference: float, seeds: float, power: float) -> str:
    """Write how many units it takes; so few seeds may never show it."""
    is_known = math.isfinite(seeds) and math.isfinite(found.deviation)
    return (
        "never"
        if is_known and found.of_seeds(seeds, power) >= difference
        else _count(found.units(difference, seeds, power))
    )


def _count(value: float) -> str:
    """Write a number of units."""
    from lightning_aqa.metrics.planning import MOST

    if math.isnan(value):
        return "-"
    return (f"more than {MOST:,}" if math.isinf(value) else f"{value:,.0f}").replace(",", " ")


def _lines(found: Pilot, differences: Sequence[float], power: float) -> list[str]:
    """Say where the numbers come from, what the size at hand can show, and what cannot be told."""
    from lightning_aqa.results.planning import listener_factors, many, unknowns

    lines = list(found.remarks)
    is_pilot = found.remarks[0].startswith("Pilot")
    if math.isfinite(found.size) and math.isfinite(found.deviation):
        seeds = found.num_seeds if found.num_seeds > 1 and math.isfinite(found.seeds_vary) else math.inf
        least = found.smallest(found.size, seeds, power)
        lines.append(
            f"{many(found.size, found.unit)}, {_seeds(found, seeds)}: a difference of {least:.2g} can be shown."
        )
    if factors := listener_factors(found):
        told = ", ".join(f"{k}: x {factor:.2g}" for k, factor in factors)
        lines.append(f"{found.unit}s by listeners per clip ({found.listeners:.3g} here): {told}.".capitalize())
    if is_pilot and found.metric != "MSE" and found.value + min(differences) > 1:
        lines.append(f"With {found.metric} {found.value:.3f} no predictor can be better by {min(differences):g}.")
    return [*lines, *unknowns(found)]


def _write(folder: Path, found: Pilot, differences: Sequence[float], power: float) -> list[Path]:
    """Write the curve as a picture and as numbers; nothing where it is not known."""
    from lightning_aqa.results.planning import sizes_of, write_plan
    from lightning_aqa.results.plots import draw_plan

    sizes = sizes_of(found, differences, power)
    if not sizes:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "plan.png", folder / "plan.csv"]
    curves = {_seeds(found, k): [(n, found.smallest(n, k, power)) for n in sizes] for k in found.seed_counts}
    draw_plan(written[0], curves, found.unit, found.metric, found.size)
    write_plan(written[1], found, differences, power)
    return written


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(plan, args)
