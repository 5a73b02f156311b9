"""``intervals.json``, from which the interval of any clip follows, and what the intervals of a run's own clips hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.conformal import SHARE, ConformalCalibration, interval_coverage
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.results.files import INTERVALS
from lightning_aqa.results.side_files import if_whole
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.files import replacing

CALIBRATES = "dev"
"""Split that the intervals of a run without folds are calibrated by."""
FORMAT = 1
DIGITS = 9
_TEXTS = ("ids", "domains", "systems")


def calibrated_by_dev(
    splits: Mapping[str, Predictions], axes: Sequence[str], unit: Unit | None
) -> ConformalCalibration | None:
    """Calibrate by the split dev; None where there is none.

    Args:
        splits: Predictions of the splits.
        axes: Names of the axes.
        unit: What varies as one piece in a run's intervals; by systems the new clips are of new systems.
    """
    return calibrated_by(CALIBRATES, splits[CALIBRATES], axes, unit) if CALIBRATES in splits else None


def calibrated_by(split: str, table: Predictions, axes: Sequence[str], unit: Unit | None) -> ConformalCalibration:
    """Calibrate by a table of clips that the model was not trained on; see ``calibrated_by_dev``."""
    return ConformalCalibration.of(split, axes, table, by_system="system" in (unit or ""))


def write_calibration(folder: Path, calibration: ConformalCalibration) -> None:
    """Write ``intervals.json`` into a run folder."""
    errors = [[None if math.isnan(e) else round(e, DIGITS) for e in row] for row in calibration.errors.tolist()]
    texts = {name: list(getattr(calibration, name)) for name in _TEXTS}
    about = {name: getattr(calibration, name) for name in ("split", "axes", "is_scaled", "by_system")}
    with replacing(folder / INTERVALS) as file:
        file.write(json.dumps({"format": FORMAT, **about, **texts, "errors": errors}) + "\n")


def read_calibration(folder: Path) -> ConformalCalibration | None:
    """Read ``intervals.json`` of a run folder; None where there is none, or it is damaged, which is said."""
    return if_whole(folder / INTERVALS, _read)


def _read(path: Path) -> ConformalCalibration:
    found = read_json(path)
    try:
        axes = list(found["axes"])
        errors_NA = np.array([[math.nan if e is None else float(e) for e in row] for row in found["errors"]], float)
        texts = {name: list(found[name]) for name in _TEXTS}
        are_texts = all(isinstance(text, str) for row in (axes, [found["split"]], *texts.values()) for text in row)
        errors_NA = errors_NA.reshape(-1, len(axes)) if not len(errors_NA) else errors_NA
        is_table = errors_NA.shape == (len(texts["ids"]), len(axes)) and {*map(len, texts.values())} == {len(errors_NA)}
        is_whole = are_texts and is_table and {type(found["is_scaled"]), type(found["by_system"])} == {bool}
        is_whole = is_whole and not bool((np.isinf(errors_NA) | (errors_NA < 0)).any())
    except (ArithmeticError, LookupError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path}: not the calibration of intervals.")
    about: dict[str, Any] = {name: found[name] for name in ("split", "is_scaled", "by_system")} | texts
    return ConformalCalibration(axes=axes, errors=errors_NA, **about)


def with_ends(
    table: Predictions, axes: Sequence[Axis], calibration: ConformalCalibration, share: float = SHARE
) -> Predictions:
    """Return a table with the interval of each clip; without where the model's axes are not those calibrated."""
    if [axis.name for axis in axes] != list(calibration.axes):
        return table
    factors = {name: calibration.factors(name, share) for name in set(table.domains)}
    factors_NA = np.array([factors[name] for name in table.domains]).reshape(table.scores.shape)
    scales = [(axis.low, axis.high) for axis in axes]
    return table._replace(intervals=calibration.ends(table.scores, table.deviations, factors_NA, scales))


def with_held_out_ends(
    table: Predictions, axes: Sequence[Axis], calibration: ConformalCalibration, folds: Mapping[str, int]
) -> Predictions:
    """Return the table of a cross-validation with intervals, those of each fold's clips by the clips of the others.

    Args:
        table: Predictions out of fold.
        axes: Axes of the model.
        calibration: That of all of these clips.
        folds: Fold of each clip by its id.
    """
    of_clips = np.array([folds[id_] for id_ in table.ids])
    of_calibration = np.array([folds[id_] for id_ in calibration.ids])
    ends = np.full((*table.scores.shape, 2), math.nan)
    for fold in sorted(set(of_clips.tolist())):
        by_others = with_ends(table, axes, calibration.rows(of_calibration != fold)).intervals
        if by_others is not None:
            ends[of_clips == fold] = by_others[of_clips == fold]
    return table._replace(intervals=ends)


def with_coverage(
    results: Mapping[str, Any], table: Predictions, calibration: ConformalCalibration, *, are_by_others: bool = False
) -> dict[str, Any]:
    """Return the results of a split with ``interval`` under the utterance entry of each axis, of all and by domain.

    It holds the share of rated clips whose rating lies within their interval, and the mean width. Clips that the
    intervals are calibrated by do not count.

    Args:
        results: From ``evaluate``.
        table: The predictions that they are of, with intervals.
        calibration: What the intervals follow from.
        are_by_others: Whether each clip's interval follows from other clips all the same.
    """
    if table.intervals is None:
        return dict(results)
    known = frozenset[str]() if are_by_others else frozenset(calibration.ids)
    counts = np.array([id_ not in known for id_ in table.ids], dtype=np.bool_)
    if not counts.any():
        return dict(results)
    on = "other folds" if are_by_others else calibration.split
    found = {**results, "utterance": _covered(results["utterance"], table, calibration, counts, on, "")}
    if "domains" in results:
        found["domains"] = {
            name: {**levels, "utterance": _covered(levels["utterance"], table, calibration, counts, on, name)}
            for name, levels in results["domains"].items()
        }
    return found


def _covered(
    level: Mapping[str, Any],
    table: Predictions,
    calibration: ConformalCalibration,
    counts: NDArray[np.bool_],
    on: str,
    domain: str,
) -> dict[str, Any]:
    assert table.intervals is not None
    rows = counts & np.array([domain in ("", name) for name in table.domains], dtype=np.bool_)
    found = dict(level)
    for a, axis in enumerate(calibration.axes):
        if not level[axis]["n"]:
            continue
        about: dict[str, Any] = {"share": SHARE, "calibrated_on": on}
        if why := calibration.why_none(a):
            about["why"] = why
        else:
            about |= interval_coverage(table.intervals[rows, a], table.targets[rows, a])._asdict()
        if domain:
            about["by_domain"] = calibration.has_own(a, domain)
        found[axis] = {**level[axis], "interval": about}
    return found


def coverage_notes(results: Mapping[str, Any]) -> list[str]:
    """Say for each split how wide the intervals of clips are and what share of ratings they hold, or why none is there.

    Args:
        results: ``{split: {level: {axis: entry}}}`` as in ``results.json``.

    Example:
        >>> of = {"share": 0.9, "calibrated_on": "dev", "n": 40, "covered": 0.925, "width": 1.3}
        >>> coverage_notes({"test": {"utterance": {"MI": {"interval": of}}}})
        ['Intervals of clips, 90 %, test (calibrated on dev): MI holds 92 % of 40, 1.30 wide.']
    """
    said = []
    for split, levels in results.items():
        entries = {axis: of["interval"] for axis, of in levels.get("utterance", {}).items() if "interval" in of}
        there = {axis: of for axis, of in entries.items() if of.get("n")}
        for reason in dict.fromkeys(of["why"] for of in entries.values() if "why" in of):
            said.append(f"No intervals of clips, {split}: {reason}.")
        if there:
            about = next(iter(there.values()))
            holds = [f"{axis} {_holds(of)}{_of_domains(levels, axis)}" for axis, of in there.items()]
            by = f"{about['share']:.0%}".replace("%", " %")
            said.append(
                f"Intervals of clips, {by}, {split} (calibrated on {about['calibrated_on']}): {'; '.join(holds)}."
            )
    return said


def _holds(of: Mapping[str, Any]) -> str:
    return f"holds {100 * of['covered']:.0f} % of {of['n']}, {of['width']:.2f} wide"


def _of_domains(levels: Mapping[str, Any], axis: str) -> str:
    found = {
        name: of["utterance"][axis]["interval"]
        for name, of in levels.get("domains", {}).items()
        if "interval" in of["utterance"].get(axis, {})
    }
    parts = [f"{name} {100 * of['covered']:.0f} % of {of['n']}" for name, of in found.items() if of.get("n")]
    return f" ({', '.join(parts)})" if len(parts) > 1 else ""
