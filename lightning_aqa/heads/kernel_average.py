r"""Gaussian processes over many feature sets at once, weighted by how each predicts clips that it was not fitted to.

Everything is in closed form and float64: for a kernel matrix :math:`K = U \operatorname{diag}(e) U^\top` and a strength
:math:`\lambda`, with :math:`C = (K + \lambda)^{-1}`, the residuals of the clips of a group :math:`g`, predicted from
all others, are :math:`C_{gg}^{-1} (C y)_g`, so that one decomposition serves all strengths and all groups.

Reference:
    Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), 5.4.2: leaving out. Yao, Vehtari, Simpson &
    Gelman, "Using stacking to average Bayesian predictive distributions", Bayesian Analysis 13 (2018): weights by the
    predicted density of what was left out; differs: their exponent is tempered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-6, 5))
"""Noise over signal variance, from hardly any smoothing to nearly the mean alone."""
WIDTHS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Factors of the mean squared distance of standardised features in the exponent: from nearly linear to local."""
TEMPERATURE = 0.2
"""Share of the groups that the weights believe to be independent evidence."""
FAMILY_TEMPERATURE = 1.0
"""The same between families of kernels, of which there are few, so that little is chosen by luck."""
MOST_GROUPS = 10
"""Parts of the inner cross-validation."""
MOST_CLIPS = 500
"""Rows by which kernels are compared, and weights given; all are used to fit those that count."""
LEAST_WEIGHT = 1e-3
"""Weight below which a kernel is left out."""


class Average(NamedTuple):
    """Numbers that a weighted average of Gaussian processes predicts with.

    Args:
        coefficients: Of each term and clip, shape ``(T, N, A)``.
        weights: Of each candidate, shape ``(C, A)``; they sum to one for each rated axis.
        residuals: Clips as predicted from the other groups, subtracted from their targets, shape ``(n, A)`` for the n
            clips that were compared by; NaN where not rated.
        alone: The same of the average of each family alone.
        rows: The n clips.
        strength: Noise over signal variance of the average, geometric mean.
    """

    coefficients: Tensor
    weights: Tensor
    residuals: Tensor
    alone: dict[int | None, Tensor]
    rows: Tensor
    strength: float


def kernels(distances: Tensor, terms: Sequence[tuple[Sequence[int], float]]) -> Tensor:
    r"""Return Gaussian kernels :math:`e^{-\gamma \bar d}` of mean squared distances.

    Args:
        distances: Mean squared distance in each block of features, shape ``(K, ..., N)``.
        terms: Blocks whose distances are averaged, and :math:`\gamma`, per kernel.

    Returns:
        Kernels, shape ``(T, ..., N)``.

    Example:
        >>> kernels(torch.zeros(1, 2, 2), [([0], 0.1)]).unique()
        tensor([1.])
    """
    return torch.stack([(-width * distances[list(blocks)].mean(dim=0)).exp() for blocks, width in terms])


def inner_groups(groups: Sequence[str]) -> list[list[int]]:
    """Deal rows into at most ten parts of like size, the rows of a group into one; the order of rows does not matter.

    Example:
        >>> inner_groups(["b", "a", "b"])
        [[0, 2], [1]]
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    parts: list[list[int]] = [[] for _ in range(min(MOST_GROUPS, len(members)))]
    for group in sorted(members, key=lambda name: (-len(members[name]), name)):
        min(parts, key=len).extend(members[group])
    return parts


def average(
    distances: Tensor,
    targets: Tensor,
    groups: Sequence[str],
    terms: Sequence[tuple[Sequence[int], float]],
    candidates: Sequence[Sequence[int]],
    families: Sequence[int | None] | None = None,
) -> Average:
    """Fit each candidate at each strength, and weight them by the errors on groups that they were not fitted to.

    With fewer than two groups nothing can be compared, and the prediction is zero, the mean.

    Args:
        distances: Mean squared distances between the clips in each block of features, shape ``(K, N, N)``, float64.
        targets: Standardised scores, shape ``(N, A)``, float64; NaN where not rated.
        groups: What stays together of each clip.
        terms: Kernels, as ``kernels`` takes them.
        candidates: Terms whose mean is the kernel of one Gaussian process.
        families: Family of each candidate, such as the encoder that it reads: their averages are weighted against each
            other, so that an encoder of many layers counts for no more than one of a single one; None is one family.
    """
    families = [0] * len(candidates) if families is None else families
    num_clips, num_axes = targets.shape
    coefficients_TNA = targets.new_zeros(len(terms), num_clips, num_axes)
    weights_CA = targets.new_zeros(len(candidates), num_axes)
    rows = _spread(groups, MOST_CLIPS)
    residuals_nA = targets[rows].clone()
    alone = {family: residuals_nA.clone() for family in families}
    strengths: list[float] = []
    for axes in _alike(targets):
        rated = (~targets[:, axes[0]].isnan()).nonzero().flatten()
        compared = rows[torch.isin(rows, rated)]
        names = [groups[row] for row in compared.tolist()]
        parts = inner_groups(names)
        if len(parts) < 2:
            continue
        decomposed = [_decompose(_kernel(distances, compared, compared, terms, chosen)) for chosen in candidates]
        known_na = targets[compared][:, axes]
        errors_CSna = torch.stack([_left_out(*one, known_na, parts) for one in decomposed])
        weights_CSa, own = _weigh(errors_CSna, len(set(names)), families)
        known = torch.isin(rows, rated).nonzero().flatten()[:, None]
        residuals_nA[known, axes] = torch.einsum("csa,csna->na", weights_CSa, errors_CSna)
        for family, errors_na in own.items():
            alone[family][known, axes] = errors_na
        weights_CA[:, axes] = weights_CSa.sum(dim=1)
        logs_S = torch.tensor(STRENGTHS, dtype=targets.dtype).log()
        strengths += (weights_CSa.sum(dim=0) * logs_S[:, None]).sum(dim=0).exp().tolist()
        if len(compared) < len(rated):
            decomposed = []
        _fit(coefficients_TNA, decomposed, distances, targets, rated, axes, weights_CSa, terms, candidates)
    strength = sum(strengths) / len(strengths) if strengths else 1.0
    return Average(coefficients_TNA, weights_CA, residuals_nA, alone, rows, strength)


def _spread(groups: Sequence[str], most: int) -> Tensor:
    """Return the rows of at most so many clips, evenly drawn over the groups in the order of their names."""
    order = sorted(range(len(groups)), key=lambda row: (groups[row], row))
    step = max(1.0, len(order) / most)
    return torch.tensor(sorted(order[int(i * step)] for i in range(min(most, len(order)))))


def _alike(targets: Tensor) -> list[list[int]]:
    """Divide the axes by which clips are rated on them; an axis that nobody rates is left out."""
    found: dict[bytes, list[int]] = {}
    for axis, column in enumerate(targets.isnan().T):
        if not bool(column.all()):
            found.setdefault(column.numpy().tobytes(), []).append(axis)
    return list(found.values())


def _kernel(
    distances: Tensor, left: Tensor, right: Tensor, terms: Sequence[tuple[Sequence[int], float]], chosen: Sequence[int]
) -> Tensor:
    block = distances[:, left[:, None], right]
    return kernels(block, [terms[term] for term in chosen]).mean(dim=0)


def _weigh(errors: Tensor, num_groups: int, families: Sequence[int | None]) -> tuple[Tensor, dict[int | None, Tensor]]:
    """Return the weight of each candidate at each strength, ``(C, S, a)``, and the residuals of each family alone."""
    squares_CSa = errors.square().mean(dim=2).clamp(min=1e-12)
    weights_CSa = torch.zeros_like(squares_CSa)
    alone: dict[int | None, Tensor] = {}
    for family in dict.fromkeys(families):
        own = [c for c, one in enumerate(families) if one == family]
        inside_CSa = (-TEMPERATURE / 2 * num_groups * squares_CSa[own].log()).flatten(0, 1).softmax(dim=0)
        weights_CSa[own] = _without_weak(inside_CSa.view(len(own), *squares_CSa.shape[1:]))
        alone[family] = torch.einsum("csa,csna->na", weights_CSa[own], errors[own])
    squares_Fa = torch.stack([errors_na.square().mean(dim=0).clamp(min=1e-12) for errors_na in alone.values()])
    for family, share_a in zip(
        alone, (-FAMILY_TEMPERATURE / 2 * num_groups * squares_Fa.log()).softmax(dim=0), strict=True
    ):
        weights_CSa[[c for c, one in enumerate(families) if one == family]] *= share_a
    return _without_weak(weights_CSa), alone


def _without_weak(weights: Tensor) -> Tensor:
    """Leave out what hardly counts; the rest sums to one again, for each axis of ``(C, S, a)``."""
    kept_CSa = weights.masked_fill(weights < LEAST_WEIGHT * weights.amax(dim=(0, 1)), 0.0)
    return kept_CSa / kept_CSa.sum(dim=(0, 1))


def _decompose(kernel: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(kernel)
    return values.clamp(min=0.0), vectors


def _left_out(values: Tensor, vectors: Tensor, targets: Tensor, parts: Sequence[Sequence[int]]) -> Tensor:
    """Return the residuals of each part as predicted from the others, at each strength, shape ``(S, n, a)``."""
    scaled_Snn = vectors / (values + values.new_tensor(STRENGTHS)[:, None])[:, None]
    solved_Sna = scaled_Snn @ (vectors.T @ targets)
    residuals_Sna = torch.empty_like(solved_Sna)
    for part in parts:
        own = list(part)
        residuals_Sna[:, own] = torch.linalg.solve(scaled_Snn[:, own] @ vectors[own].T, solved_Sna[:, own])
    return residuals_Sna


def _fit(
    coefficients: Tensor,
    decomposed: Sequence[tuple[Tensor, Tensor]],
    distances: Tensor,
    targets: Tensor,
    rated: Tensor,
    axes: Sequence[int],
    weights: Tensor,
    terms: Sequence[tuple[Sequence[int], float]],
    candidates: Sequence[Sequence[int]],
) -> None:
    """Add to the coefficients ``(T, N, A)`` what each candidate with a weight gives, fitted to all rated clips.

    Their kernels are decomposed anew where ``decomposed`` is empty, since they were compared by fewer clips.
    """
    known_na = targets[rated][:, list(axes)]
    for number, (chosen, weights_Sa) in enumerate(zip(candidates, weights, strict=True)):
        if not bool(weights_Sa.any()):
            continue
        kernel_nn = None if decomposed else _kernel(distances, rated, rated, terms, chosen)
        values_n, vectors_nn = decomposed[number] if kernel_nn is None else _decompose(kernel_nn)
        shrunk_na = sum(
            weight_a / (values_n[:, None] + strength) for strength, weight_a in zip(STRENGTHS, weights_Sa, strict=True)
        )
        solved_na = vectors_nn @ (shrunk_na * (vectors_nn.T @ known_na))
        for term in chosen:
            coefficients[term, rated[:, None], list(axes)] += solved_na / len(chosen)


def predictive_factor(kernel: Tensor, strength: float, residuals: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return what gives the deviation of a new clip, so that those of the clips left out fit their residuals.

    The variance is :math:`\tau^2 (\lambda + 1 - k^\top C k)`, with :math:`\tau^2` the mean over clips of
    :math:`r_i^2 C_{ii}`, since :math:`1 / C_{ii}` is the variance of clip i as predicted from the others.

    Args:
        kernel: Kernel of the average, shape ``(N, N)``.
        strength: Its noise.
        residuals: Residuals of clips that were left out, shape ``(n, A)``; NaN where not rated.
        rows: These clips, shape ``(n,)``.

    Returns:
        R with :math:`R^\top R = C`, shape ``(N, N)``, and the variances :math:`\tau^2`, shape ``(A,)``.
    """
    values, vectors = _decompose(kernel)
    factor = (vectors / (values + strength).sqrt()).T
    precision_N = factor.square().sum(dim=0)
    return factor, (residuals.square() * precision_N[rows, None]).nanmean(dim=0)
