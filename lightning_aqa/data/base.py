"""The datamodule that every corpus shares: a corpus says how to read its lists, the rest is here."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from lightning_aqa.batch import Axis
from lightning_aqa.data.audio import Resampler
from lightning_aqa.data.augment import Augmentation, Augmenter, check_augmentations
from lightning_aqa.data.dataset import ClipWindows, FeatureReader, Normalise, WindowRow
from lightning_aqa.data.loader import (
    BATCH_SIZE,
    ResumableLoader,
    check_batch_settings,
    loader_options,
    workers_for_gpus,
)
from lightning_aqa.data.manifest import SIMULATED_STAMP, Clip, Manifest, Problem
from lightning_aqa.data.pair_batches import training_batches
from lightning_aqa.data.samplers import MAX_PADDING, EvaluationBatches
from lightning_aqa.data.signal import Signal
from lightning_aqa.data.targets import Targets, with_targets
from lightning_aqa.data.taught import taught
from lightning_aqa.data.validation import CorpusError, check_audio, report, without
from lightning_aqa.data.windows import Window, cover, shortest_tail
from lightning_aqa.utils.renamed import renamed_argument

_log = logging.getLogger(__name__)

CacheForm = Literal["auto", "pooled", "frames"]
CachePrecision = Literal["keep", "float32", "float16"]


class AQADataModule(L.LightningDataModule, ABC):
    """Serve the rated clips of one corpus as batches of windows.

    A corpus class adds its own arguments and ``read``, and hands the rest on as ``**loading``, which is how all of them
    show these settings in ``--help``.

    Args:
        batch_size: Clips per training batch and process; null takes 16, unless ``batch_seconds`` is set.
        batch_seconds: Seconds per training batch and process, padding included, in place of ``batch_size``.
        max_padding: Padded seconds over real seconds in training: where shuffled batches would pad more, clips of like
            length share a batch; null shuffles freely; auto is 1.15, or null on cached features.
        eval_batch_size: Windows per evaluation batch and process; null is as in training.
        num_workers: Worker processes per loader; null takes up to 8 where there is a GPU, and none without.
        seed: Seed of the training order and of the training windows.
        on_bad_clip: Stop with a report (``error``), or leave such clips out and list them in the run folder (``skip``).
        check: Decode all audio before training (``full``), or read its headers alone (``header``).
        window_seconds: Longest piece of a clip to encode at once, in seconds; null takes the encoder's own.
        cache: Folder to keep a frozen encoder's features in, so that they are computed once; null computes them anew.
        cache_form: What of them is kept: what the head reads (``auto``), no more than a head that pools reads
            (``pooled``), or all ``frames``.
        cache_precision: Dtype of kept features: the encoder's (``keep``), ``float32``, or ``float16``, in half the
            space.
        resampler: What brings files to the encoder's rate: ``soxr``, or ``sinc`` as torchaudio has it, which Audiobox
            Aesthetics was published with.
        normalise: Divide each window by its root mean square (``rms``), or leave it as it is (``keep``).
        augment: Random changes of the training audio, applied in this order; null trains on the audio as it is.
        targets: Score of a clip: its ``mean`` rating, or what is ``recovered`` from the ratings of single listeners by
            their bias and inconsistency, split by split.
        teacher: Table of scores to learn in place of ratings, as ``ensemble --distill`` writes it; null learns ratings.
        level: Old name of ``normalise``.
    """

    where_to_get: dict[str, str] = {}
    """For each source corpus, the sentence that tells a user where to get its audio."""

    def __init__(
        self,
        batch_size: int | None = None,
        batch_seconds: float | None = None,
        max_padding: float | Literal["auto"] | None = "auto",
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
        on_bad_clip: Literal["error", "skip"] = "error",
        check: Literal["full", "header"] = "full",
        window_seconds: float | None = None,
        cache: str | None = None,
        resampler: Resampler = "soxr",
        normalise: Normalise = "keep",
        augment: list[Augmentation] | None = None,
        cache_form: CacheForm = "auto",
        cache_precision: CachePrecision = "keep",
        level: Normalise | None = None,
        targets: Targets = "mean",
        teacher: str | None = None,
    ) -> None:
        super().__init__()
        check_batch_settings(batch_size, batch_seconds, eval_batch_size, None if max_padding == "auto" else max_padding)
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"num_workers must be at least 0, got {num_workers}.")
        if window_seconds is not None and not window_seconds > 0:
            raise ValueError(f"window_seconds must be above 0, got {window_seconds:g}.")
        if augment and cache is not None:
            raise ValueError(
                "augment changes the audio in every epoch, and cache keeps the features of the audio as it is: "
                "drop one of them (--data.cache=null or --data.augment=null)."
            )
        self.batch_size = batch_size or (BATCH_SIZE if batch_seconds is None else None)
        self.batch_seconds, self.max_padding = batch_seconds, max_padding
        self.eval_batch_size = eval_batch_size or self.batch_size
        self.num_workers = workers_for_gpus() if num_workers is None else num_workers
        self.augment = augment or []
        self.seed, self.on_bad_clip, self.check, self.cache = seed, on_bad_clip, check, cache
        self.window_seconds = window_seconds
        self.resampler: Resampler = resampler
        self.normalise: Normalise = renamed_argument(self, "level", level, normalise)
        self.cache_form: CacheForm = cache_form
        self.cache_precision: CachePrecision = cache_precision
        self.targets: Targets = targets
        self.teacher = teacher
        self.features: FeatureReader | None = None
        self.features_are_in_memory = False
        self.skipped: list[Problem] = []
        self._manifest: Manifest | None = None
        self._sample_rate = 0
        self._min_seconds = 0.0
        self._min_tail_seconds = 0.0
        self._window_seconds: float | None = None
        self._seconds: dict[str, float] = {}
        self.signals: dict[str, Signal] = {}  # of the clips that were decoded by the check

    @abstractmethod
    def read(self) -> Manifest:
        """Read the lists of the corpus, without opening its audio."""

    @property
    def manifest(self) -> Manifest:
        """The clips, read at the first use."""
        if self._manifest is None:
            manifest = self.read()
            self._check_lists(manifest)
            self._manifest = taught(with_targets(manifest, self.targets, type(self).__name__), self)
        return self._manifest

    def _check_lists(self, manifest: Manifest) -> None:
        """Stop where the lists leave a split, or all of them, without ratings, before a later check misses these.

        Raises:
            CorpusError: With all that is wrong in the lists.
        """
        rated = set(manifest.where(Clip.is_rated).splits)
        usual = {"train", "dev", "test"} if self.on_bad_clip == "error" else set()
        is_lost = not rated or bool(usual & set(manifest.splits) - rated)
        if manifest.axes and manifest.problems and is_lost:
            raise CorpusError(self._told(manifest.problems))

    def group_of(self, clip: Clip) -> str:
        """Return what of a clip the splits keep together."""
        return clip.id

    @property
    def axes(self) -> list[Axis]:
        """Axes that the listeners rated."""
        return list(self.manifest.axes)

    def setup(self, stage: str | None = None) -> None:
        """Read the lists; inside a trainer, also meet the encoder's needs and check all audio."""
        manifest = self.manifest
        if self.trainer is None:
            return
        wanted = manifest if stage == "predict" else manifest.where(Clip.is_rated)
        if len(wanted) == 0:
            raise self.unrated()
        encoder: Any = self.trainer.lightning_module.encoder
        self.prepare(encoder.sample_rate, encoder.min_seconds, self.window_seconds or encoder.window_seconds)
        self._min_tail_seconds = shortest_tail(encoder.min_seconds, encoder.min_tail_seconds, self._window_seconds)
        if stage == "fit" and self.augment:
            self._check_augmentations()
        self.check_clips(wanted)

    def unrated(self) -> CorpusError:
        """Return the error that no clip has a rating."""
        names = ", ".join(axis.name for axis in self.axes) or "any axis"
        lost = f"{type(self).__name__}: none of the {len(self.manifest)} clips has a rating to learn from"
        return CorpusError(f"{lost}: the cells of {names} are empty, or say nan, NA, null or none.{self.look_closer()}")

    def _check_augmentations(self) -> None:
        scores_NA = self.rated("train").scores()
        names = [axis.name for axis in self.axes]
        rated = [name for name, scores_N in zip(names, scores_NA.T, strict=True) if not np.isnan(scores_N).all()]
        check_augmentations(self.augment, names, rated)

    def prepare(self, sample_rate: int, min_seconds: float = 0.0, window_seconds: float | None = None) -> None:
        """Serve audio at ``sample_rate`` (Hz), in windows of at most ``window_seconds``.

        Raises:
            ValueError: If the windows are shorter than ``min_seconds``.
        """
        if window_seconds is not None and window_seconds < min_seconds:
            raise ValueError(f"window_seconds is {window_seconds:g}, and the encoder needs {min_seconds:g} s or more.")
        if min_seconds != self._min_seconds:
            self._seconds = {}
        self._sample_rate, self._min_seconds, self._window_seconds = sample_rate, min_seconds, window_seconds

    def check_clips(self, clips: Manifest) -> None:
        """Look at the lists and at the audio of ``clips``, each once; then stop or skip, as ``on_bad_clip`` says.

        Raises:
            CorpusError: If something is wrong and ``on_bad_clip`` is ``error``, or if no clip is left.
        """
        new = [clip for clip in clips if clip.id not in self._seconds]
        audio = check_audio(new, self._min_seconds, decode=self.check == "full", signals=self.signals)
        problems = [problem for problem in (*clips.problems, *audio.problems) if problem not in self.skipped]
        if problems:
            usable = without(clips, problems)
            if self.on_bad_clip == "error" or len(usable) == 0:
                raise CorpusError(self._told(problems))
            _log.warning("%s\nThe clips that they concern are left out.", self._counted(problems))
            self._manifest, self.skipped = without(self.manifest, problems), [*self.skipped, *problems]
        self._seconds.update(audio.seconds)

    def _told(self, problems: Sequence[Problem]) -> str:
        skips = self.on_bad_clip == "skip"
        advice = "No clip is left" if skips else "Mend them, or leave these clips out with --data.on_bad_clip=skip"
        return f"{self._counted(problems)}\n{advice}.{self.look_closer()}"

    def look_closer(self) -> str:
        """Return a sentence, after a space, with the command that tells more of the lists; empty without one."""
        return ""

    def _counted(self, problems: Sequence[Problem]) -> str:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        return f"{type(self).__name__}: {count}.\n{report(problems, self.where_to_get)}"

    @property
    def shortest_piece(self) -> float:
        """Shortest piece of a clip that is encoded, in seconds, unless the clip is no longer."""
        return self._min_tail_seconds

    @property
    def is_simulated(self) -> bool:
        """Whether the clips are of a made-up corpus, as ``Synthetic`` writes them, read by whatever class."""
        first = next(iter(self.manifest), None)
        folders = Path(first.path).absolute().parents if first is not None else ()
        return any((folder / SIMULATED_STAMP).is_file() for folder in folders)

    @property
    def rated_splits(self) -> list[str]:
        """Names of the splits in which some clip is rated: train, dev, test, then the corpus's own."""
        usual = ("train", "dev", "test")
        found = self.manifest.where(Clip.is_rated).splits
        return [name for name in usual if name in found] + [name for name in found if name not in usual]

    def rated(self, split: str) -> Manifest:
        """Return the rated clips of one split.

        Raises:
            CorpusError: If there are none.
        """
        clips = self.manifest.split(split).where(Clip.is_rated)
        if len(clips) == 0:
            has = ", ".join(self.rated_splits) or "none"
            lost = f" Left out: {self._counted(self.skipped)}" if self.skipped else ""
            raise CorpusError(
                f"{type(self).__name__}: no rated clip in split '{split}'; splits with ratings: {has}.{lost}"
            )
        return clips

    def train_dataloader(self) -> DataLoader[WindowRow]:
        """Serve the split ``train``, shuffled by (seed, epoch)."""
        clips = self.rated("train")
        lengths = [self._seconds[clip.id] for clip in clips]
        covers = [self._cover(i, clip) for i, clip in enumerate(clips)] if self.features else None
        sizes = (self.batch_seconds, self._allowed_padding(), bool(self.augment))
        batches = training_batches(
            clips, lengths, self.batch_size, self._window_seconds, self.seed, *self._ranks(), covers, *sizes
        )
        return ResumableLoader(self._windows_of(clips), batches, **self._options(stays=True))

    def _allowed_padding(self) -> float | None:
        """Return what padding may cost: where an encoder runs on it, little; cached features are shuffled freely."""
        if self.max_padding == "auto":
            return None if self.features else MAX_PADDING
        return self.max_padding

    def val_dataloader(self) -> list[DataLoader[WindowRow]]:
        """Serve the split ``dev``, where the corpus has one."""
        if "dev" not in self.rated_splits:
            return []
        return [self._evaluation_loader(self.rated("dev"), stays=True)]

    def test_dataloader(self) -> list[DataLoader[WindowRow]]:
        """Serve every rated split, one loader each, in the order of ``rated_splits``."""
        return [self.split_dataloader(split) for split in self.rated_splits]

    def predict_dataloader(self) -> DataLoader[WindowRow]:
        """Serve every clip, rated or not."""
        return self._evaluation_loader(self.manifest)

    def split_dataloader(self, split: str, *, sharded: bool = True) -> DataLoader[WindowRow]:
        """Serve the rated clips of one split: every clip once, in a fixed order.

        Args:
            split: Name of the split.
            sharded: Give each process its share; otherwise all clips to each.
        """
        return self._evaluation_loader(self.rated(split), sharded=sharded)

    def windows(self, clips: Manifest) -> list[Window]:
        """Return the evaluation windows of some clips."""
        return [window for i, clip in enumerate(clips) for window in self._cover(i, clip)]

    def _cover(self, index: int, clip: Clip) -> list[Window]:
        return cover(index, self._seconds[clip.id], self._window_seconds, self._min_tail_seconds)

    def _evaluation_loader(
        self, clips: Manifest, *, sharded: bool = True, stays: bool = False
    ) -> DataLoader[WindowRow]:
        ranks = self._ranks() if sharded else (0, 1)
        seconds = self.batch_seconds if self.eval_batch_size is None else None
        batches = EvaluationBatches(self.windows(clips), self.eval_batch_size, *ranks, seconds)
        return DataLoader(self._windows_of(clips), batch_sampler=batches, **self._options(stays=stays))

    def _windows_of(self, clips: Manifest) -> ClipWindows:
        names = [axis.name for axis in clips.axes]
        shortest = math.ceil(self._min_seconds * self._sample_rate)
        augmenter = Augmenter(self.augment, names, self._sample_rate, shortest, self.seed) if self.augment else None
        return ClipWindows(clips, self._sample_rate, self.features, self.resampler, self.normalise, augmenter)

    def _options(self, *, stays: bool) -> dict[str, Any]:
        num_workers = 0 if self.features_are_in_memory else self.num_workers
        return loader_options(num_workers, self.trainer, stays=stays)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
