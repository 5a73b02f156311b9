"""The attention of BEATs on clips packed end to end: gated relative positions, fused, in bounded memory."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Most elements of a block of position biases, 16 MB: a clip of 10 s is one block, longer ones take several.
BLOCK = 2**22


def position_buckets(offsets: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Sort offsets between tokens into buckets: one each when near, logarithmically wider ones when far.

    Args:
        offsets: Key position less query position, int64, any shape.
        num_buckets: Number of buckets; half of them are for keys after the query.
        max_distance: Distance from which on all offsets share the last bucket.

    Returns:
        Buckets in ``[0, num_buckets)``, the shape of ``offsets``.

    Example:
        >>> position_buckets(torch.tensor([0, -1, 1, -7, 7, -1000]), num_buckets=16, max_distance=32)
        tensor([ 0,  1,  9,  5, 13,  7])
    """
    half = num_buckets // 2
    exact = half // 2
    distance = offsets.abs()
    octaves = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (octaves * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offsets > 0)


class BEATsAttention(nn.Module):
    """Self-attention within each clip, with a bias by relative position that a gate on the query scales."""

    def __init__(self, width: int, num_heads: int, *, dropout: float, is_gated: bool) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.is_gated = num_heads, dropout, is_gated
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        if is_gated:
            self.grep_linear = nn.Linear(width // num_heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, num_heads, 1, 1))

    def forward(self, hidden: Tensor, lengths: list[int], table: Tensor | None) -> Tensor:
        """Mix tokens within each clip.

        Args:
            hidden: Tokens of all clips end to end, shape ``(N, D)``.
            lengths: Number of tokens of each clip.
            table: Bias of each head from the furthest offset ahead to the furthest behind, 0 in the middle, shape
                ``(H, 2 * M - 1)`` with M at least the longest clip; None for attention without positions.

        Returns:
            Mixed tokens, shape ``(N, D)``.
        """
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query_NHK, key_NHK, value_NHK = (project(hidden).unflatten(-1, (self.num_heads, -1)) for project in projections)
        gate_NH1 = self._gate(query_NHK) if self.is_gated and table is not None else torch.ones_like(query_NHK[..., :1])
        parts = [torch.split(tensor, lengths) for tensor in (query_NHK, key_NHK, value_NHK, gate_NH1)]
        mixed_NHK = torch.cat([self._attend(q, k, v, gate, table) for q, k, v, gate in zip(*parts, strict=True)])
        mixed_ND: Tensor = self.out_proj(mixed_NHK.flatten(1))
        return mixed_ND

    def _gate(self, query: Tensor) -> Tensor:
        """Return the factor of the position bias of each token and head, ``(N, H, 1)``."""
        first_NH1, second_NH1 = self.grep_linear(query).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        gate_NH1: Tensor = first_NH1 * (second_NH1 * self.grep_a.flatten(2)[0] - 1.0) + 2.0
        return gate_NH1

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, gate: Tensor, table: Tensor | None) -> Tensor:
        """Attend within one clip, ``(N, H, K)``, a block of queries after the other."""
        length, dropout = len(query), self.dropout if self.training else 0.0
        query_HNK, gate_HN1 = query.transpose(0, 1), gate.transpose(0, 1)
        # With the keys in reverse order the bias of query n and key m is table[n + m]: a view, of overlapping rows.
        key_HMK, value_HMK = key.flip(0).transpose(0, 1), value.flip(0).transpose(0, 1)
        bias_HNM = None if table is None else _middle(table, 2 * length - 1).unfold(1, length, 1)
        blocks, size = [], max(1, BLOCK // (self.num_heads * length))
        for rows in (slice(start, start + size) for start in range(0, length, size)):
            bias = None if bias_HNM is None else (gate_HN1[:, rows] * bias_HNM[:, rows])[None]
            block = (query_HNK[None, :, rows], key_HMK[None], value_HMK[None])
            blocks.append(F.scaled_dot_product_attention(*block, attn_mask=bias, dropout_p=dropout)[0])
        return torch.cat(blocks, dim=1).transpose(0, 1)


def _middle(table: Tensor, size: int) -> Tensor:
    """Cut the same number of columns off both ends."""
    start = (table.shape[1] - size) // 2
    return table[:, start : start + size]
