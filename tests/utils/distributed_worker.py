"""One of two processes, or the only one: losses and gradients of a split batch, and a training by every objective."""

import contextlib
import importlib
import inspect
import pkgutil
import sys
import warnings
from pathlib import Path

import lightning as L
import torch
import torch.distributed as dist
from torch import nn

from lightning_aqa import objectives
from lightning_aqa.batch import Axis, Batch, Features, Output
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.gaussian_nll import GaussianNLL
from lightning_aqa.objectives.listwise import ListMLE
from lightning_aqa.objectives.qamro import QAMRO
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training.checkpoints import LastCheckpoint
from lightning_aqa.utils.distributed import barrier_and_destroy, gather_training, num_processes, process_number

AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]
SIZES = [(6, 6), (7, 3), (1, 4)]


def every_objective():
    """One of each objective of the package, and some with other settings."""
    made = {
        "remembering": QAMRO(memory_size=9),
        "both errors": Regression(kind="mse+mae"),
        "by position": ListMLE(position_weights=True),
        "by deviation": GaussianNLL(beta=0.5),
    }
    for module in pkgutil.iter_modules(objectives.__path__, f"{objectives.__name__}."):
        for name, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and issubclass(found, Objective) and not inspect.isabstract(found):
                made[name] = found()
    for name in ("BradleyTerry", "Listeners"):  # they learn from pairs and single ratings, and there are none here
        del made[name]
    for name, objective in made.items():
        objective.name = name
    return list(made.values())


class Level(Encoder):
    """The level in each tenth of a second, in bel."""

    sample_rate, width, num_layers = 16000, 1, 1

    def forward(self, waveform, num_samples, prompts=None):
        power_BF = waveform.unfold(1, 1600, 1600).square().mean(2)
        mask_BF = torch.arange(power_BF.shape[1]) < (num_samples // 1600)[:, None]
        return Features((power_BF + 1e-9).log10().masked_fill(~mask_BF, 0.0)[:, None, :, None], mask_BF)


class Everything(Head):
    """All that an output can hold, from one small network."""

    def __init__(self, width, num_layers, axes, text_width=None):
        super().__init__(width, num_layers, axes, text_width)
        self.shared = nn.Sequential(nn.Linear(width, 8), nn.Tanh())
        self.last = nn.Linear(8, 8 * len(axes))

    def forward(self, features):
        mask_BF = features.frame_mask
        frames_BFE = self.shared(features.layers[:, 0]) * mask_BF[..., None]
        frame_scores_BFA = 3 + self.last(frames_BFE)[..., : len(self.axes)] * mask_BF[..., None]
        embedding_BE = frames_BFE.sum(1) / mask_BF.sum(1, keepdim=True)
        parts_BAK = self.last(embedding_BE).unflatten(1, (len(self.axes), -1))
        deviation_BA = nn.functional.softplus(parts_BAK[..., 1]) + 0.1
        scores_BA = 3 + parts_BAK[..., 0]
        return Output(scores_BA, embedding_BE, frame_scores_BFA, mask_BF, parts_BAK[..., 2:7], deviation_BA)


def make_module():
    torch.manual_seed(0)
    return AQAModule(AXES, Level(), Everything)


def split_loss(objective, sizes):
    """Return loss and gradient of one step on a batch of which each process has its share."""
    torch.manual_seed(sum(sizes))
    head = Everything(1, 1, AXES).double()
    frames, mask = torch.randn(sum(sizes), 1, 4, 1, dtype=torch.float64), torch.ones(sum(sizes), 4, dtype=torch.bool)
    targets = torch.randint(2, 11, (sum(sizes), 2)).double() / 2
    targets[0, 1] = torch.nan
    whole, both = torch.arange(sum(sizes)), 2 * min(sizes)
    shares = [whole[rank:both:2].tolist() for rank in range(2)]
    shares[sizes[1] > sizes[0]] += range(both, sum(sizes))
    mine = whole if num_processes() == 1 else torch.tensor(shares[process_number()])
    names = [str(i) for i in mine.tolist()]
    batch = Batch(torch.zeros(len(mine), 0), torch.zeros(len(mine)).long(), targets[mine], names, names, names, names)
    loss = objective.loss(*gather_training(head(Features(frames[mine], mask[mine])), batch))
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in head.parameters() if parameter.grad is not None])
    if num_processes() > 1:
        dist.all_reduce(gradient)
    return loss.detach(), gradient / num_processes()


class Stop(L.Callback):
    """Break off in the middle of the second epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 2):
            raise InterruptedError


def train(root, num_processes, *more, checkpoint=None):
    """Train on global batches of 6 clips at most, with all objectives at once."""
    terms = every_objective()
    trainer = L.Trainer(
        accelerator="cpu", devices=num_processes, strategy="ddp" if num_processes > 1 else "auto", logger=False,
        precision="64-true", callbacks=[*terms, *more], max_epochs=3, enable_progress_bar=False,
        enable_checkpointing=bool(more), use_distributed_sampler=False, enable_model_summary=False,
        num_sanity_val_steps=0,
    )  # fmt: skip
    module, data = make_module(), MusicEval(root=root, batch_size=6 // num_processes)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return {
        "weights": module.state_dict(),
        "logged": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "memories": {term.name: term.state_dict() for term in terms},
    }


def train_and_resume(root, num_processes, folder):
    """Break a training off within an epoch, and go on with it from its checkpoint."""
    with contextlib.suppress(InterruptedError):
        train(root, num_processes, LastCheckpoint(folder, 1), Stop())
    return train(root, num_processes, LastCheckpoint(folder, 1), checkpoint=folder / "last.ckpt")


def losses_of(objective, sizes):
    """Return loss and gradient of an objective as it is once a fit has started."""
    objective.on_fit_start(None, make_module())
    return split_loss(objective, sizes)


def losses():
    """Return loss and gradient by objective and sizes."""
    return {(term.name, sizes): losses_of(term, sizes) for term in every_objective() for sizes in SIZES}


def main(root, folder):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {
        "trained": train(root, 2),
        "resumed": train_and_resume(root, 2, Path(folder) / "checkpoints"),
        "losses": losses(),
    }
    if process_number() == 0:
        torch.save(found, Path(folder) / "two.pt")
    barrier_and_destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
