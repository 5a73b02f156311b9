"""A first-in, first-out memory of embeddings and the scores that belong to them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class EmbeddingMemory:
    """Keep the newest ``size`` clips that were pushed, oldest first.

    Args:
        size: Most clips to keep.

    Attributes:
        embedding: Embeddings, shape ``(N, E)``, on the device and in the dtype of the last push; ``(0, 0)`` at first.
        scores: Mean opinion scores, shape ``(N, A)``, in score points, likewise.

    Raises:
        ValueError: If ``size`` is below 1.

    Example:
        >>> memory = EmbeddingMemory(2)
        >>> memory.push(torch.eye(3), torch.tensor([[1.0], [2.0], [3.0]]))
        >>> memory.scores.flatten().tolist()
        [2.0, 3.0]
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"memory_size must be at least 1, got {size}.")
        self.size = size
        self._staged: tuple[Tensor, Tensor] | None = None
        self.embedding = torch.empty(0, 0)
        self.scores = torch.empty(0, 0)

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.embedding)

    def push(self, embedding: Tensor, scores: Tensor) -> None:
        """Append clips without their graph, and forget the oldest beyond ``size``.

        Args:
            embedding: Shape ``(B, E)``.
            scores: Shape ``(B, A)``, in score points.

        Raises:
            ValueError: If the two differ in length, or E or A from what is kept already.
        """
        if len(embedding) != len(scores):
            raise ValueError(f"got {len(embedding)} embeddings and {len(scores)} rows of scores; they must match.")
        self.embedding = self._append(self.embedding, embedding)
        self.scores = self._append(self.scores, scores)

    def stage(self, embedding: Tensor, scores: Tensor) -> None:
        """Keep the clips of a training step, without their graph, until ``commit``.

        Args:
            embedding: Shape ``(B, E)``.
            scores: Shape ``(B, A)``, in score points.
        """
        self._staged = embedding.detach(), scores

    def commit(self, column: int | None = None) -> None:
        """Push the clips of the step that are rated, on any axis or on that of a column; a second call does nothing."""
        if self._staged is not None:
            embedding_BE, scores_BA = self._staged
            deciding_BK = scores_BA if column is None else scores_BA[:, column, None]
            rated_B = ~deciding_BK.isnan().all(1)
            self.push(embedding_BE[rated_B], scores_BA[rated_B])
            self._staged = None

    def state_dict(self) -> dict[str, Tensor]:
        """Return the contents as tensors of their own."""
        return {"embedding": self.embedding.clone(), "scores": self.scores.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over saved contents; of more than ``size`` clips the newest stay."""
        self.embedding = state["embedding"][-self.size :].clone()
        self.scores = state["scores"][-self.size :].clone()

    def _append(self, kept: Tensor, new: Tensor) -> Tensor:
        new = new.detach()[-self.size :]
        if len(kept) == 0:
            return new.clone()
        if kept.shape[1:] != new.shape[1:]:
            raise ValueError(
                f"the memory holds rows of {kept.shape[1]} values and was given rows of {new.shape[1]}; "
                "it was filled by a model of another size."
            )
        # Cutting before joining leaves no storage of forgotten rows behind a view.
        room = self.size - len(new)
        return torch.cat([kept[max(len(kept) - room, 0) :].to(new), new])
