"""Ceilings of a predictor, from the ratings of single listeners: what it can be expected to reach."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import ktau, rows_of_systems, sorted_rows, srcc
from lightning_aqa.metrics.domains import rows_by_domain
from lightning_aqa.metrics.levels import Results
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.metrics.variance_components import noise_variance, variance_components

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

LISTENER, LISTENER_BY_SYSTEM = "listener", "listener x system"
DRAWN_ANEW = "listeners drawn anew for each clip"
KNOWN = "a listener's name is one person in all clips"


class Ceiling(NamedTuple):
    """Ceilings of one axis at one level, which are expectations: a result can pass them by luck.

    Args:
        n: Clips or systems that were rated.
        listeners: Ratings per clip, mean.
        split_half_lcc: LCC expected between the means of two halves of the listeners.
        split_half_srcc: The same, SRCC.
        reliability: LCC expected between this mean rating and that of as many other listeners.
        lcc: LCC that a predictor without error can be expected to reach, the root of ``reliability``.
        srcc: The same, SRCC, where scores are about normally distributed.
        mse: MSE expected of a predictor without error; the level that all clips' listeners share does not count.
        assumes: About who rated; empty where there is no ceiling.
        why: Reason that there is no ceiling; empty where there is one.
    """

    n: int
    listeners: float
    split_half_lcc: float
    split_half_srcc: float
    reliability: float
    lcc: float
    srcc: float
    mse: float
    assumes: str = ""
    why: str = ""


def spearman_brown(reliability: float, factor: float) -> float:
    r"""Step the reliability of a mean up to ``factor`` times as many listeners, :math:`\frac{m r}{1 + (m - 1) r}`.

    Args:
        reliability: r, correlation of two means of as many listeners each.
        factor: m, dimensionless.

    Returns:
        The stepped-up reliability; NaN where r is so negative that the formula has no sense.

    Example:
        >>> spearman_brown(0.5, 2)
        0.6666666666666666
    """
    below = 1 + (factor - 1) * reliability
    return factor * reliability / below if below > 1e-9 else math.nan


def normal_srcc(correlation: float, n: int) -> float:
    r"""Compute the SRCC expected in a sample of a bivariate normal.

    :math:`\frac{6}{\pi (n + 1)} \left(\arcsin \rho + (n - 2) \arcsin \frac{\rho}{2}\right)`.

    Args:
        correlation: Pearson's correlation, rho.
        n: Size of the sample.

    Reference:
        Moran, "Rank correlation and product-moment correlation", Biometrika 35, 1948.

    Example:
        >>> round(normal_srcc(0.9, 1000), 3)
        0.891
    """
    return 6 / (math.pi * (n + 1)) * (math.asin(correlation) + (n - 2) * math.asin(correlation / 2))


def ceiling(ratings: Array, systems: Sequence[str] | None = None, listeners: Codes | None = None) -> Ceiling:
    r"""Compute what the listeners allow on one axis: at utterance level, or at system level where systems are given.

    A rating is the worth of the clip, plus the level of the listener, plus the listener's view of the system, plus a
    rest; their variances are estimated within the clips of two ratings and more (``variance_components``). From them
    and from who rated what follows :math:`v`, the variance that listeners put between the mean ratings of all clips or
    systems (``noise_variance``), which is the floor of the MSE; the reliability is
    :math:`R = 1 - v / \mathrm{var}(\mathrm{MOS})`, and a predictor without error correlates at :math:`\sqrt{R}`.
    A panel that rates all clips adds the same to each, which is no noise; of panels that differ between systems the
    level stays in the systems' means. Where no listener rated two clips, v is :math:`\frac{1}{N} \sum_n s^2 / k_n`.

    Args:
        ratings: Shape ``(N, K)``, in score points, NaN where fewer listeners rated.
        systems: System of each clip; None for the utterance level.
        listeners: Shape ``(N, K)``, a number per listener; None where it is not known who rated.

    Returns:
        NaN with the reason in ``why`` where there is no ceiling.

    Reference:
        Brennan, Generalizability Theory, Springer, 2001; with a panel that rates all clips R is ICC(3,k), otherwise
        ICC(1,k) (Shrout, Fleiss, "Intraclass correlations", Psychological Bulletin 86, 1979).

    Example:
        >>> round(ceiling(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 6.0]])).reliability, 3)
        0.914
    """
    return _ceiling(ratings, systems, listeners, at_system=systems is not None)


def _ceiling(ratings: Array, systems: Sequence[str] | None, listeners: Codes | None, at_system: bool) -> Ceiling:
    kept = np.isfinite(ratings).any(1)
    named = np.array(systems if systems is not None else [""] * len(ratings), dtype=object)
    if at_system:
        kept &= named != ""
    values_NK, named = ratings[kept], named[kept]
    rated = np.isfinite(values_NK)
    clips = np.nonzero(rated)[0]
    k_N = rated.sum(1)
    if not len(k_N):
        return _none(0, math.nan, "no single ratings")
    _, systems_N = np.unique(np.array([str(name) for name in named]), return_inverse=True)
    units_N = systems_N if at_system else np.arange(len(k_N))
    means_N = np.nansum(values_NK, axis=1) / k_N
    size_U = np.bincount(units_N)
    means_U = (np.bincount(units_N, means_N) / size_U).round(12)
    weights = 1 / (k_N * size_U[units_N])[clips]
    effects = _effects(listeners[kept][rated] if listeners is not None else None, systems_N[clips], named[clips])
    found = variance_components(values_NK[rated], clips, effects)
    start = (len(means_U), float(k_N.mean()))
    if not found:
        return _none(*start, "no clip has the ratings of two listeners")
    if len(means_U) < 3:
        return _none(*start, f"fewer than 3 {'systems' if at_system else 'clips'}")
    noise = noise_variance(found, weights, units_N[clips], effects)
    return _from_noise(*start, noise, float(means_U.var(ddof=1)), KNOWN if LISTENER in found else DRAWN_ANEW)


def _effects(listeners: Codes | None, systems: Codes, named: NDArray[Any]) -> dict[str, Codes]:
    """Return the effects that can enter: listeners, if one of them rated two clips, and their views of systems."""
    if listeners is None:
        return {}
    _, codes = np.unique(listeners, return_inverse=True)
    effects: dict[str, Codes] = {LISTENER: codes}
    if len(set(systems.tolist())) > 1 and all(named):
        _, effects[LISTENER_BY_SYSTEM] = np.unique(codes * (int(systems.max()) + 1) + systems, return_inverse=True)
    return effects


def _none(n: int, listeners: float, why: str, mse: float = math.nan) -> Ceiling:
    nan = math.nan
    return Ceiling(n, listeners, nan, nan, nan, nan, nan, mse, why=why)


def _from_noise(n: int, listeners: float, noise: float, variance: float, assumes: str) -> Ceiling:
    if variance == 0:
        return _none(n, listeners, "all mean ratings are equal", noise)
    reliability = 1 - noise / variance
    if reliability <= 0:
        return _none(n, listeners, "listeners agree no better than by chance", noise)
    half, highest = spearman_brown(reliability, 0.5), math.sqrt(reliability)
    ranks = normal_srcc(half, n), normal_srcc(highest, n)
    return Ceiling(n, listeners, half, ranks[0], reliability, highest, ranks[1], noise, assumes)


def system_only(systems: Sequence[str], targets: Array) -> dict[str, float]:
    r"""Compute the metrics of a predictor that knows each system's true mean, and nothing of the clip.

    Its MSE is the variance within systems, its LCC the root of their share :math:`\omega^2` of the variance over clips,
    without what chance adds to the means of few clips and not below 0. SRCC and KTAU are those of means that are drawn
    together, and of clips that are spread, to these variances.

    Args:
        systems: System of each of N clips; empty where unknown.
        targets: Shape ``(N,)``, NaN where not rated.

    Returns:
        MSE, LCC, SRCC, KTAU at utterance level and ``n``, clips of a named system; NaN where no system has two clips or
        there is one system.

    Reference:
        Hays, Statistics for Psychologists, 1963: omega squared.

    Example:
        >>> system_only(["x", "x", "y", "y"], np.array([1.0, 2.0, 4.0, 5.0]))["MSE"]
        0.5
    """
    rows = [[i for i in of if np.isfinite(targets[i])] for of in rows_of_systems(systems).values()]
    rows = [of for of in rows if of]
    num, num_systems = sum(map(len, rows)), len(rows)
    if num_systems < 2 or num == num_systems:
        return dict.fromkeys(("MSE", "LCC", "SRCC", "KTAU"), math.nan) | {"n": num if num > num_systems else 0}
    y_N = np.concatenate([targets[of] for of in rows])
    codes = np.repeat(np.arange(num_systems), [len(of) for of in rows])
    own_N = (np.bincount(codes, y_N) / np.bincount(codes))[codes]
    between, within = float(((own_N - y_N.mean()) ** 2).sum()), float(((y_N - own_N) ** 2).sum())
    inside = within / (num - num_systems)
    true = max(between - (num_systems - 1) * inside, 0.0)
    known_N = y_N.mean() + (own_N - y_N.mean()) * (math.sqrt(true / between) if between else 0.0)
    spread_N = known_N + (y_N - own_N) * (math.sqrt((between + within - true) / within) if within else 1.0)
    found = {"MSE": inside, "LCC": math.sqrt(true / (between + within)) if between + within else math.nan}
    ranks = [max(of(known_N.round(9), spread_N.round(9)), 0.0) if true else found["LCC"] for of in (srcc, ktau)]
    return found | {"SRCC": ranks[0], "KTAU": ranks[1], "n": num}


def ceilings(
    ids: Sequence[str], systems: Sequence[str], domains: Sequence[str], ratings: ListenerRatings, axes: Sequence[str]
) -> dict[str, dict[str, dict[str, Ceiling]]]:
    """Compute the ceilings per axis at both levels, overall and per domain.

    Args:
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        ratings: Of these clips, see ``ratings_table``.
        axes: Names of the axes.

    Returns:
        ``{domain: {level: {axis: Ceiling}}}``; the domain of all clips is ``""``.
    """
    order = sorted_rows(ids)
    ratings, names = ratings[order], [systems[i] for i in order]
    found: dict[str, dict[str, dict[str, Ceiling]]] = {}
    for domain, rows in rows_by_domain([domains[i] for i in order]).items():
        named = [names[i] for i in rows]
        levels = ("utterance", "system") if any(named) else ("utterance",)
        found[domain] = {level: axis_ceilings(ratings[rows], named, axes, level) for level in levels}
    return found


def axis_ceilings(
    ratings: ListenerRatings, systems: Sequence[str], axes: Sequence[str], level: str
) -> dict[str, Ceiling]:
    """Compute the ceiling of each axis at one level.

    Args:
        ratings: Of N clips.
        systems: System of each clip, which matter at utterance level too: a listener can have a view of a system.
        axes: Names of the axes.
        level: ``utterance`` or ``system``.
    """
    return {
        axis: _ceiling(ratings.values[:, a], systems, ratings.listeners[:, a], at_system=level == "system")
        for a, axis in enumerate(axes)
    }


def with_ceilings(
    results: Results,
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    targets: Array,
    ratings: ListenerRatings,
    axes: Sequence[str],
) -> Results:
    """Return what ``evaluate`` found with what the listeners allow beside each axis.

    Args:
        results: Of these clips, from ``evaluate``.
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        targets: Shape ``(N, A)``, in score points; NaN where not rated.
        ratings: Of single listeners, see ``ratings_table``; without any where the corpus has means alone.
        axes: Names of the axes.

    Returns:
        A copy in which the entries of axes with ratings have ``ceiling``, the fields of ``Ceiling``, and those at
        utterance level ``system_only``, the metrics of a predictor that knows only the system.
    """
    results = copy.deepcopy(results)
    of_domain = rows_by_domain(domains)
    for domain, levels in ceilings(ids, systems, domains, ratings, axes).items():
        entries = results["domains"][domain] if domain else results
        for level, table in levels.items():
            for axis, ceiling in table.items():
                if ceiling.n:
                    entries[level][axis]["ceiling"] = ceiling._asdict()
        rows = of_domain[domain]
        for a, axis in enumerate(axes):
            reference = system_only([systems[int(i)] for i in rows], targets[rows, a])
            if math.isfinite(reference["LCC"]):
                entries["utterance"][axis]["system_only"] = reference
    return results
