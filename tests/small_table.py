"""Comparison tables written by hand, for what is said of them and how they are written."""

import math
from types import SimpleNamespace

from lightning_aqa.metrics.significance import Difference
from lightning_aqa.metrics.uncertainty import Interval
from lightning_aqa.results.comparison import ComparisonCell, ComparisonTable

NAN = math.nan
NOTHING = Interval(NAN, NAN)


def made(kind, **given):
    """Make a named tuple of which only some fields matter."""
    return kind(**{name: given.get(name, kind._field_defaults.get(name, NAN)) for name in kind._fields})


def difference(value, low=NAN, high=NAN, p=NAN, smallest=NAN, verdict=""):
    return Difference(value, Interval(low, high), p, p, smallest, verdict)


def cell(value, ends=(NAN, NAN), against=None, verdict="", *, best=False, tied=False, seeds=3, deviation=NAN, why=""):
    """Make a number; a verdict is that of its difference from the baseline."""
    if verdict:
        p = 0.5 if verdict in ("equal", "undecided") else 0.01
        against = (against or difference(0.0))._replace(p_value=p, p_adjusted=p, verdict=verdict)
    marks = {"is_best": best, "is_tied": tied, "why": why, "difference": against}
    return made(ComparisonCell, value=value, deviation=deviation, num_seeds=seeds, interval=Interval(*ends), **marks)


def block(columns, level="utterance", n=None, beside=(), domain="", **more):
    """Make a table of columns, each a list with a cell per variant."""
    names, count = list(columns), len(next(iter(columns.values())))
    rows = [{name: columns[name][v] for name in names} for v in range(count)]
    n = n or {axis: 36 for axis, _ in names if axis != "mean"}
    given = {"level": level, "domain": domain, "n": n, "columns": names, "rows": rows, "beside": list(beside)}
    return made(ComparisonTable, **{"pairs": {}, "one_seed": False, "equivalence": None, **given, **more})


def pairs(sizes):
    """Make the differences of each variant from each, of which the smallest visible ones are given."""
    return [
        [None if i == j else difference(0.0, smallest=size) for j, size in enumerate(row)]
        for i, row in enumerate(sizes)
    ]


def variants(*names, split="test"):
    """Make what the tables need to know of variants."""
    runs = [SimpleNamespace(folder=None, command="")]
    return SimpleNamespace(split=split, variants=[SimpleNamespace(name=name, runs=runs) for name in names])
