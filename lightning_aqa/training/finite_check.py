"""Stop a training whose loss or gradient is no longer a number, and say where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lightning_aqa.batch import Output
from lightning_aqa.module import AQAModule

MOST_CLIPS = 20
"""Clips to name in a message."""


class NonFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite; all processes find it at once."""


class FiniteCheck(L.Callback):
    """Check the loss of every batch, and the gradient of every optimiser step before it is used."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Refuse a loss that is not finite, or that nothing trained has a part in."""
        if not loss.requires_grad:
            head = type(pl_module.head).__name__
            raise ValueError(
                f"No objective reaches a parameter that is trained: {head} gives these what training does not change. "
                "Add one that reads scores, such as --objectives.mse=Regression."
            )
        assert isinstance(pl_module, AQAModule)
        assert pl_module.step is not None
        check_loss(*pl_module.step, trainer)
        self.ids += pl_module.step.ids

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Refuse a gradient that is not finite."""
        ids, self.ids = self.ids, []
        check_gradient(pl_module.named_parameters(), ids, trainer)


def check_loss(total: Tensor, terms: Mapping[str, Tensor], output: Output, ids: Sequence[str], trainer: Any) -> None:
    """Look at the loss of a batch before anything is trained on it.

    Args:
        total: Weighted sum of the terms, scalar.
        terms: The terms by the names of their objectives, scalars.
        output: What the terms were computed from.
        ids: The clips, of all processes.
        trainer: Where the training stands.

    Raises:
        NonFiniteError: If the loss is NaN or infinite: with the objectives, the clips and the last checkpoint.
    """
    if torch.isfinite(total):
        return
    wrong = [f"{name} ({term.item():g})" for name, term in terms.items() if not torch.isfinite(term)] or ["their sum"]
    bad_B = ~torch.stack([field.flatten(1).isfinite().all(1) for field in output if field is not None]).all(0)
    bad = [id_ for id_, is_bad in zip(ids, bad_B.tolist(), strict=True) if is_bad]
    which = "clips whose output is not finite" if bad else "its clips"
    objectives = "objective" if len(wrong) == 1 else "objectives"
    raise NonFiniteError(
        f"The loss is not finite: {objectives} {', '.join(wrong)} at {_position(trainer)}; {which}: "
        f"{_named(bad or ids)}. {_advice(trainer)}"
    )


def check_gradient(parameters: Iterable[tuple[str, nn.Parameter]], ids: Sequence[str], trainer: Any) -> None:
    """Look at the gradient before the optimiser uses it; under fp16 with scaling the scaler does, and skips the step.

    Args:
        parameters: Parameters by name.
        ids: The clips that the gradient is of.
        trainer: Where the training stands.

    Raises:
        NonFiniteError: If the gradient is NaN or infinite: with the parameter, the clips and the last checkpoint.
    """
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return
    gradients = {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}
    if torch.isfinite(torch.nn.utils.get_total_norm(gradients.values(), norm_type=torch.inf)):
        return
    wrong = next(name for name, gradient in gradients.items() if not torch.isfinite(gradient).all())
    names = ", ".join(objective.name for objective in trainer.lightning_module.objectives)
    raise NonFiniteError(
        f"The gradient of {wrong} is not finite at {_position(trainer)}, though the loss is (objectives {names}); its "
        f"clips: {_named(ids)}. {_advice(trainer)}"
    )


def _position(trainer: Any) -> str:
    return f"epoch {trainer.current_epoch + 1}, batch {trainer.fit_loop.batch_idx + 1}"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_CLIPS} more" if len(ids) > MOST_CLIPS else ""
    return ", ".join(ids[:MOST_CLIPS]) + more


def _advice(trainer: Any) -> str:
    paths = [Path(getattr(callback, "best_model_path", "") or "/") for callback in trainer.checkpoint_callbacks]
    written = sorted((path for path in paths if path.is_file()), key=lambda path: path.stat().st_mtime)
    last = f"The last good checkpoint is {written[-1]}" if written else "No checkpoint was written before"
    return f"{last}. A lower learning rate or --trainer.gradient_clip_val=1 often helps."
