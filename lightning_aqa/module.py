"""The Lightning module: encoder, head, objectives, metrics and optimiser in one visible place."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, instantiate_module
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_aqa.batch import Axes, Axis, Batch, Features, Output, make_axes
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Manifest
from lightning_aqa.data.own_loaders import OwnLoaders, SeenClips, are_from_datamodule, set_up_training, training_batches
from lightning_aqa.data.plain_batch import as_batch
from lightning_aqa.encoders.base import Encoder, parts_given
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.finetuning import LoRA, Policy
from lightning_aqa.encoders.finetuning import freeze as freeze_parts
from lightning_aqa.heads.base import HeadCallable
from lightning_aqa.heads.fitting import fit_head
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.metrics.levels import flatten
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.preferences import JudgedPair
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.objectives.step import (
    DEFAULT_OBJECTIVE,
    TrainingStep,
    check_objectives,
    compared_axes,
    named_losses,
    share_of_step,
    weighted_sum,
)
from lightning_aqa.results.notes import Training
from lightning_aqa.results.pairs import numbers_of
from lightning_aqa.results.predictions import ScoredWindow, as_step, gather_predictions, scored_windows
from lightning_aqa.utils.davidson import PairLink
from lightning_aqa.utils.distributed import gather_training
from lightning_aqa.utils.settings import check_precision, keep_plain, with_scheduler


def default_optimizer(parameters: Any) -> torch.optim.Optimizer:
    """Build AdamW with its usual learning rate of 0.001."""
    return torch.optim.AdamW(parameters)


class AQAModule(L.LightningModule):
    """Predict the scores of clips: an encoder's features, read by a head, trained by a sum of named objectives.

    Args:
        axes: What to predict: lowest and highest score per name, such as ``{"mos": [1, 5]}``, or (name, title, low,
            high) each; the command line takes them from the data. Empty where the head brings its own.
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
        pairs: Its pairs with their scores; ``pair_link`` gives their probabilities.
        step: The last training step.
        trained_on: Levels of the clips that it was trained on, where they are known.
        epoch: Epoch, from 1, of the checkpoint that was read, 0 of one before the first step; None where none was.
        carried: Losses to log in front of the next step's, each with its number of clips: of a resumed epoch.

    Raises:
        ValueError: If the encoder has no such layer.
    """

    def __init__(
        self,
        axes: Axes,
        encoder: Encoder | None = None,
        head: HeadCallable = MLP,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: LRSchedulerCallable | None = None,
        freeze: Policy = "none",
        lora: LoRA | None = None,
        layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        rated = make_axes(axes)
        self._save_plain_hyperparameters(rated)
        self.encoder = encoder if encoder is not None else Descriptors()
        self.layers = None if layers is None else self.encoder.numbers_of(layers)
        num_layers = self.encoder.num_layers if self.layers is None else len(self.layers)
        self.head = head(self.encoder.width, num_layers, rated, self.encoder.text_width)
        self.head.take_parts(parts_given(self.encoder, self.layers))
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
        self.pairs: dict[str, list[JudgedPair]] = {}
        self.pair_link: PairLink | None = None
        self._windows: list[list[ScoredWindow]] = []
        self._seen = SeenClips()
        self._without_objective = Regression()
        self._without_objective.name = "mse"

    def _save_plain_hyperparameters(self, axes: Sequence[Axis]) -> None:
        """Keep the arguments as a config has them, so that a checkpoint says what it is of."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.save_hyperparameters()
        if isinstance(lora := self.hparams.get("lora"), LoRA):
            self.hparams["lora"] = asdict(lora)
        self.hparams["axes"] = [list(axis) for axis in axes]
        keep_plain(self.hparams, f"{instantiate_module.__module__}.{instantiate_module.__name__}")

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
            if part is not self and not any(trained) and (trained or part is self.encoder):
                part.eval()
        return self

    def forward(self, batch: Batch | Mapping[str, Any]) -> Output:
        """Score the windows of a batch, or of the dict that stands for one; see ``as_batch``."""
        rows = batch if isinstance(batch, Batch) else as_batch(batch, self.axes, self.head.location_A.dtype)
        return self.head.forward_rows(self.encode(rows), rows)

    def encode(self, batch: Batch) -> Features:
        """Return the features of a batch, cached or computed, in the dtype of the head."""
        features = self.encode_live(batch) if batch.features is None else batch.features
        return features.astype(self.head.location_A.dtype)

    def encode_live(self, batch: Batch) -> Features:
        """Run the encoder on the audio of a batch, and return the layers that the head is given."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            return self.encode_audio(batch.waveform, batch.num_samples, batch.prompts)

    def encode_audio(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str]) -> Features:
        """Run the encoder, and return the layers that the head is given."""
        features: Features = self.encoder(waveform, num_samples, prompts)
        return features if self.layers is None else features._replace(layers=features.layers[:, list(self.layers)])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the constants of scores and features that come with the weights."""
        self.is_fresh = False
        self.trained_on = Training.read(checkpoint.get("callbacks", {}).get("TrainingLevels"))
        self.pair_link = PairLink.read(checkpoint.get("callbacks"), len(self.axes))
        epoch, is_trained = checkpoint.get("epoch"), checkpoint.get("global_step") != 0
        self.epoch = epoch + is_trained if isinstance(epoch, int) else None
        with suppress(RuntimeError):  # it is loaded without a trainer
            if str(self.trainer.precision) == "64-true":
                self.double()  # Lightning loads before it converts, and would round the weights to float32

    def setup(self, stage: str) -> None:
        """Refuse data whose ratings are not of what the model predicts.

        Raises:
            ValueError: If training data rates other axes, evaluation data none of these, or there is no split to
                validate on, or if the precision would round the weights.
        """
        warnings.filterwarnings("ignore", ".*on_before_batch_transfer.*")  # it lets the batches of a datamodule pass
        warnings.filterwarnings("ignore", ".*Total length of .list. across ranks is zero.*")  # a corpus without dev
        check_precision(str(self.trainer.precision))
        if stage == "validate" and isinstance(self.data, AQADataModule):
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
            total = weighted_sum(terms, self.objectives)
        self.step = TrainingStep.of(total, terms, output, everything.ids)
        for losses, num_clips in [*self.carried, (named_losses("train", terms, total), len(everything.ids))]:
            self.log_epoch(losses, num_clips)
        self.carried = []
        return total * share_of_step(self.trainer, batch_idx)

    def on_fit_start(self) -> None:
        """Check the objectives; fit a fresh head's constants to the training clips of a corpus."""
        check_objectives(self.objectives, has_ratings=self.data.manifest.has_ratings("train"))
        if self.objectives == [self._without_objective] and self.trainer.max_epochs != 0:
            rank_zero_info(DEFAULT_OBJECTIVE)
        if isinstance(self.data, AQADataModule) and self.is_fresh and self.trainer.ckpt_path is None:
            clips = self.data.rated("train")
            groups = {clip.id: self.data.group_of(clip) for clip in clips}
            scores_NA = torch.from_numpy(clips.scores())
            self._fit_head(self.data.split_dataloader("train", sharded=False), scores_NA, groups)
        elif self.trainer.max_epochs == 0 and isinstance(self.data, OwnLoaders):
            set_up_training(self.trainer)
            self.on_train_start()  # Lightning calls it before the first epoch only

    def on_train_start(self) -> None:
        """Fit a fresh head's constants to a loader of the user's own, which is there from now on."""
        if isinstance(self.data, OwnLoaders) and self.is_fresh and self.trainer.ckpt_path is None:
            with isolate_rng():  # the training draws what it would draw without this
                self._fit_head(training_batches(self.trainer, self.axes, self.head.location_A.dtype))

    def _fit_head(
        self, batches: Iterable[Batch], scores_NA: Tensor | None = None, groups: Mapping[str, str] | None = None
    ) -> None:
        encode, group_of = self._encode_moved if self.encoder_is_frozen else None, groups.__getitem__ if groups else str
        of_pairs = (pair.axis for pair in self.data.manifest.split("train").pairs)
        fit_head(self.head, batches, encode, scores_NA, group_of, compared_axes(self.objectives, of_pairs))
        self.is_fresh = False

    def _encode_moved(self, batch: Batch) -> Features:
        self.encoder.eval()
        return self.encode(self.transfer_batch_to_device(batch, self.device, 0))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimise what requires a gradient."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return cast(OptimizerLRScheduler, with_scheduler(self.optimizer(trained), self.scheduler))

    # Evaluation

    @property
    def data(self) -> AQADataModule | OwnLoaders:
        """The corpus that the trainer serves, or what stands in for one beside loaders of the user's own."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, AQADataModule) and are_from_datamodule(self.trainer):
            return data
        return OwnLoaders(self.trainer, self.axes, self._seen)

    @property
    def objectives(self) -> list[Objective]:
        """The terms of the loss: the trainer's callbacks that are objectives; to train without, mean squared error."""
        found = [callback for callback in cast(Any, self.trainer).callbacks if isinstance(callback, Objective)]
        return found or ([self._without_objective] if self.trainer.state.fn == "fit" else [])

    def log_epoch(self, values: dict[str, Tensor], num_clips: int) -> None:
        """Log the means over some clips, which count by their number in the mean of the epoch."""
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=num_clips)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Return the batch that a loader gave; see ``as_batch`` for what a loader of the user's own may give."""
        data = self.data
        if isinstance(data, AQADataModule):
            return cast(Batch, batch)
        return data.take(batch, dataloader_idx, self.head.location_A.dtype)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the windows of a batch."""
        self._windows[dataloader_idx] += scored_windows(self(batch), batch)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Score the windows of a batch; return the scores in score points, shape ``(B, A)``."""
        output: Output = self(batch)
        self._windows[dataloader_idx] += scored_windows(output, batch)
        return output.scores

    def on_validation_epoch_start(self) -> None:
        """Start with empty tables."""
        self._windows = [[] for _ in self._evaluated]
        if isinstance(self.data, OwnLoaders):
            self.data.start()

    test_step = validation_step
    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    @property
    def _evaluated(self) -> list[str]:
        """Names of the splits that are evaluated now, one per loader."""
        data, function = self.data, self.trainer.state.fn
        if isinstance(data, OwnLoaders) or function == "test":
            return data.rated_splits
        return ["predict"] if function == "predict" else ["dev"]

    def on_validation_epoch_end(self) -> None:
        """Compute metrics and losses of the split ``dev`` from the gathered table, or of each of several."""
        for split, windows in zip(self._evaluated, self._windows, strict=True):
            self._finish(split, windows)
            stage = "val" if split == "dev" else f"val/{split}"
            self.log_dict(flatten(self.results[split], stage))
            self._log_split_losses(self.predictions[split], self.pairs[split], stage)

    def _log_split_losses(self, table: Predictions, pairs: list[JudgedPair], stage: str) -> None:
        """Log the objectives that read scores alone over a whole split, as ``val/<name>``."""
        output, batch = as_step(table, self.device, pairs, self.axes)
        objectives = [objective for objective in self.objectives if objective.reads_scores_alone]
        terms = {objective.name: objective.loss(output, batch) for objective in objectives}
        if terms:
            self.log_epoch(named_losses(stage, terms, weighted_sum(terms, objectives)), len(table.ids))

    def on_test_epoch_end(self) -> None:
        """Compute metrics of every split from the gathered tables."""
        for split, windows in zip(self._evaluated, self._windows, strict=True):
            self._finish(split, windows)
            self.log_dict(flatten(self.results[split], f"test/{split}"))

    def on_predict_epoch_end(self) -> None:
        """Gather the table of all clips."""
        for split, windows in zip(self._evaluated, self._windows, strict=True):
            self.predictions[split] = gather_predictions(windows, self._clips(split), self.axes)

    def _clips(self, split: str) -> Manifest:
        return self.data.evaluated(split) if isinstance(self.data, OwnLoaders) else self.data.manifest

    def _finish(self, split: str, windows: list[ScoredWindow]) -> None:
        table = gather_predictions(windows, self._clips(split), self.axes)
        self.predictions[split] = table
        self.results[split], self.pairs[split] = numbers_of(table, self._clips(split), self.axes, self.pair_link)
