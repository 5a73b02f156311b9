"""In which form features are kept: all frames, or no more of them than a head's pooling reads."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_aqa.batch import Features, Reads
from lightning_aqa.data.base import CachePrecision

RICHER: dict[Reads, tuple[Reads, ...]] = {"mean": ("mean_std", "frames"), "mean_std": ("frames",), "frames": ()}
"""For each kind of entry the kinds that it can be computed from."""


class Form(NamedTuple):
    """Form in which features are kept.

    Args:
        kind: What is kept of the frames of each layer: ``frames`` keeps them all; ``mean_std`` their mean and the
            covariance of the layers; ``mean`` their mean. Of the words of a prompt the last two keep the mean.
        precision: The dtype of the numbers; ``keep`` is the encoder's, at least float32 where they are pooled.
        layers: The encoder's layers that they come from; null is all.
    """

    kind: Reads = "frames"
    precision: CachePrecision = "keep"
    layers: tuple[int, ...] | None = None


def pack(features: Features, form: Form) -> dict[str, Tensor]:
    """Turn the features of one window (B = 1) into the tensors that are kept.

    Raises:
        ValueError: If a number is not finite, or is not in the precision that is asked for.
    """
    fields = {name: field for name, field in features._asdict().items() if field is not None}
    if form.kind != "frames":
        fields = _pooled(features, form.kind)
    tensors = {name: field[0].cpu() for name, field in fields.items()}
    return {name: _cast(name, tensor, form.precision).contiguous() for name, tensor in tensors.items()}


def _pooled(features: Features, kind: Reads) -> dict[str, Tensor]:
    dtype = torch.promote_types(features.layers.dtype, torch.float32)
    frames_FLD = features.layers[0].cpu().transpose(0, 1)[features.frame_mask[0].cpu()]
    parts = dict(zip(("mean", "factor"), moments(frames_FLD), strict=True)) if kind == "mean_std" else {}
    parts["mean"] = frames_FLD.double().mean(dim=0)
    fields = {name: part.to(dtype)[None] for name, part in parts.items()}
    if features.text is not None and features.text_mask is not None:
        text_WD = features.text[0].cpu().double()[features.text_mask[0].cpu()]
        fields["text"] = text_WD.mean(dim=0)[None, None].to(torch.promote_types(features.text.dtype, torch.float32))
    return fields


def _cast(name: str, tensor: Tensor, precision: CachePrecision) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if not torch.isfinite(tensor).all():
        raise ValueError(f"the encoder gives numbers that are not finite ({name}).")
    if precision == "keep":
        return tensor
    cast = tensor.to(torch.float16 if precision == "float16" else torch.float32)
    if not torch.isfinite(cast).all():
        largest = float(tensor.abs().max())
        limit = torch.finfo(cast.dtype).max
        raise ValueError(
            f"{name} reaches {largest:.5g}, and {precision} ends at {limit:.5g}: use --data.cache_precision=float32."
        )
    return cast


def unpack(tensors: dict[str, Tensor]) -> Features:
    """Turn kept tensors into features (B = 1) that the head cannot tell from the encoder's."""
    if "layers" in tensors:
        return Features(**{name: tensor[None] for name, tensor in tensors.items()})
    mean_LD = _wide(tensors["mean"])
    frames_LFD = frames_with(mean_LD, _wide(tensors["factor"])) if "factor" in tensors else mean_LD[:, None]
    mask_BF = torch.ones(1, frames_LFD.shape[1], dtype=torch.bool)
    text = tensors.get("text")
    if text is None:
        return Features(frames_LFD[None], mask_BF)
    return Features(frames_LFD[None], mask_BF, text[None], torch.ones(1, 1, dtype=torch.bool))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def moments(frames: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the mean over frames, and a factor of the covariance of the layers, for each dimension by itself.

    With :math:`x_f` the L numbers of one dimension in frame f, the factor R is upper triangular with

    .. math:: R^\top R = \frac{1}{F} \sum_f (x_f - \bar{x})(x_f - \bar{x})^\top.

    It gives the deviation of any mix :math:`w^\top x_f` of the layers, which is :math:`\lVert R w \rVert`; for one
    layer it is the population standard deviation. It comes from a QR decomposition, since the covariance itself would
    lose half of the digits.

    Args:
        frames: Hidden states, shape ``(F, L, D)``.

    Returns:
        Means ``(L, D)`` and the rows of R one after another, ``(L (L + 1) / 2, D)``; both float64.

    Example:
        >>> moments(torch.tensor([[[1.0]], [[3.0]]]))
        (tensor([[2.]], dtype=torch.float64), tensor([[1.]], dtype=torch.float64))
    """
    frames_FLD = frames.double()
    num_frames, num_layers, _ = frames_FLD.shape
    mean_LD = frames_FLD.mean(dim=0)
    centred_DFL = (frames_FLD - mean_LD).permute(2, 0, 1) / num_frames**0.5
    upper_DKL = torch.linalg.qr(centred_DFL, mode="r").R
    upper_DKL = upper_DKL * torch.where(upper_DKL.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0)[..., None]
    upper_DLL = pad(upper_DKL, (0, 0, 0, num_layers - upper_DKL.shape[1]))
    rows, columns = torch.triu_indices(num_layers, num_layers)
    return mean_LD, upper_DLL[:, rows, columns].T


@cache
def contrasts(num_layers: int) -> Tensor:
    r"""Return L orthogonal columns of L + 1 numbers that sum to 0 (Helmert's), their squares to L + 1.

    Example:
        >>> contrasts(1)
        tensor([[ 1.],
                [-1.]], dtype=torch.float64)
    """
    size = num_layers + 1
    order_K = torch.arange(1, size, dtype=torch.float64)
    place_F = torch.arange(size)[:, None]
    columns_FK = torch.where(place_F < order_K, 1.0, torch.where(place_F == order_K, -order_K, 0.0))
    return columns_FK * (size / (order_K * (order_K + 1))).sqrt()


def frames_with(mean: Tensor, factor: Tensor) -> Tensor:
    """Return L + 1 frames with a given mean and covariance; for one layer, mean plus and mean minus deviation.

    Args:
        mean: Means, shape ``(L, D)``.
        factor: What ``moments`` gives for the covariance, shape ``(L (L + 1) / 2, D)``.

    Returns:
        Frames of the dtype of the mean, shape ``(L, L + 1, D)``.

    Example:
        >>> frames_with(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        tensor([[[3.],
                 [1.]]])
    """
    num_layers, width = mean.shape
    rows, columns = torch.triu_indices(num_layers, num_layers)
    upper_KLD = factor.new_zeros(num_layers, num_layers, width)
    upper_KLD[rows, columns] = factor
    contrasts_FK = contrasts(num_layers).to(factor.dtype)
    deviations_FLD = torch.einsum("fk,kld->fld", contrasts_FK, upper_KLD)
    return (mean + deviations_FLD).transpose(0, 1)
