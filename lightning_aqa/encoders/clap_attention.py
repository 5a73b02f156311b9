"""Fused attention for the windows of HTSAT, in place of the three matrix steps of transformers."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    attention: Any, hidden: Tensor, mask: Tensor | None = None, output_attentions: bool = False
) -> tuple[Tensor]:
    """Attend from every token to those of its window; has the signature of the method that it stands for.

    Args:
        attention: A ``ClapAudioSelfAttention``; its projections are called, so that hooks and adapters on them work.
        hidden: Tokens of each window, shape ``(B V, N, D)`` for V windows of each of B clips.
        mask: What shifted windows add to the scores, shape ``(V, N, N)``; None for windows that are not shifted.
        output_attentions: Not offered; fused attention never forms the weights.

    Returns:
        A tuple of the mixed tokens, shape ``(B V, N, D)``.
    """
    assert not output_attentions
    num_rows, num_tokens, _ = hidden.shape
    query, key, value = (
        project(hidden).view(num_rows, num_tokens, attention.num_attention_heads, -1).transpose(1, 2)
        for project in (attention.query, attention.key, attention.value)
    )
    bias_NNH = attention.relative_position_bias_table[attention.relative_position_index]
    bias_VHNN = bias_NNH.permute(2, 0, 1).to(query.dtype)[None].contiguous()
    if mask is not None:
        bias_VHNN = bias_VHNN + mask[:, None].to(query.dtype)
        bias_VHNN = bias_VHNN.repeat(num_rows // len(mask), 1, 1, 1)
    dropout = attention.dropout.p if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias_VHNN, dropout_p=dropout)
    return (mixed.transpose(1, 2).flatten(2),)


def fuse_attention(tower: nn.Module) -> None:
    """Let all attention of an HTSAT run fused, after a comparison with what transformers computes.

    Raises:
        RuntimeError: If the two differ, as another version of transformers may make them.
    """
    from transformers.models.clap.modeling_clap import ClapAudioSelfAttention

    modules = [module for module in tower.modules() if isinstance(module, ClapAudioSelfAttention)]
    _check(modules[0])
    for module in modules:
        vars(module)["forward"] = MethodType(attend, module)


@torch.no_grad()
def _check(attention: Any) -> None:
    """Compare on two clips of two windows, masked and not."""
    num_tokens, width = len(attention.relative_position_index), attention.all_head_size
    hidden = (torch.arange(4 * num_tokens * width) ** 2 % 997 / 500 - 1).view(4, num_tokens, width)
    shifted = -100.0 * (torch.arange(2 * num_tokens**2) % 3 == 0).view(2, num_tokens, num_tokens)
    for mask in (None, shifted):
        own, theirs = attend(attention, hidden, mask)[0], attention(hidden, mask)[0]
        if not torch.allclose(own, theirs, atol=1e-4, rtol=1e-4):
            import transformers

            raise RuntimeError(
                f"ClapModel of transformers {transformers.__version__} attends in another way than lightning_aqa's "
                "fused attention; install transformers 5.23 and please report it."
            )
