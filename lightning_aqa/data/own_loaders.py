"""Loaders of the user's own in place of a corpus: what is known of them is what their batches say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, cast

import lightning as L
import torch
from torch.utils.data import DataLoader

from lightning_aqa.batch import Axis, Batch
from lightning_aqa.data.dataset import Normalise
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.plain_batch import as_batch, check_rated, scores_of
from lightning_aqa.data.signal import Signal
from lightning_aqa.data.targets import Targets
from lightning_aqa.utils.distributed import gather_objects, num_processes, process_number

PRIVATE_NAMES = (
    "lightning.pytorch.loops.evaluation_loop._EvaluationLoop._data_source",
    "lightning.pytorch.loops.fit_loop._FitLoop._data_source",
    "lightning.pytorch.loops.fit_loop._FitLoop.setup_data",
    "lightning.pytorch.loops.prediction_loop._PredictionLoop._data_source",
)
"""Names by their dotted paths; tests/test_private_api.py looks whether they are still there."""

MOST_BATCHES = 1000
"""Batches that are read for the constants of a head, where a loader does not know its length."""

EVALUATION = {"test": "test", "predict": "predict"}
"""Split that a function of the trainer evaluates; the others validate on ``dev``."""


class SeenClips:
    """Clips of batches that were evaluated, by split and id, and the rows that came without an id."""

    def __init__(self) -> None:
        self.by_split: dict[str, dict[str, Clip]] = {}
        self.num_rows: Counter[str] = Counter()


class OwnLoaders:
    """Stand in for a corpus, where the trainer has loaders of the user's own or another datamodule.

    It has what callbacks ask a corpus for, of the clips that were evaluated; a training split is not kept.

    Args:
        trainer: The trainer with the loaders.
        axes: What their scores are of.
        seen: Clips of earlier batches, to which it adds.
    """

    skipped: Sequence[Problem] = ()
    signals: dict[str, Signal] = {}
    is_simulated = False
    targets: Targets = "mean"
    normalise: Normalise = "keep"
    shortest_piece = 0.0

    def __init__(self, trainer: L.Trainer, axes: Sequence[Axis], seen: SeenClips) -> None:
        self.trainer, self.axes, self.seen = trainer, list(axes), seen

    @property
    def rated_splits(self) -> list[str]:
        """Names of the splits that are evaluated: ``test``, or ``test0``, ``test1`` of two loaders; so with ``dev``."""
        trainer = self.trainer
        name = EVALUATION.get(_function(trainer), "dev")
        if trainer.state.fn == "fit" and not trainer.enable_validation:
            return []
        batches = {"test": trainer.num_test_batches, "predict": trainer.num_predict_batches}
        count = len(batches.get(name, trainer.num_val_batches))
        return [f"{name}{number}" for number in range(count)] if count > 1 else [name]

    @property
    def manifest(self) -> Manifest:
        """The clips that were evaluated; on the first process those of all."""
        return Manifest((clip for clips in self.seen.by_split.values() for clip in clips.values()), self.axes)

    def start(self) -> None:
        """Forget what was evaluated before of the splits that come now."""
        for split in self.rated_splits:
            self.seen.by_split[split] = {}
            self.seen.num_rows[split] = 0

    def evaluated(self, split: str) -> Manifest:
        """Return the clips of a split, of all processes; each of them has to ask."""
        everywhere: list[Clip] = gather_objects(list(self.seen.by_split[split].values()))
        self.seen.by_split[split] = {clip.id: clip for clip in everywhere}
        return Manifest(self.seen.by_split[split].values(), self.axes)

    def take(self, given: Any, dataloader: int, dtype: torch.dtype) -> Batch:
        """Return the batch that a loader gave, with an id for each row; keep its clips where it is evaluated.

        Raises:
            ValueError: If it is no batch, or an id names clips with different scores.
        """
        batch = as_batch(given, self.axes, dtype)
        is_training = bool(self.trainer.training)
        if is_training:
            check_rated(given)
        split = "train" if is_training else self.rated_splits[dataloader]
        if not batch.ids:
            batch = batch._replace(ids=self._made_ids(split, len(batch.scores)))
        if not is_training:
            scores = given.scores if isinstance(given, Batch) else given.get("scores")
            for clip in _clips(batch, scores, self.axes, split):
                _add(self.seen.by_split[split], clip)
        return batch

    def _made_ids(self, split: str, size: int) -> list[str]:
        """Number rows as a sampler deals them out to the processes: every one another."""
        first = self.seen.num_rows[split]
        self.seen.num_rows[split] += size
        return _numbered(split, first, size)


def _numbered(split: str, first: int, size: int) -> list[str]:
    return [f"{split}-{n * num_processes() + process_number():06d}" for n in range(first, first + size)]


def _clips(batch: Batch, given: Any, axes: Sequence[Axis], split: str) -> Iterator[Clip]:
    """Yield the clips of a batch; a score that comes in float32 is the decimal that is written so."""
    scores_BA = scores_of(given, axes, len(batch.ids)).cpu()
    rows = scores_BA.numpy().astype(str).tolist() if scores_BA.dtype == torch.float32 else scores_BA.tolist()
    for id_, system, domain, prompt, row in zip(
        batch.ids, batch.systems, batch.domains, batch.prompts, rows, strict=True
    ):
        rated = {axis.name: float(score) for axis, score in zip(axes, row, strict=True)}
        kept = {name: score for name, score in rated.items() if not math.isnan(score)}
        yield Clip(id_, "", system=system, domain=domain, prompt=prompt, split=split, scores=kept)


def _add(clips: dict[str, Clip], clip: Clip) -> None:
    known = clips.setdefault(clip.id, clip)
    if known != clip:
        raise ValueError(
            f"The id {clip.id!r} came twice in {clip.split}, with scores {dict(known.scores)} and {dict(clip.scores)} "
            f"and systems {known.system!r} and {clip.system!r}; expected an id per clip."
        )


def _function(trainer: L.Trainer) -> str:
    """Name what the trainer does: fit, validate, test or predict."""
    return "" if trainer.state.fn is None else str(trainer.state.fn.value)


def are_from_datamodule(trainer: L.Trainer) -> bool:
    """Tell whether the loaders of this run are the datamodule's: a trainer keeps that of an earlier one."""
    loops = {"validate": trainer.validate_loop, "test": trainer.test_loop, "predict": trainer.predict_loop}
    loop: Any = loops.get(_function(trainer), trainer.fit_loop)
    return loop._data_source.instance is cast(Any, trainer).datamodule


def set_up_training(trainer: L.Trainer) -> None:
    """Make the training loader ready, which Lightning does itself just before the first epoch."""
    trainer.fit_loop.setup_data()


def training_batches(trainer: L.Trainer, axes: Sequence[Axis], dtype: torch.dtype) -> Iterator[Batch]:
    """Read the training loader once, besides training: as many batches as an epoch has."""
    loader: Any = trainer.train_dataloader
    if iter(loader) is loader:
        raise ValueError(
            f"The training loader is {type(loader).__name__}, which can be read only once; expected one that starts "
            "anew in every epoch, such as a DataLoader or a list of batches."
        )
    if isinstance(loader, DataLoader) and loader.persistent_workers:
        loader = _without_persistence(loader)  # whose workers serve one iterator, which the training has
    length, num_rows = trainer.num_training_batches, 0
    for given in islice(loader, MOST_BATCHES if math.isinf(length) else int(length)):
        check_rated(given)
        batch = as_batch(given, axes, dtype)
        ids = batch.ids or _numbered("train", num_rows, len(batch.scores))
        num_rows += len(batch.scores)
        yield batch._replace(ids=ids)


def _without_persistence(loader: DataLoader[Any]) -> DataLoader[Any]:
    by_batch = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
    batches = by_batch if loader.batch_sampler is None else {"batch_sampler": loader.batch_sampler}
    options: dict[str, Any] = {"collate_fn": loader.collate_fn, "num_workers": loader.num_workers}
    return DataLoader(loader.dataset, **batches, **options, worker_init_fn=loader.worker_init_fn)
