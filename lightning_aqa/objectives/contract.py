"""Promises of every objective, each as a check of one that is built anew; ``lightning-aqa check`` prints them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Batch, Output
from lightning_aqa.objectives.base import Objective
from lightning_aqa.utils.contracts import require, require_close

Build = Callable[[], Objective]
AXES = (Axis("MI", "Musical impression", 1, 5), Axis("PQ", "Quality", 0, 10))
NAN = math.nan
TARGETS: dict[str, list[list[float]]] = {
    "rated clips": [[1.0, 4.0], [3.0, 2.0], [5.0, 3.0]],
    "one clip": [[3.0, 2.0]],
    "ties alone": [[3.0, 2.0], [3.0, 2.0]],
    "some unrated": [[1.0, NAN], [NAN, NAN], [3.0, 2.0]],
    "an axis that nobody rated": [[1.0, NAN], [2.0, NAN]],
    "no rating at all": [[NAN, NAN], [NAN, NAN]],
}


class _Scale(nn.Module):
    """The part of a head that objectives read: its name and the scale of the training scores."""

    def __init__(self) -> None:
        super().__init__()
        self.axes = AXES
        self.register_buffer("location_A", torch.tensor([(axis.low + axis.high) / 2 for axis in AXES]))
        self.register_buffer("scale_A", torch.tensor([(axis.high - axis.low) / 4 for axis in AXES]))


class _Module(LightningModule):
    """The part of a module that objectives read when a fit starts."""

    def __init__(self) -> None:
        super().__init__()
        self.axes, self.head = list(AXES), _Scale()


def _started(build: Build) -> Objective:
    """Build an objective as it is once a fit has started."""
    objective = build()
    objective.on_fit_start(cast(Any, None), _Module())
    return objective


def _batch(targets: Sequence[Sequence[float]]) -> Batch:
    scores_BA = torch.tensor(targets)
    count = len(scores_BA)
    ids, empty = [str(row) for row in range(count)], [""] * count
    return Batch(torch.zeros(count, 0), torch.zeros(count).long(), scores_BA, ids, empty, empty, empty)


def step(targets: Sequence[Sequence[float]]) -> tuple[Output, Batch]:
    """Return an output that has every field, each with a graph, and the batch that it is of."""
    generator, count = torch.Generator().manual_seed(0), len(targets)

    def leaf(*sizes: int) -> Tensor:
        return torch.rand(count, *sizes, generator=generator).requires_grad_()

    frames, logits, scores, embedding = leaf(4, 2), leaf(2, 5), leaf(2), leaf(3)
    deviation = (0.5 + leaf(2).detach()).requires_grad_()
    mask = torch.ones(count, 4, dtype=torch.bool)
    return Output(scores, embedding, frames, mask, logits, deviation), _batch(targets)


def check_scalar(build: Build) -> None:
    """The loss is a finite scalar that keeps its graph: for one clip, ties, and ratings that are missing."""
    for name, targets in TARGETS.items():
        output, batch = step(targets)
        loss = _started(build).loss(output, batch)
        require(loss.shape == (), f"{name}: shape {list(loss.shape)}, expected a scalar")
        require(loss.isfinite(), f"{name}: the loss is {loss.item()}")
        require(loss.requires_grad, f"{name}: the loss has no graph; multiply a constant by output.scores.sum() * 0")
        loss.backward()  # type: ignore[no-untyped-call]
        grads = {field: tensor.grad for field, tensor in output._asdict().items() if tensor.grad is not None}
        bad = [field for field, grad in grads.items() if not grad.isfinite().all()]
        require(not bad, f"{name}: the gradient of {', '.join(bad)} is not finite")


def check_reads(build: Build) -> None:
    """reads_scores_alone says whether anything but the scores is read."""
    output, batch = step(TARGETS["rated clips"])
    objective = _started(build)
    objective.loss(output, batch).backward()  # type: ignore[no-untyped-call]
    read = [name for name, tensor in output._asdict().items() if tensor.grad is not None and name != "scores"]
    require(not (read and objective.reads_scores_alone), f"it is True, and the loss reads {', '.join(read)}")
    require(read or objective.reads_scores_alone, "it is False, and the loss reads nothing but scores")


def check_unrated(build: Build) -> None:
    """An objective on scores sees neither the order of clips nor what nobody rated."""
    if not build().reads_scores_alone:
        return
    scores, targets = [[2.0, 1.0], [1.0, 3.0], [2.5, 4.0]], [[1.0, 2.0], [3.0, NAN], [4.0, 3.0]]
    alone = _started(build).loss(_plain(scores), _batch(targets))
    output, batch = _plain([[math.inf, NAN], *scores[::-1]]), _batch([[NAN, NAN], *targets[::-1]])
    among = _started(build).loss(output, batch)
    among.backward()  # type: ignore[no-untyped-call]
    require_close(among, alone, "among unrated clips and in another order", within=1e-5 * max(1.0, abs(alone.item())))
    assert output.scores.grad is not None
    require((output.scores.grad[batch.scores.isnan()] == 0).all(), "scores that nobody rated receive a gradient")


def _plain(scores: Sequence[Sequence[float]]) -> Output:
    return Output(torch.tensor(scores).requires_grad_(), torch.zeros(len(scores), 2))


def check_half(build: Build) -> None:
    """Under bf16 autocast, and of half-precision scores, the loss is computed in float32."""
    exact = _started(build).loss(*step(TARGETS["rated clips"]))
    output, batch = step(TARGETS["rated clips"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = _started(build).loss(output, batch)
    require_close(found, exact, "under autocast", within=1e-5 * max(1.0, abs(exact.item())))
    half = _started(build).loss(output._replace(scores=output.scores.bfloat16()), batch)
    require(half.dtype == torch.float32, f"of bfloat16 scores it is {half.dtype}")


def check_not_a_number(build: Build) -> None:
    """A score that is not a number shows in the loss, so that a broken model is noticed."""
    if not build().reads_scores_alone:
        return
    loss = _started(build).loss(
        _plain([[NAN, 1.0], [1.0, 3.0], [2.5, 4.0]]), _batch([[1.0, 2.0], [3.0, 1.0], [4.0, 3.0]])
    )
    require(loss.isnan(), f"the loss is {loss.item():.3g}")


def check_nobody(build: Build) -> None:
    """The loss is zero where nobody is rated."""
    loss = _started(build).loss(*step(TARGETS["no rating at all"]))
    require(loss.item() == 0, f"the loss is {loss.item():.3g}")


def check_state(build: Build) -> None:
    """Its state is saved under its class and its name, and what it keeps is plain."""
    objective = _started(build)
    objective.name = "mine"
    expected = f"{type(objective).__qualname__}[mine]"
    require(objective.state_key == expected, f"state_key is {objective.state_key!r}, expected {expected!r}")
    other = _started(build)
    other.load_state_dict(objective.state_dict())


def check_parameters(build: Build) -> None:
    """It holds no parameters, which no optimiser would see."""
    held = [name for name, value in vars(build()).items() if isinstance(value, nn.Parameter | nn.Module)]
    require(not held, f"it holds {', '.join(held)}; what is trained belongs to a head")


CHECKS: tuple[Callable[[Build], None], ...] = (
    check_scalar, check_reads, check_unrated, check_half, check_not_a_number, check_nobody, check_state,
    check_parameters,
)  # fmt: skip
