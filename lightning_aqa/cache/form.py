"""In which form features are kept: all frames, or no more of them than a head's pooling reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_aqa.batch import Features
from lightning_aqa.cache.moments import frames_with, moments
from lightning_aqa.data.base import CacheForm, CachePrecision
from lightning_aqa.heads.base import Head, Reads
from lightning_aqa.heads.pooling import masked_mean

RICHER: dict[Reads, tuple[Reads, ...]] = {"mean": ("mean_std", "frames"), "mean_std": ("frames",), "frames": ()}
"""For each kind of entry the kinds that it can be computed from."""


class Form(NamedTuple):
    """How features are kept.

    Args:
        kind: What is kept of the frames of each layer: ``frames`` keeps them all; ``mean_std`` their mean and the
            covariance of the layers; ``mean`` their mean. Of the words of a prompt the last two keep the mean.
        precision: The dtype of the numbers; ``keep`` is the encoder's, at least float32 where they are pooled.
        layers: The encoder's layers that they come from; null is all.
    """

    kind: Reads = "frames"
    precision: CachePrecision = "keep"
    layers: tuple[int, ...] | None = None


def choose_kind(choice: CacheForm, head: Head) -> Reads:
    """Return what is kept for a head: what it reads, or all frames.

    Raises:
        ValueError: If no more than the pooled form is wanted, and the head reads frames.
    """
    if choice == "pooled" and head.reads == "frames":
        raise ValueError(
            f"--data.cache_form=pooled keeps mean and deviation over the frames, and {type(head).__name__} as it is "
            "set up reads the frames themselves: use --data.cache_form=auto, or a head that pools, such as "
            "--model.head=MLP --model.head.pooling=mean_std."
        )
    return "frames" if choice == "frames" else head.reads


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
        text_BD = masked_mean(features.text.cpu().double(), features.text_mask.cpu())
        fields["text"] = text_BD[:, None].to(torch.promote_types(features.text.dtype, torch.float32))
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
