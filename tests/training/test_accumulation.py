"""Accumulated gradients: those of the large batch for a mean over clips, and what is between for the others."""

import warnings

import lightning as L
import pytest
import torch

from lightning_aqa.data.table import Table
from tests.utils.distributed_worker import every_objective, make_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]
KNOWN = {"Coral", "FrameScores", "GaussianNLL", "Regression", "SoftOrdinal"}


def _is_mean_over_clips(objective):
    """Tell whether the loss of a batch is the mean of those of its halves, where all clips are rated."""
    from lightning_aqa.batch import Batch, Output

    torch.manual_seed(1)
    objective.on_fit_start(None, make_module())
    whole = Output(
        torch.rand(8, 2) + 2, torch.rand(8, 3), torch.rand(8, 4, 2), torch.ones(8, 4, dtype=torch.bool),
        torch.rand(8, 2, 5), torch.rand(8, 2) + 0.5,
    )  # fmt: skip
    targets, names = torch.randint(2, 11, (8, 2)) / 2, [str(i) for i in range(8)]
    losses = []
    for rows in (slice(8), slice(4), slice(4, 8)):
        part, few = Output(*(field[rows] for field in whole)), names[rows]
        empty = torch.zeros(len(few), 0)
        batch = Batch(empty, empty.sum(1).long(), targets[rows], few, few, few, few)
        with torch.no_grad():
            losses.append(objective.loss(part, batch).item())
    return losses[0] != 0 and losses[0] == pytest.approx((losses[1] + losses[2]) / 2, abs=1e-6)


def _means():
    return [objective for objective in every_objective() if _is_mean_over_clips(objective)]


@pytest.fixture
def train(corpora, tmp_path):
    """Train an epoch on some clips; return the weights and the number of steps."""
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())

    def run(objectives, num_clips, batch_size, accumulate):
        rows = [f"{path},{1 + i % 5},{5 - i % 4},train" for i, path in enumerate(audio[:num_clips])]
        (tmp_path / "list.csv").write_text("\n".join(["file,MI,TA,split", *rows, f"{audio[-1]},3,3,dev"]))
        axes = {name: (1.0, 5.0) for name in ("MI", "TA")}
        trainer = L.Trainer(
            accelerator="cpu", logger=False, precision="64-true", callbacks=objectives, max_epochs=2,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, accumulate_grad_batches=accumulate, default_root_dir=tmp_path,
        )  # fmt: skip
        module = make_module()
        module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.01)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, datamodule=Table(path=str(tmp_path / "list.csv"), axes=axes, batch_size=batch_size))
        return module.state_dict(), trainer.global_step

    return run


def _gap(one, two):
    return max((weights - two[name]).abs().max().item() for name, weights in one.items())


def test_the_means_over_clips_are_found():
    names = {objective.name for objective in _means()}
    assert names >= KNOWN
    assert not names & {"CCC", "ListMLE", "ListNet", "MarginRanking", "QAMRO", "SoftSpearman", "Triplet", "remembering"}


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 4), (2, 8)])
def test_accumulated_gradients_are_those_of_the_large_batch_for_means_over_clips(train, batch_size, accumulate):
    whole, steps = train(_means(), 16, 16, 1)
    parts, same_steps = train(_means(), 16, batch_size, accumulate)
    assert steps == same_steps == 2
    assert _gap(whole, parts) < 1e-9
    assert _gap(whole, make_module().double().state_dict()) > 1e-3


def test_a_last_step_of_fewer_batches_is_a_mean_too(train):
    # Of the two batches that a step accumulates there is one, whose loss counts whole.
    whole, _ = train(_means(), 4, 4, 1)
    alone, _ = train(_means(), 4, 4, 2)
    assert _gap(whole, alone) == 0


def test_pairs_across_accumulated_batches_are_not_formed(train):
    objectives = [objective for objective in every_objective() if objective.name == "QAMRO"]
    whole, _ = train(objectives, 16, 16, 1)
    parts, _ = train(objectives, 16, 4, 4)
    assert _gap(whole, parts) > 1e-6
