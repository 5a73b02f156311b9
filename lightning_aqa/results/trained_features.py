"""``trained.npz``: features of the training clips, by which a score says how unlike these a clip is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_aqa.batch import Features
from lightning_aqa.results.files import TRAINED
from lightning_aqa.results.observations import read_arrays
from lightning_aqa.results.side_files import if_whole
from lightning_aqa.utils.files import complete

Array = NDArray[np.float64]
Single = NDArray[np.float32]
MOST_CLIPS = 1000
"""Training clips that are kept; of more an even draw."""
FEWEST_CLIPS = 20
"""With fewer nothing is said of how unlike them a clip is."""


def pooled(features: Features) -> Single:
    """Return the mean over layers and frames, shape ``(B, D)``: whatever the head, and however features are cached."""
    mask_BF = features.frame_mask.to(features.layers.dtype)
    layers_BFD = features.layers.float().mean(dim=1)
    sums_BD = torch.einsum("bf,bfd->bd", mask_BF.float(), layers_BFD.masked_fill(~features.frame_mask[..., None], 0.0))
    means: Single = (sums_BD / mask_BF.sum(dim=1, keepdim=True).clamp(min=1)).detach().cpu().numpy().astype(np.float32)
    return means


class Unlike(NamedTuple):
    """Distance of a clip from the training clips.

    Args:
        rank: Share of the training clips that are closer to their nearest than this one is to its own: 0.5 is usual,
            1 is farther than all.
        times: Its distance over that of the training clip that is farthest from the others.
    """

    rank: float
    times: float


class TrainedFeatures(NamedTuple):
    """Standardised features of training clips, and how far each is from the nearest that splits do not keep with it.

    Args:
        mean: Of each feature, shape ``(D,)``.
        scale: Its deviation, shape ``(D,)``.
        features: Standardised, shape ``(N, D)``.
        distances: Root of the mean squared distance to the nearest, sorted, shape ``(N,)``.
    """

    mean: Single
    scale: Single
    features: Single
    distances: Single

    @classmethod
    def of(cls, features: Single, groups: Sequence[str]) -> TrainedFeatures | None:
        """Gather training clips; None of too few, or of a single group.

        Args:
            features: What ``pooled`` gives for N clips, shape ``(N, D)``.
            groups: What of each clip splits keep together, such as its system; it is not compared with these.
        """
        if len(features) < FEWEST_CLIPS or len(set(groups)) < 2 or not np.isfinite(features).all():
            return None
        mean_D, std_D = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        scale_D = np.maximum(std_D, 0.01 * max(float(np.median(std_D)), 1e-12))
        kept_ND = ((features - mean_D) / scale_D).astype(np.float16).astype(np.float32)
        codes = np.unique(np.array(groups, dtype=str), return_inverse=True)[1]
        distances_NN = _distances(kept_ND, kept_ND)
        distances_NN[codes[:, None] == codes] = np.inf
        nearest_N = np.sort(distances_NN.min(axis=1)).astype(np.float32)
        return cls(mean_D.astype(np.float32), scale_D.astype(np.float32), kept_ND, nearest_N)

    def unlike(self, features: Array) -> Unlike | None:
        """Compare a clip; None where its features are of another width, or not finite.

        Args:
            features: Mean over its windows of what ``pooled`` gives, shape ``(D,)``.
        """
        if features.shape != self.mean.shape or not np.isfinite(features).all():
            return None
        distance = float(_distances(((features - self.mean) / self.scale)[None], self.features).min())
        rank = float(np.searchsorted(self.distances, distance, side="left")) / len(self.distances)
        return Unlike(rank, distance / max(float(self.distances[-1]), 1e-12))

    def write(self, folder: Path) -> None:
        """Write ``trained.npz`` into a run folder."""
        arrays = {**self._asdict(), "features": self.features.astype(np.float16)}
        with complete(folder / TRAINED) as part, open(part, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)


def _distances(left: NDArray[np.floating], right: NDArray[np.floating]) -> Array:
    """Return the roots of the mean squared distances, shape ``(B, N)``."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    squares = (left**2).sum(1)[:, None] - 2 * left @ right.T + (right**2).sum(1)
    roots: Array = np.sqrt(squares.clip(min=0) / left.shape[1])
    return roots


def read_trained(folder: Path) -> TrainedFeatures | None:
    """Read ``trained.npz`` of a run folder; None where there is none, or it is damaged, which is said."""
    return if_whole(folder / TRAINED, _read)


def _read(path: Path) -> TrainedFeatures:
    return read_arrays(path, TrainedFeatures._fields, _checked)


def _checked(arrays: dict[str, NDArray[Any]]) -> TrainedFeatures:
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    count, width = len(found["distances"]), len(found["mean"])
    shapes = {"mean": (width,), "scale": (width,), "features": (count, width), "distances": (count,)}
    is_whole = count > 0 and {name: array.shape for name, array in found.items()} == shapes
    is_whole = is_whole and all(np.isfinite(array).all() for array in found.values())
    if not is_whole or not (found["scale"] > 0).all() or (np.diff(found["distances"]) < 0).any():
        raise ValueError("not the features of training clips")
    return TrainedFeatures(**found)
