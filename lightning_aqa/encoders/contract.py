"""Promises of every encoder, each as a check of one that is built anew; ``lightning-aqa check`` prints them."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.utils.contracts import require, require_close, without_gradient

Build = Callable[[], Encoder]
SECONDS = (2.0, 0.05, 0.7, 1.0, 0.333, 1.999, 0.064, 1.5)
"""Lengths of the clips that an encoder is tried with; those under its ``min_seconds`` are made that long."""


def _clips(encoder: Encoder) -> tuple[Tensor, Tensor]:
    """Return noise of several lengths, shape ``(B, T)``, and the lengths in samples."""
    generator = torch.Generator().manual_seed(1)
    lengths = [math.ceil(encoder.sample_rate * max(seconds, encoder.min_seconds)) for seconds in SECONDS]
    num_samples = torch.tensor(lengths)
    waveform_BT = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator)
    return waveform_BT * (torch.arange(waveform_BT.shape[1]) < num_samples[:, None]), num_samples


def _require_same(one: Features, other: Features, where: str) -> None:
    require(torch.equal(one.frame_mask, other.frame_mask), f"{where}: other frames are valid")
    require_close(one.layers, other.layers, where)


def check_sizes(build: Build) -> None:
    """Rate, width and number of layers are whole numbers above 0, and times are in order."""
    encoder = build()
    for name in ("sample_rate", "width", "num_layers"):
        value = getattr(encoder, name, None)
        require(isinstance(value, int) and value > 0, f"{name} is {value!r}, expected a whole number above 0")
    window = encoder.window_seconds
    require(encoder.min_seconds >= 0, f"min_seconds is {encoder.min_seconds!r}, expected 0 or more")
    require(
        window is None or window >= max(encoder.min_seconds, 1e-9),
        f"window_seconds is {window!r} and min_seconds {encoder.min_seconds!r}: no window is long enough",
    )


def check_shapes(build: Build) -> None:
    """Layers (B, L, F, D) are float32 and the mask (B, F) is bool; every clip has a frame, the longest all."""
    encoder = build().eval()
    layers, mask, *_ = encoder(*_clips(encoder))
    expected = [len(SECONDS), encoder.num_layers, mask.shape[1], encoder.width]
    require(list(layers.shape) == expected, f"layers have shape {list(layers.shape)}, expected {expected}")
    require(mask.shape[0] == len(SECONDS) and mask.ndim == 2, f"the mask has shape {list(mask.shape)}")
    require(layers.dtype == torch.float32, f"layers are {layers.dtype}")
    require(mask.dtype == torch.bool, f"the mask is {mask.dtype}")
    without = [SECONDS[row] for row in (~mask.any(dim=1)).nonzero().flatten().tolist()]
    require(not without, f"clips of {without} s have no frame; say the shortest as min_seconds")
    require(mask[0].all(), "the longest clip of the batch has frames that are not valid")


def check_frames(build: Build) -> None:
    """Valid frames come first; padded frames hold zeros."""
    encoder = build().eval()
    layers, mask, *_ = encoder(*_clips(encoder))
    require(torch.equal(mask, mask.long().cummin(dim=1).values.bool()), "a valid frame comes after one that is not")
    require(not layers.masked_select(~mask[:, None, :, None]).any(), "padded frames hold other numbers than 0")
    require(layers[:, :, 0].any(dim=-1).all(), "the first frame of a clip of noise is all zeros")


def check_batch(build: Build) -> None:
    """A clip depends neither on its batch mates nor on how far it is padded."""
    encoder = build().eval()
    waveform, num_samples = _clips(encoder)
    together = encoder(waveform, num_samples)
    for row, length in enumerate(num_samples.tolist()):
        where = f"a clip of {length / encoder.sample_rate:.3g} s alone and in a batch"
        alone = encoder(waveform[row : row + 1, :length], num_samples[row : row + 1])
        frames = alone.frame_mask.shape[1]
        require(alone.frame_mask.all(), f"{where}: alone it has frames that are not valid")
        count = int(together.frame_mask[row].sum())
        require(count == frames, f"{where}: {count} frames in the batch, {frames} alone")
        require_close(together.layers[row, :, :frames], alone.layers[0], where)


def check_padding(build: Build) -> None:
    """A clip does not depend on what its padding holds."""
    encoder = build().eval()
    waveform, num_samples = _clips(encoder)
    is_padding = torch.arange(waveform.shape[1]) >= num_samples[:, None]
    clean = encoder(waveform, num_samples)
    for held in (5.0, math.nan):
        _require_same(
            encoder(waveform.masked_fill(is_padding, held), num_samples), clean, f"padding of {held} and of 0"
        )


def check_order(build: Build) -> None:
    """Permuting the batch permutes the features."""
    encoder = build().eval()
    waveform, num_samples = _clips(encoder)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    expected = encoder(waveform, num_samples)
    permuted = Features(expected.layers[order], expected.frame_mask[order])
    _require_same(encoder(waveform[order], num_samples[order]), permuted, "clips in another order")


def check_short(build: Build) -> None:
    """A clip of 50 ms, or of min_seconds where that is longer, gives a frame."""
    encoder = build().eval()
    length = math.ceil(max(0.05, encoder.min_seconds) * encoder.sample_rate)
    layers, mask, *_ = encoder(0.1 * torch.ones(1, length), torch.tensor([length]))
    require(mask.shape[1] >= 1 and mask.all(), f"{length} samples give {int(mask.sum())} frames")
    require(layers.isfinite().all(), f"the features of {length} samples are not finite")


def check_silence(build: Build) -> None:
    """The features of silence are finite."""
    encoder = build().eval()
    length = math.ceil(max(1.0, encoder.min_seconds) * encoder.sample_rate)
    layers = encoder(torch.zeros(2, length), torch.full((2,), length)).layers
    require(layers.isfinite().all(), "the features of silence are not finite")


def check_waveform(build: Build) -> None:
    """The waveform that is given is left as it was."""
    encoder = build().eval()
    waveform, num_samples = _clips(encoder)
    before = waveform.clone()
    encoder(waveform, num_samples)
    require(torch.equal(waveform, before), "forward changed the waveform in place")


def check_gradients(build: Build) -> None:
    """Every parameter receives a finite gradient, so that none is left out of fine-tuning."""
    encoder = build().train()
    layers = encoder(*_clips(encoder)).layers
    parameters = dict(encoder.named_parameters())
    if not parameters:
        require(not layers.requires_grad, "there are no parameters, and the features ask for a gradient")
        return
    (layers * torch.randn(layers.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    without = without_gradient(parameters)
    require(
        not without, f"none reaches {', '.join(without[:5])}" + f" and {len(without) - 5} more" * (len(without) > 5)
    )


def check_autocast(build: Build) -> None:
    """Under bf16 autocast the features are float32 and close to the exact ones."""
    encoder = build().eval()
    waveform, num_samples = _clips(encoder)
    exact = encoder(waveform, num_samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layers, mask, *_ = encoder(waveform, num_samples)
    require(layers.dtype == torch.float32, f"layers are {layers.dtype}")
    require(torch.equal(mask, exact.frame_mask), "other frames are valid")
    share = ((layers - exact.layers).square().mean() / exact.layers.square().mean()).item()
    require(share < 1e-3, f"the squared error is {share:.1g} of the features, expected under 1e-3")


def check_state(build: Build) -> None:
    """A copy that is given the state computes the same."""
    encoder = build().eval()
    other = deepcopy(encoder)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(encoder.state_dict())
    clips = _clips(encoder)
    _require_same(other(*clips), encoder(*clips), "after load_state_dict")


CHECKS: tuple[Callable[[Build], None], ...] = (
    check_sizes, check_shapes, check_frames, check_batch, check_padding, check_order, check_short, check_silence,
    check_waveform, check_gradients, check_autocast, check_state,
)  # fmt: skip
