"""The part of an encoder that is trained: everything, nothing, its upper layers, or low-rank adapters in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from lightning_aqa.encoders.base import Encoder

Policy = Literal["none", "all", "lora"] | int
PROJECTIONS = ("q_proj", "v_proj", "query", "value", "linear_q", "linear_v", "project_in")
"""Query and value projections of the encoders here, by the last part of their names: where LoRA is put by default."""


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters: a linear layer computes ``W x + alpha / rank * B A x`` and only A and B are trained.

    Args:
        rank: Rank of ``B A``.
        alpha: Scale of the update, in units of the rank.
        dropout: Probability of dropping an element of ``x`` before ``A``.
        targets: Names of the linear layers, or last parts of them; null takes the query and value projections.

    Reference:
        "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685, by the library peft.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: Sequence[str] | None = None


def freeze(encoder: Encoder, policy: Policy, lora: LoRA | None = None) -> list[nn.Module]:
    """Take from training what a policy names; what an encoder froze itself stays frozen.

    Args:
        encoder: The encoder, changed in place.
        policy: ``none`` trains everything, ``all`` nothing, ``lora`` adapters alone that are put in here, and n what
            comes after the first n layers.
        lora: The adapters.

    Returns:
        The parts that follow train mode; all others belong in eval mode.

    Raises:
        ValueError: If the encoder has no layers to count, or fewer than n; if no linear layer is named as the adapters
            want; if peft is not installed.
    """
    if policy == "none" or (policy == 0 and policy is not False):
        return [encoder]
    if policy == "all":
        encoder.requires_grad_(False)
        return []
    if policy == "lora":
        encoder.requires_grad_(False)
        _adapt(encoder, lora or LoRA())
        return [part for name, part in encoder.named_modules() if name.rsplit(".", 1)[-1].startswith("lora_")]
    if isinstance(policy, bool) or policy < 0:
        raise ValueError(f"freeze must be none, all, lora or a number of layers from 0, got {policy}.")
    return encoder.freeze_first(policy)


def _adapt(encoder: Encoder, lora: LoRA) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError("freeze=lora needs peft: pip install 'lightning_aqa[lora]'.") from None
    linear = [name for name, part in encoder.named_modules() if isinstance(part, nn.Linear)]
    wanted = tuple(lora.targets or PROJECTIONS)
    found = [name for name in linear if name in wanted or name.endswith(tuple(f".{end}" for end in wanted))]
    if not found:
        shown = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear})) or "none"
        raise ValueError(
            f"{type(encoder).__name__} has no linear layer named {', '.join(wanted)} to adapt; its linear layers are "
            f"{shown}. Name some by lora.targets."
        )
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=found)
    inject_adapter_in_model(config, encoder)
