"""The Lightning module: encoder, head, objectives, metrics and optimiser in one visible place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from rich.progress import track
from torch import Tensor

from lightning_aqa.batch import Axis, Batch, Features, Output
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.finetuning import LoRA, Policy
from lightning_aqa.encoders.finetuning import freeze as freeze_parts
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.metrics.levels import evaluate, flatten
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.objectives.base import Objective
from lightning_aqa.results.notes import Training
from lightning_aqa.results.predictions import ScoredWindow, as_step, gather_predictions, scored_windows
from lightning_aqa.utils.distributed import gather_training

HALF = ("16-true", "bf16-true")
HeadCallable = Callable[[int, int, Sequence[Axis], int | None], Head]


def default_optimizer(parameters: Any) -> torch.optim.Optimizer:
    """Build AdamW with its usual learning rate of 0.001."""
    return torch.optim.AdamW(parameters)


class TrainingStep(NamedTuple):
    """Values of the last training step on the rows of all processes, without its graph, for callbacks to read.

    Args:
        total: Weighted sum of the terms, scalar.
        terms: The terms by the names of their objectives, scalars.
        output: What the terms were computed from.
        ids: The clips.
    """

    total: Tensor
    terms: dict[str, Tensor]
    output: Output
    ids: list[str]


class AQAModule(L.LightningModule):
    """Predict the scores of clips: an encoder's features, read by a head, trained by a sum of named objectives.

    Args:
        axes: What to predict, as (name, title, low, high) each; the command line takes them from the data. None where
            the data has no ratings and the head brings its own.
        encoder: Turns audio into features.
        head: Turns features into scores; it is given the encoder's width, number of layers, the axes and the width
            of the text states.
        optimizer: Optimiser of everything that requires a gradient.
        scheduler: Learning-rate scheduler, stepped once per epoch; null keeps the rate.
        freeze: What of the encoder is not trained: none, all, the first n layers and what comes before them, or lora:
            all but low-rank adapters. What is frozen stays in eval mode.
        lora: The adapters, for ``freeze: lora``.
        layers: Layers of the encoder that the head is given, from 0 for the lowest, or from -1 for the highest; null
            gives all.

    Attributes:
        predictions: The last table of each split.
        results: Its metrics.
        step: The last training step.
        trained_on: Levels of the clips that it was trained on, where they are known.
        epoch: Epoch, from 1, of the checkpoint that the weights were read from; None where they were not.
        carried: Losses to log in front of the next step's, each with its number of clips: of a resumed epoch.

    Raises:
        ValueError: If the encoder has no such layer.
    """

    def __init__(
        self,
        axes: Sequence[tuple[str, str, float, float]],
        encoder: Encoder | None = None,
        head: HeadCallable = MLP,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: LRSchedulerCallable | None = None,
        freeze: Policy = "none",
        lora: LoRA | None = None,
        layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self._save_plain_hyperparameters()
        self.encoder = encoder if encoder is not None else Descriptors()
        rated = [Axis(*axis) for axis in axes]
        self.layers = None if layers is None else self.encoder.numbers_of(layers)
        num_layers = self.encoder.num_layers if self.layers is None else len(self.layers)
        self.head = head(self.encoder.width, num_layers, rated, self.encoder.text_width)
        self.axes = list(self.head.axes)
        self.optimizer, self.scheduler = optimizer, scheduler
        self._trained_parts = freeze_parts(self.encoder, freeze, lora)
        self.train()  # Lightning keeps the modes it finds: what is frozen must be in eval mode before a fit
        self.is_fresh = True
        self.trained_on: Training | None = None
        self.epoch: int | None = None
        self.step: TrainingStep | None = None
        self.carried: list[tuple[dict[str, Tensor], int]] = []
        self.predictions: dict[str, Predictions] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self._windows: list[list[ScoredWindow]] = []

    def _save_plain_hyperparameters(self) -> None:
        """Keep what the command line gave (plain dicts); parts that were passed as objects cannot be kept."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.save_hyperparameters()
        for name, value in list(self.hparams.items()):
            if callable(value):
                del self.hparams[name]
            elif isinstance(value, LoRA):
                self.hparams[name] = asdict(value)
        self.hparams["axes"] = [list(axis) for axis in self.hparams["axes"]]

    @property
    def encoder_is_frozen(self) -> bool:
        """Tell whether no parameter of the encoder is trained."""
        return not any(parameter.requires_grad for parameter in self.encoder.parameters())

    def train(self, mode: bool = True) -> AQAModule:
        """Switch to training mode, except for parts that are frozen and an encoder with nothing to train."""
        super().train(mode)
        self.encoder.eval()
        for part in self._trained_parts:
            part.train(mode)
        for part in self.modules():
            trained = [parameter.requires_grad for parameter in part.parameters()]
            if not any(trained) and (trained or part is self.encoder):
                part.eval()
        return self

    def forward(self, batch: Batch) -> Output:
        """Score the windows of a batch."""
        output: Output = self.head(self.encode(batch))
        return output

    def encode(self, batch: Batch) -> Features:
        """Return the features of a batch, cached or computed, in the dtype of the head."""
        features = self.encode_live(batch) if batch.features is None else batch.features
        return features.astype(self.head.location_A.dtype)

    def encode_live(self, batch: Batch) -> Features:
        """Run the encoder on the audio of a batch, and return the layers that the head is given."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            features: Features = self.encoder(batch.waveform, batch.num_samples, batch.prompts)
        return features if self.layers is None else features._replace(layers=features.layers[:, list(self.layers)])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the constants of scores and features that come with the weights."""
        self.is_fresh = False
        self.trained_on = Training.read(checkpoint.get("callbacks", {}).get("TrainingLevels"))
        epoch = checkpoint.get("epoch")
        self.epoch = epoch + 1 if isinstance(epoch, int) else None
        try:
            precision = str(self.trainer.precision)
        except RuntimeError:  # it is loaded without a trainer
            return
        if precision == "64-true":
            self.double()  # Lightning loads before it converts, and would round the weights to float32

    def setup(self, stage: str) -> None:
        """Refuse data whose ratings are not of what the model predicts.

        Raises:
            ValueError: If training data rates other axes, evaluation data none of these, or there is no split to
                validate on, or if the precision would round the weights.
        """
        if str(self.trainer.precision) in HALF:
            raise ValueError(
                f"--trainer.precision={self.trainer.precision} keeps weights and scores themselves to 2 or 3 digits; "
                f"use {str(self.trainer.precision).removesuffix('true')}mixed, which keeps these in float32."
            )
        if stage == "validate":
            self.data.rated("dev")
        mine, rated = ([axis.name for axis in axes] for axes in (self.axes, self.data.axes))
        fits = {"fit": mine == rated, "predict": True}.get(stage, not set(mine).isdisjoint(rated))
        if not fits:
            raise ValueError(f"The model predicts {', '.join(mine)}; the data rates {', '.join(rated) or 'nothing'}.")

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum the weighted objectives over the rows of all processes, in float32 or float64."""
        output = self(batch).astype_at_least(torch.float32)
        with torch.autocast(self.device.type, enabled=False):
            output, everything = gather_training(output, batch)
            terms = {objective.name: objective.loss(output, everything) for objective in self.objectives}
            total = self._weighted_sum(terms)
        self.step = TrainingStep(total.detach(), _detached(terms), output.detach(), everything.ids)
        for losses, num_clips in [*self.carried, (named_losses("train", terms, total), len(everything.ids))]:
            self.log_epoch(losses, num_clips)
        self.carried = []
        return total * self._share_of_step(batch_idx)

    def _share_of_step(self, batch_idx: int) -> float:
        """Return what makes the last step of an epoch a mean too, where it accumulates fewer batches than the others.

        Lightning divides the loss of every batch by the number of batches of a full step.
        """
        wanted, num_batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        rest = num_batches % wanted
        return wanted / rest if batch_idx >= num_batches - rest else 1.0

    def _weighted_sum(self, terms: dict[str, Tensor]) -> Tensor:
        """Add up terms by the weights of their objectives."""
        weights = {objective.name: objective.weight for objective in self.objectives}
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def on_fit_start(self) -> None:
        """Refuse to train without an objective; fit a fresh head's constants to the training clips."""
        names = [objective.name for objective in self.objectives]
        if not names:
            raise ValueError("No objective to train with: add one, such as --objectives.mse=Regression.")
        if len(set(names)) < len(names):
            raise ValueError(f"Objectives need names of their own, got {', '.join(names)}; set .name on each.")
        if self.is_fresh and self.trainer.ckpt_path is None:
            self._fit_head(self.data)

    def _fit_head(self, data: AQADataModule) -> None:
        """Give the head the mean and deviation of the training scores and, from a frozen encoder, its features."""
        scores_NA = torch.from_numpy(data.rated("train").scores())
        location_A = scores_NA.nanmean(0)
        scale_A = (scores_NA - location_A).square().nanmean(0).sqrt()
        usable_A = torch.isfinite(scale_A) & (scale_A > 0)
        defaults = self.head.location_A.cpu().double(), self.head.scale_A.cpu().double()
        fitted = (
            torch.where(usable_A, mine, other) for mine, other in zip((location_A, scale_A), defaults, strict=True)
        )
        self.head.fit_scale(*fitted)
        if self.encoder_is_frozen:
            self.head.fit_features(self._training_features(data))
        self.is_fresh = False

    @torch.no_grad()
    def _training_features(self, data: AQADataModule) -> Iterator[Features]:
        """Encode the training clips once, on every process alike."""
        loader = data.split_dataloader("train", sharded=False)
        self.encoder.eval()
        for batch in track(loader, "reading features", transient=True, disable=not self.trainer.is_global_zero):
            moved: Batch = self.transfer_batch_to_device(batch, self.device, 0)
            yield self.encode(moved)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimise what requires a gradient."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.optimizer(trained)
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": scheduler.monitor}}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    # Evaluation

    @property
    def data(self) -> AQADataModule:
        """The corpus that the trainer serves."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, AQADataModule):
            raise ValueError("AQAModule needs a datamodule of lightning_aqa.data, such as Table(path=...).")
        return data

    @property
    def objectives(self) -> list[Objective]:
        """The terms of the loss: the trainer's callbacks that are objectives."""
        return [callback for callback in cast(Any, self.trainer).callbacks if isinstance(callback, Objective)]

    def log_epoch(self, values: dict[str, Tensor], num_clips: int) -> None:
        """Log the means over some clips, which count by their number in the mean of the epoch."""
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=num_clips)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the windows of a batch."""
        while len(self._windows) <= dataloader_idx:
            self._windows.append([])
        self._windows[dataloader_idx] += scored_windows(self(batch), batch)

    def on_validation_epoch_start(self) -> None:
        """Start with empty tables."""
        self._windows = []

    test_step = predict_step = validation_step
    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Compute metrics and losses of the split ``dev`` from the gathered table."""
        self._finish("dev", self._windows[0])
        self.log_dict(flatten(self.results["dev"], "val"))
        self._log_split_losses(self.predictions["dev"])

    def _log_split_losses(self, table: Predictions) -> None:
        """Log the objectives that read scores alone over a whole split, as ``val/<name>``."""
        output, batch = as_step(table, self.device)
        objectives = [objective for objective in self.objectives if objective.reads_scores_alone]
        terms = {objective.name: objective.loss(output, batch) for objective in objectives}
        if terms:
            self.log_epoch(named_losses("val", terms, self._weighted_sum(terms)), len(table.ids))

    def on_test_epoch_end(self) -> None:
        """Compute metrics of every split from the gathered tables."""
        for split, windows in zip(self.data.rated_splits, self._windows, strict=True):
            self._finish(split, windows)
            self.log_dict(flatten(self.results[split], f"test/{split}"))

    def on_predict_epoch_end(self) -> None:
        """Gather the table of all clips."""
        self.predictions["predict"] = gather_predictions(self._windows[0], self.data.manifest, self.axes)

    def _finish(self, split: str, windows: list[ScoredWindow]) -> None:
        manifest = self.data.manifest
        table = gather_predictions(windows, manifest, self.axes)
        self.predictions[split] = table
        names = [axis.name for axis in self.axes]
        self.results[split] = evaluate(
            table.ids, table.systems, table.domains, table.scores, table.targets, names, manifest.system_scores
        )


def named_losses(stage: str, terms: dict[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """Name terms and total as they are logged."""
    return {f"{stage}/{name}": term for name, term in _detached(terms | {"loss": total}).items()}


def _detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}
