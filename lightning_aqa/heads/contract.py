"""Promises of every head, each as a check of one that is built anew; ``lightning-aqa check`` prints them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.utils.contracts import require, require_close, without_gradient

Build = Callable[[int, int, Sequence[Axis], int | None], Head]
AXES = (Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5), Axis("PQ", "Quality", 0, 10))
LENGTHS = torch.tensor([40, 1, 13, 40, 2, 25, 7, 39])
"""Frames of the clips that a head is tried with."""
WIDTH, LAYERS, TEXT_WIDTH = 12, 3, 5


def built(build: Build) -> Head:
    """Build a head for an encoder with a text side, away from its start, where zeros would hide what lies below."""
    torch.manual_seed(0)
    head = build(WIDTH, LAYERS, AXES, TEXT_WIDTH)
    head.fit_scale(torch.tensor([2.5, 3.0, 7.0]), torch.tensor([0.5, 1.0, 2.0]))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head.eval()


def _without_text(build: Build) -> Head | None:
    """Build a head for an encoder without a text side; None where it says that it needs one."""
    try:
        return build(WIDTH, LAYERS, AXES, None)
    except ValueError:
        return None


def features() -> Features:
    """Return the features of eight clips, padded with zeros."""
    generator = torch.Generator().manual_seed(1)
    frame_mask = torch.arange(40) < LENGTHS[:, None]
    text_mask = torch.arange(6) < torch.tensor([6, 1, 3, 4, 2, 6, 5, 1])[:, None]
    layers = torch.randn(8, LAYERS, 40, WIDTH, generator=generator).masked_fill(~frame_mask[:, None, :, None], 0.0)
    text = torch.randn(8, 6, TEXT_WIDTH, generator=generator).masked_fill(~text_mask[..., None], 0.0)
    return Features(layers, frame_mask, text, text_mask)


def _rows(given: Features, rows: Tensor, frames: int = 40) -> Features:
    assert given.text is not None
    assert given.text_mask is not None
    return Features(given.layers[rows, :, :frames], given.frame_mask[rows, :frames], given.text[rows],
                    given.text_mask[rows])  # fmt: skip


def _require_same(one: Output, other: Output, where: str) -> None:
    for name in ("scores", "embedding", "logits", "deviation"):
        found, expected = getattr(one, name), getattr(other, name)
        if found is not None and expected is not None:
            size = max(1.0, float(expected.detach().abs().max()))
            require_close(found, expected, f"{where}: {name}", within=1e-5 * size)


def check_shapes(build: Build) -> None:
    """Scores (B, A), embedding (B, E) and all else that a head gives have the promised shapes."""
    output, given = built(build)(features()), features()
    shape = list(output.scores.shape)
    require(shape == [8, 3], f"scores have shape {shape}, expected [8, 3] for eight clips and three axes")
    require(output.embedding.ndim == 2 and len(output.embedding) == 8, f"embedding: {list(output.embedding.shape)}")
    if output.frame_scores is not None:
        require(output.frame_scores.shape == (8, 40, 3), f"frame_scores: {list(output.frame_scores.shape)}")
        is_same = output.frame_mask is not None and torch.equal(output.frame_mask, given.frame_mask)
        require(is_same, "frame_mask is not that of the features")
    for name, value in (("deviation", output.deviation), ("logits", output.logits)):
        require(value is None or value.shape[:2] == (8, 3), f"{name} is not (8, 3, ...)")


def check_reads(build: Build) -> None:
    """A head that computes states in ``reads`` what it reads, or reads all frames."""
    head = built(build)
    require(head.reads in get_args(Reads), f"reads is {head.reads!r}, expected one of {get_args(Reads)}")
    require(head.states_reads() or head.reads == "frames", "reads is of the class above, which reads something else")


def check_text(build: Build) -> None:
    """Built for an encoder without a text side it needs no text, or says so at once."""
    head = _without_text(build)
    if head is not None:
        shape = list(head.eval()(Features(*features()[:2])).scores.shape)
        require(shape == [8, 3], f"scores have shape {shape}, expected [8, 3]")


def check_batch(build: Build) -> None:
    """A clip depends neither on its batch mates nor on padding."""
    head, given = built(build), features()
    together = head(given)
    for row, length in enumerate(LENGTHS.tolist()):
        where = f"a clip of {length} frames alone and in a batch"
        alone = head(_rows(given, torch.tensor([row]), length))
        own = {name: field[row : row + 1] for name, field in together._asdict().items() if field is not None}
        _require_same(alone, Output(**own), where)
        if together.frame_scores is not None:
            require_close(alone.frame_scores, together.frame_scores[row : row + 1, :length], f"{where}: frame_scores")
            require(not together.frame_scores[row, length:].any(), "padded frames have scores other than 0")


def check_order(build: Build) -> None:
    """Permuting the batch permutes the output."""
    head, order = built(build), torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    expected = head(features())
    permuted = Output(expected.scores[order], expected.embedding[order])
    _require_same(head(_rows(features(), order)), permuted, "clips in another order")


def check_inference(build: Build) -> None:
    """Evaluation without gradients gives the same scores."""
    head = built(build)
    with torch.inference_mode():
        found = head(features())
    _require_same(found, head(features()), "without gradients")


def check_gradients(build: Build) -> None:
    """Every parameter receives a finite gradient of the scores."""
    head = built(build).train()
    output = head(features())
    weights = torch.randn(output.scores.shape, generator=torch.Generator().manual_seed(2))
    (output.scores * weights).sum().backward()
    without = without_gradient(dict(head.named_parameters()))
    require(not without, f"none reaches {', '.join(without)}")


def check_silence(build: Build) -> None:
    """For silence and for one frame the scores, and the gradient into the features, are finite."""
    layers = torch.zeros(2, LAYERS, 3, WIDTH, requires_grad=True)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    text, text_mask = torch.zeros(2, 1, TEXT_WIDTH), torch.ones(2, 1, dtype=torch.bool)
    output = built(build)(Features(layers, mask, text, text_mask))
    (output.scores.sum() + output.embedding.square().sum()).backward()
    require(output.scores.isfinite().all(), "the scores are not finite")
    require(layers.grad is not None and layers.grad.isfinite().all(), "the gradient is missing or not finite")


def check_autocast(build: Build) -> None:
    """Under bf16 autocast scores and embedding are float32, and the scores within .05 points of the exact ones."""
    head = built(build)
    exact = head(features())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(features())
    require(output.scores.dtype == torch.float32, f"scores are {output.scores.dtype}")
    require(output.embedding.dtype == torch.float32, f"the embedding is {output.embedding.dtype}")
    require_close(output.scores, exact.scores, "scores under autocast", within=0.05)


def check_last_layer(build: Build) -> None:
    """The last linear layer runs in float32 under bf16 autocast, which would round scores to two digits."""
    called: list[tuple[torch.dtype, bool]] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        called.append((inputs[0].dtype, torch.is_autocast_enabled("cpu")))

    head = built(build)
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(look)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        head(features())
    require(not called or called[-1] == (torch.float32, False), "it runs under autocast; leave that for the last layer")


def check_state(build: Build) -> None:
    """The state of a head, with the scale of the training scores, makes another one compute the same."""
    head, other = built(build), build(WIDTH, LAYERS, AXES, TEXT_WIDTH).eval()
    other.load_state_dict(head.state_dict())
    _require_same(other(features()), head(features()), "after load_state_dict")


def check_learning(build: Build) -> None:
    """A fresh head learns to tell high from low within 25 steps."""
    torch.manual_seed(0)
    head, given = _without_text(build) or build(WIDTH, LAYERS, AXES, TEXT_WIDTH), features()
    target_BA = torch.where(torch.arange(8)[:, None] % 2 == 0, 1.5, 4.5).expand(8, len(AXES))
    shift_B = target_BA[:, 0] - 3.0  # of either sign, since a head may normalise the length of what it reads away
    given = given._replace(layers=given.layers + shift_B[:, None, None, None])
    head.fit_scale(target_BA.mean(dim=0), target_BA.std(dim=0))
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = (head(given).scores - target_BA).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    require(losses[-1] < 0.8 * losses[0], f"the squared error goes from {losses[0]:.3g} to {losses[-1]:.3g} alone")


CHECKS: tuple[Callable[[Build], None], ...] = (
    check_shapes, check_reads, check_text, check_batch, check_order, check_inference, check_gradients, check_silence,
    check_autocast, check_last_layer, check_state, check_learning,
)  # fmt: skip
