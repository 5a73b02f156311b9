"""The head for small studies: Gaussian processes on frozen features, fitted and chosen between in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Batch, Features, Output, Part, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.clip_rows import rows_of_clips
from lightning_aqa.heads.kernel_average import WIDTHS, Average, average, kernels, predictive_factor
from lightning_aqa.heads.pooling import Standardise, masked_mean_std
from lightning_aqa.utils.distributed import gather_objects, gather_rows

MOST_CENTRES = 2000
"""Clips that a probe keeps; of more, an even draw."""

SAME = 1e-6
"""Mean squared distance, in standardised features, under which two rows are one."""
MOST_NAMED = 20
"""Clips to name in a message."""


class Share(NamedTuple):
    """One encoder's part in a fitted probe.

    Args:
        name: The encoder.
        weight: Sum of the weights of what reads it, mean over the axes; what reads all encoders counts for each in
            equal parts.
        layers: Weight of each of its layers, from the lowest.
        left_out: Standardised scores that clips would have got from it alone, each left out of the fit, ``(n, A)``.
        targets: Their standardised scores, shape ``(n, A)``; NaN where not rated.
    """

    name: str
    weight: float
    layers: tuple[float, ...]
    left_out: Tensor
    targets: Tensor


def _check_finite(ids: Sequence[str], pooled_NE: Tensor) -> None:
    is_finite_N = pooled_NE.isfinite().all(dim=1).tolist()
    bad = [id_ for id_, is_finite in zip(ids, is_finite_N, strict=True) if not is_finite]
    if bad:
        named = ", ".join(bad[:MOST_NAMED]) + (f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else "")
        raise ValueError(
            f"The features of {len(bad)} of {len(ids)} clips are not finite: {named}. Listen to these clips and leave "
            "them out, or take another encoder or precision."
        )


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return squared distances ``(B, N)``; a product would lose digits, and differ with the size of the batch."""
    if torch.compiler.is_exporting():  # ONNX has no such operator
        return (left[:, None] - right[None]).square().sum(-1)
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist").square()


class Probe(Head):
    r"""Score a clip by Gaussian processes on the pooled layers of a frozen encoder, fitted before the first step.

    Each layer of each encoder is pooled over the frames to a mean and a deviation, which are standardised. A kernel
    :math:`e^{-\gamma \lVert x - x' \rVert^2 / D}` reads the means, the deviations or both of a layer, and the mean of
    such kernels reads all layers, or all encoders; :math:`\gamma` runs from nearly linear to local. Each of these
    Gaussian processes, at each of 11 strengths of smoothing, predicts every clip of the training set from the other
    parts of an inner cross-validation that keeps together what the splits keep together. A clip of several windows is
    there as a whole and by windows of it, so that what varies within clips counts for less. The probe is their average,
    weighted by :math:`\mathrm{MSE}^{-n/10}` for n clips, so that what predicts best counts most and what cannot be told
    apart counts alike. Of several encoders each has such an average, and so have the kernels that read all; these are
    weighted by :math:`\mathrm{MSE}^{-n/2}`. Nothing is drawn at random.

    ``Output.deviation`` is the standard deviation of a new clip's mean rating about its prediction. It grows away from
    the training clips, and is scaled so that it fits the errors of the inner cross-validation.

    With ``trainer.max_epochs`` above 0 the objectives train a linear map of the same pooled features on top; it starts
    at zero, so that the first step starts from the fitted prediction. ``Output.embedding`` is these features, which no
    training changes: an objective that reads it, such as the triplet loss, has no effect.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the text states, which are not read.
        dropout: Probability of dropping each input of the linear map in training.

    Raises:
        ValueError: If ``dropout`` is not a probability under 1.

    Reference:
        See ``heads/kernel_average.py``.

    Example:
        >>> probe = Probe(4, 2, [Axis("mos", "MOS", 1, 5)])
        >>> probe(Features(torch.ones(3, 2, 5, 4), torch.ones(3, 5, dtype=torch.bool))).scores.detach().flatten()
        tensor([3., 3., 3.])
    """

    reads_clips = True
    sized_by_data = ("centres_NE", "coefficients_TNA", "factor_NN", "left_out_NA")
    centres_NE: Tensor
    coefficients_TNA: Tensor
    factor_NN: Tensor
    left_out_NA: Tensor
    variance_A: Tensor
    term_weights_T: Tensor
    noise: Tensor

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(width, num_layers, axes, text_width)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and under 1, got {dropout}.")
        self.dropout = nn.Dropout(dropout)
        self.shares: list[Share] = []
        self.take_parts([Part("", 0, width, tuple(range(num_layers)))])

    def take_parts(self, parts: Sequence[Part]) -> None:
        """Learn which encoders' hidden states lie side by side; see ``Head.take_parts``."""
        self.parts = tuple(parts)
        self.sources = [(part, layer) for part in self.parts for layer in part.layers]
        self.block_sizes = [part.width for part, _ in self.sources for _ in range(2)]
        self._list_terms()
        num_axes, size = len(self.axes), sum(self.block_sizes)
        self.standardise = Standardise(size)
        self.linear = nn.Linear(size, num_axes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        for name, shape in {
            "centres_NE": (0, size),
            "coefficients_TNA": (len(self.terms), 0, num_axes),
            "factor_NN": (0, 0),
            "left_out_NA": (0, num_axes),
            "variance_A": (num_axes,),
            "term_weights_T": (len(self.terms),),
            "noise": (),
        }.items():
            self.register_buffer(name, torch.zeros(shape))

    def _list_terms(self) -> None:
        """List the kernels, and the sets of them whose means are candidates, each with the encoder that it reads."""
        self.terms: list[tuple[list[int], float]] = []
        self.candidates: list[list[int]] = []
        self.readers: list[int | None] = []
        self.term_sources: list[int] = []
        whole: dict[float, list[list[int]]] = {width: [] for width in WIDTHS}
        for number, part in enumerate(self.parts):
            first = next(i for i, (one, _) in enumerate(self.sources) if one is part)
            both: dict[float, list[int]] = {width: [] for width in WIDTHS}
            for source in range(first, first + len(part.layers)):
                for blocks in ([2 * source, 2 * source + 1], [2 * source], [2 * source + 1]):
                    for width in WIDTHS:
                        if len(blocks) == 2:
                            both[width].append(len(self.terms))
                        self._add([len(self.terms)], number)
                        self.terms.append((blocks, width))
                        self.term_sources.append(source)
            for width, terms in both.items():
                whole[width].append(terms)
                if len(terms) > 1:
                    self._add(terms, number)
        if len(self.parts) > 1:
            for sets in whole.values():
                self._add([term for terms in sets for term in terms], None)

    def _add(self, candidate: list[int], reader: int | None) -> None:
        self.candidates.append(candidate)
        self.readers.append(reader)

    @property
    def reads(self) -> Reads:
        """The mean and deviation over the frames."""
        return "mean_std"

    def pool(self, features: Features) -> Tensor:
        """Return mean and deviation over the frames of each layer, one after another, shape ``(B, E)``."""
        blocks = []
        for part, layer in self.sources:
            frames_BFD = features.layers[:, layer, :, part.start : part.start + part.width]
            blocks.append(masked_mean_std(frames_BFD.to(self.location_A.dtype), features.frame_mask))
        return torch.cat(blocks, dim=1)

    @torch.no_grad()
    def fit_clips(self, windows: Iterable[tuple[Features, Batch]], group_of: Callable[[str], str] = str) -> None:
        """Fit and weight the Gaussian processes, to each clip as a whole and to its windows.

        Raises:
            ValueError: If there are no clips, or the features of some are not finite.
        """
        from lightning_aqa.heads.fitting import fit_scale

        ids, pooled_NE, scores_NA = self._clips(windows)
        num_clips = len(set(ids))  # which come first
        _check_finite(ids, pooled_NE)
        if num_clips > MOST_CENTRES:
            rank_zero_warn(
                f"Probe keeps {MOST_CENTRES} of the {num_clips} clips, evenly drawn, and is fitted to these."
            )
        fit_scale(self, scores_NA[:num_clips])
        mean_A = (
            scores_NA[:num_clips].nanmean(0).to(self.location_A)
        )  # what the processes go back to, also where all scores agree
        self.location_A.copy_(torch.where(mean_A.isnan(), self.location_A, mean_A))
        std_E, mean_E = torch.std_mean(pooled_NE, dim=0, correction=0)
        self.standardise.fit(mean_E, std_E)
        pooled_NE = pooled_NE.to(self.location_A)
        kept = torch.arange(0, len(ids), max(1.0, len(ids) / MOST_CENTRES)).long()
        centres_NE = self.standardise(pooled_NE[kept])
        targets_NA = ((scores_NA - self.location_A.cpu()) / self.scale_A.cpu()).double()[kept]
        groups = [group_of(ids[i]) for i in kept.tolist()]
        distances_KNN = self._distances(centres_NE.double(), centres_NE.double()).cpu()
        found = average(distances_KNN, targets_NA, groups, self.terms, self.candidates, self.readers)
        self._keep(found, centres_NE, distances_KNN)
        left_out_NA = torch.full_like(targets_NA, torch.nan)
        left_out_NA[found.rows] = targets_NA[found.rows] - found.residuals
        self.left_out_NA = left_out_NA.to(self.location_A)
        self.shares = self._judge(found, targets_NA, int((kept < num_clips).sum()))

    def _clips(self, windows: Iterable[tuple[Features, Batch]]) -> tuple[list[str], Tensor, Tensor]:
        """Return clip, pooled features and scores of each row that is fitted, of all processes."""
        ids, rows, weights, scores = list[str](), list[Tensor](), list[Tensor](), list[Tensor]()
        for features, batch in windows:
            pooled_BE = self.pool(features)
            ids += batch.ids
            rows.append(pooled_BE)
            weights.append(torch.ones(len(pooled_BE)) if batch.weights is None else batch.weights.float())
            scores.append(batch.scores)
        if not ids:
            raise ValueError("A probe needs the features of the training clips, got none.")
        ids = gather_objects(ids)
        everything = [gather_rows(torch.cat(parts).to(rows[0].device)).cpu() for parts in (rows, weights, scores)]
        return rows_of_clips(ids, everything[0].double(), everything[1].double(), everything[2], self.block_sizes)

    def _distances(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the mean squared distances in each block, shape ``(K, B, N)``."""
        pairs = zip(torch.split(left, self.block_sizes, 1), torch.split(right, self.block_sizes, 1), strict=True)
        return torch.stack([_squared_distances(a, b) / a.shape[1] for a, b in pairs])

    def _keep(self, found: Average, centres: Tensor, distances: Tensor) -> None:
        """Take over what a prediction needs."""
        weights_T = distances.new_zeros(len(self.terms))
        for candidate, weight in zip(self.candidates, found.weights.mean(dim=1).tolist(), strict=True):
            weights_T[candidate] += weight / len(candidate)
        if not bool(weights_T.any()):
            weights_T += 1.0
        weights_T /= weights_T.sum()
        kernel_NN = torch.einsum("t,tij->ij", weights_T, kernels(distances, self.terms))
        factor_NN, variance_A = predictive_factor(kernel_NN, found.strength, found.residuals, found.rows)
        self.centres_NE = centres.to(self.location_A)
        self.coefficients_TNA = found.coefficients.to(self.location_A)
        self.factor_NN = factor_NN.to(self.location_A)
        self.variance_A.copy_(torch.where(variance_A > 1e-10, variance_A, 1.0))  # else there was nothing to go by
        self.term_weights_T.copy_(weights_T)
        self.noise.fill_(found.strength)

    def _judge(self, found: Average, targets: Tensor, num_clips: int) -> list[Share]:
        """Tell what each encoder counts for, and what it would have given alone."""
        shares = []
        weights_C = found.weights.mean(dim=1)
        joint = sum(float(w) for w, reader in zip(weights_C, self.readers, strict=True) if reader is None)
        for number, part in enumerate(self.parts):
            own = [c for c, reader in enumerate(self.readers) if reader == number]
            weight_L = torch.zeros(len(self.sources)).index_add_(
                0, torch.tensor(self.term_sources), self.term_weights_T.cpu().float()
            )[[source is part for source, _ in self.sources]]
            weight = float(weights_C[own].sum()) + joint / len(self.parts)
            is_whole = found.rows < num_clips
            known = targets[found.rows][is_whole]
            left_out = known - found.alone[number][is_whole]
            shares.append(Share(part.name, weight, tuple(weight_L.tolist()), left_out, known))
        return shares

    def _as_left_out(self, fitted: Tensor, distances: Tensor) -> Tensor:
        """Return for rows that it was fitted to what the other parts predict."""
        nearest_B, row_B = distances.mean(dim=0).min(dim=1)
        left_out_BA = self.left_out_NA[row_B]
        is_known_BA = (nearest_B < SAME)[:, None] & ~left_out_BA.isnan()
        return torch.where(is_known_BA, left_out_BA, fitted)

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``."""
        with torch.autocast(features.layers.device.type, enabled=False):
            values_BE = self.standardise(self.pool(features))
            standardised_BA = self.linear(self.dropout(values_BE))
            deviation_BA = self.scale_A.expand(len(values_BE), -1)
            if len(self.centres_NE):
                distances_KBN = self._distances(values_BE, self.centres_NE)
                kernels_TBN = kernels(distances_KBN, self.terms)
                fitted_BA = torch.einsum("tbn,tna->ba", kernels_TBN, self.coefficients_TNA)
                if self.training:
                    fitted_BA = self._as_left_out(fitted_BA, distances_KBN)
                standardised_BA = standardised_BA + fitted_BA
                average_BN = torch.einsum("t,tbn->bn", self.term_weights_T, kernels_TBN)
                known_B = (average_BN @ self.factor_NN.T).square().sum(dim=1)
                spread_B = (self.noise + 1 - known_B).clamp(min=1e-6)
                deviation_BA = self.scale_A * (spread_B[:, None] * self.variance_A).sqrt()
            return Output(self.location_A + self.scale_A * standardised_BA, values_BE, deviation=deviation_BA)
