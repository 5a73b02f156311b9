"""Comparison tables written by hand, for what is said of them and how they are written."""

import math
from types import SimpleNamespace

from lightning_aqa.metrics.bootstrap import Interval
from lightning_aqa.metrics.significance import Difference
from lightning_aqa.results.comparison import ComparisonCell, ComparisonTable

NAN = math.nan
NOTHING = Interval(NAN, NAN)


def made(kind, **given):
    """Make a named tuple of which only some fields matter."""
    return kind(**{name: given.get(name, kind._field_defaults.get(name, NAN)) for name in kind._fields})


def difference(value, low=NAN, high=NAN, p=NAN, smallest=NAN):
    ends = Interval(low, high)
    return made(Difference, value=value, interval=ends, p_value=p, p_adjusted=p, smallest=smallest)


def cell(value, ends=(NAN, NAN), against=None, verdict="", *, best=False, tied=False, seeds=3, deviation=NAN, why=""):
    p = NAN if against is None else against.p_adjusted
    marks = {"is_best": best, "is_tied": tied, "verdict": verdict, "why": why}
    numbers = {"value": value, "deviation": deviation, "num_seeds": seeds, "interval": Interval(*ends)}
    return made(ComparisonCell, **numbers, **marks, difference=against, p_adjusted=p)


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
