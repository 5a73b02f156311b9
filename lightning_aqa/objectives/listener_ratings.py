"""Ratings of single listeners: those of one axis as columns, and those of some clips as rows of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_aqa.batch import Batch

Rows = NDArray[np.intp]


class SingleRatings(NamedTuple):
    """Ratings of one axis.

    Args:
        clips: Index of the clip of each of R ratings, shape ``(R,)``.
        listeners: Index of its listener, shape ``(R,)``.
        values: In score points, shape ``(R,)``.
    """

    clips: Rows
    listeners: Rows
    values: NDArray[np.float64]


class RatedRows(NamedTuple):
    """Ratings of some rows of a batch.

    Args:
        rows: Row of each of R ratings, shape ``(R,)``, int64.
        axes: Index of its axis, shape ``(R,)``, int64.
        listeners: Index of its listener, shape ``(R,)``, int64.
        values: In score points, shape ``(R,)``, float64.
    """

    rows: Tensor
    axes: Tensor
    listeners: Tensor
    values: Tensor


class RatingsOfClips:
    """Ratings of clips by id.

    Args:
        ratings: Score per axis name per listener of each clip id; what is not finite or of another axis is left out.
        axes: Names of the A axes.

    Attributes:
        names: The listeners, sorted.
        index: Number of each clip that has a rating.
        of_axes: Ratings of each axis.
    """

    def __init__(self, ratings: Mapping[str, Mapping[str, Mapping[str, float]]], axes: Sequence[str]) -> None:
        rows = [
            (clip, who, axes.index(axis), float(value))
            for clip, given in ratings.items()
            for who, scores in given.items()
            for axis, value in scores.items()
            if axis in axes and math.isfinite(value)
        ]
        self.names = sorted({row[1] for row in rows})
        self.index = {clip: n for n, clip in enumerate(dict.fromkeys(row[0] for row in rows))}
        number = {name: n for n, name in enumerate(self.names)}
        c_R = np.array([self.index[row[0]] for row in rows], dtype=np.intp)
        i_R = np.array([number[row[1]] for row in rows], dtype=np.intp)
        a_R = np.array([row[2] for row in rows], dtype=np.intp)
        y_R = np.array([row[3] for row in rows], dtype=np.float64)
        self.of_axes = [SingleRatings(c_R[a_R == a], i_R[a_R == a], y_R[a_R == a]) for a in range(len(axes))]
        sizes = np.bincount(c_R, minlength=len(self.index)).tolist()
        columns = (torch.split(torch.from_numpy(column), sizes) for column in (a_R, i_R, y_R))
        self._of_clips = list(zip(*columns, strict=True))

    def of_batch(self, batch: Batch) -> RatedRows:
        """Return the ratings of the rows of a batch on the axes that ``batch.scores`` has."""
        found = [(row, *self._of_clips[self.index[id_]]) for row, id_ in enumerate(batch.ids) if id_ in self.index]
        if not found:
            none = torch.zeros(0, dtype=torch.int64)
            return RatedRows(none, none, none, none.double())
        rows = torch.cat([torch.full_like(axes, row) for row, axes, _, _ in found])
        axes, listeners, values = (torch.cat(parts) for parts in zip(*(own[1:] for own in found), strict=True))
        kept = ~batch.scores.cpu().isnan()[rows, axes]
        return RatedRows(rows[kept], axes[kept], listeners[kept], values[kept])
