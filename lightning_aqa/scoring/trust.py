"""Interval, distance from the training clips and note of a clip that is scored: all that stands beside its score."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.signal import Signal
from lightning_aqa.metrics.conformal import SHARE, ConformalCalibration
from lightning_aqa.results.notes import Expected, note_of
from lightning_aqa.results.predictions import ENDS, ScoredWindow, clip_deviation
from lightning_aqa.results.trained_features import TrainedFeatures
from lightning_aqa.scoring.batching import ScoredClip, WindowScore

UNLIKE = "unlike"
"""Name of the column."""
DIGITS = 6


class Trust:
    """Intervals, distances from the training clips and notes of the clips that one model scores.

    Args:
        axes: Axes of the model.
        calibration: What intervals follow from; None without.
        trained: Features of its training clips; None without.
        share: Share of clips that intervals are to hold; 0 gives none.

    Raises:
        ValueError: If the share is not from 0 to under 1.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        calibration: ConformalCalibration | None = None,
        trained: TrainedFeatures | None = None,
        share: float = SHARE,
    ) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"interval is a share of clips, such as 0.9, or 0 for none; got {share:g}.")
        self.axes, self.trained, self.share = tuple(axes), trained, share
        fits = calibration is not None and list(calibration.axes) == [axis.name for axis in axes] and share > 0
        self.calibration = calibration if fits else None
        self._factors: dict[str, NDArray[np.float64]] = {}

    @property
    def has_ends(self) -> bool:
        """Whether there are intervals, on some axis."""
        return self.calibration is not None and bool(np.isfinite(self._of_domain("")).any())

    @property
    def why_none(self) -> str:
        """Reason why some axis has no interval; empty where all have, or none is known of."""
        found = [self.calibration.why_none(a, self.share) for a in range(len(self.axes))] if self.calibration else []
        return next(filter(None, found), "")

    @property
    def columns(self) -> list[str]:
        """Names of the values of ``values``."""
        names = [name for axis in self.axes for name in (axis.name, *(f"{axis.name} {end}" for end in self._ends))]
        return [*names, *[UNLIKE] * (self.trained is not None)]

    @property
    def _ends(self) -> tuple[str, ...]:
        return ENDS if self.has_ends else ()

    def values(self, clip: ScoredClip) -> list[float | None]:
        """Return the numbers of a clip in the order of ``columns``: None where there is none."""
        none = math.nan, math.nan
        found: list[float] = []
        for a in range(len(self.axes)):
            ends = (clip.ends[a] if clip.ends else none) if self.has_ends else ()
            found += [clip.scores[a] if clip.scores else math.nan, *ends]
        found += [math.nan if clip.unlike is None else clip.unlike] if self.trained is not None else []
        return [None if math.isnan(value) else round(value, DIGITS) for value in found]

    def finish(
        self,
        clip: ScoredClip,
        signal: Signal | None,
        windows: Sequence[tuple[float, WindowScore]],
        expected: Expected,
    ) -> ScoredClip:
        """Add to a scored clip its interval, its distance and its note.

        Args:
            clip: The clip with its scores.
            signal: Facts of its audio.
            windows: Its windows, each with its weight.
            expected: What the model expects of a clip.
        """
        times = None
        if self.trained is not None and all(window.features is not None for _, window in windows):
            weights = [weight for weight, _ in windows]
            mean_D = np.average([window.features for _, window in windows], axis=0, weights=weights)
            found = self.trained.unlike(mean_D.astype(np.float64))
            if found is not None:
                clip, times = clip._replace(unlike=found.rank), found.times
        if all(window.deviations is not None for _, window in windows):
            rows = [ScoredWindow("", tuple(of.scores), w, tuple(of.deviations or ())) for w, of in windows]
            clip = clip._replace(deviations=tuple(clip_deviation(rows)))
        return self.with_ends(clip)._replace(note=note_of(signal, clip.scores, expected, times))

    def with_ends(self, clip: ScoredClip) -> ScoredClip:
        """Add the interval, by the scores, the deviations and the domain of a clip."""
        if not self.has_ends:
            return clip
        assert self.calibration is not None
        deviations = np.array([clip.deviations]) if clip.deviations else None
        scales = [(axis.low, axis.high) for axis in self.axes]
        factors = self._of_domain(clip.item.domain)[None]
        ends = self.calibration.ends(np.array([clip.scores]), deviations, factors, scales)[0].tolist()
        return clip._replace(ends=tuple((low, high) for low, high in ends))

    def _of_domain(self, domain: str) -> NDArray[np.float64]:
        assert self.calibration is not None
        if domain not in self._factors:
            if len(self._factors) > 1000:  # names that a list makes up
                return self.calibration.factors(domain, self.share)
            self._factors[domain] = self.calibration.factors(domain, self.share)
        return self._factors[domain]

    def fingerprint(self) -> bytes:
        """Hash what intervals and distances follow from; nothing where there are none."""
        parts: list[Any] = []
        if self.has_ends and self.calibration is not None:
            about = self.calibration
            parts += [repr((self.share, *about[:-2])).encode(), about.errors.tobytes()]
        if self.trained is not None:
            parts += [array.tobytes() for array in self.trained]
        return hashlib.sha256(b"".join(parts)).digest() if parts else b""
