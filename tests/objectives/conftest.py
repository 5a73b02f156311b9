import pytest
import torch
from lightning.pytorch import LightningModule

from lightning_aqa.batch import Batch, Output
from lightning_aqa.heads.base import Head


def step(scores, targets, embedding=None, frame_scores=None, frame_mask=None, logits=None, deviation=None):
    """Make what an objective reads: an output with a graph, and the batch beside it."""
    scores, targets = (torch.as_tensor(values, dtype=torch.float32) for values in (scores, targets))
    count = len(scores)
    embedding = torch.zeros(count, 2) if embedding is None else torch.as_tensor(embedding, dtype=torch.float32)
    output = Output(scores.requires_grad_(), embedding.requires_grad_(), frame_scores, frame_mask, logits, deviation)
    ids, empty = [str(i) for i in range(count)], [""] * count
    return output, Batch(torch.zeros(count, 0), torch.zeros(count).long(), targets, ids, empty, empty, empty)


class FlatHead(Head):
    """A head that is only asked for its scale and its name."""

    def forward(self, features):
        raise AssertionError("no test calls it")


class FakeModule(LightningModule):
    """The parts of a module that objectives read when a fit starts."""

    def __init__(self, axes):
        super().__init__()
        self.axes, self.head = list(axes), FlatHead(1, 1, axes)


@pytest.fixture
def make_step():
    return step


@pytest.fixture
def make_module():
    return FakeModule
