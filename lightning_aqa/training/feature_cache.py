"""The callback that gives a run the features of its frozen encoder, computed where they are not there yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lightning_aqa.batch import Batch, Features, Reads
from lightning_aqa.data.base import AQADataModule, CacheForm
from lightning_aqa.data.cache.entry import DamagedError
from lightning_aqa.data.cache.pooled import Form
from lightning_aqa.data.cache.store import FeatureStore
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.windows import Window
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.fingerprint import fingerprint
from lightning_aqa.heads.base import Head
from lightning_aqa.module import AQAModule
from lightning_aqa.training.feature_encoding import fill

_log = logging.getLogger(__name__)


class Built(NamedTuple):
    """Work done to have all features: windows in all, damaged, derived from richer entries, encoded; seconds."""

    num_windows: int
    num_damaged: int
    num_derived: int
    num_encoded: int
    seconds: float


def open_store(data: AQADataModule, module: AQAModule) -> FeatureStore:
    """Return the store that the settings of the data name, for this encoder and this head.

    Raises:
        ValueError: If the encoder is trained, since its features change with every step; or if the head cannot read
            the form that is asked for.
    """
    assert data.cache is not None
    if not module.encoder_is_frozen:
        raise ValueError(
            f"--data.cache needs a frozen encoder, and {type(module.encoder).__name__} is trained; "
            "freeze it with --model.freeze=all, or drop --data.cache."
        )
    form = Form(choose_kind(data.cache_form, module.head), data.cache_precision, module.layers)
    return store_for(module.encoder, Path(data.cache), data.resampler, data.normalise, form)


def store_for(encoder: Encoder, folder: Path, *settings: Any, **more: Any) -> FeatureStore:
    """Return the store of an encoder's features; the settings are those of ``FeatureStore``."""
    about = (fingerprint(encoder), encoder.sample_rate, type(encoder).__name__, encoder.text_width is not None)
    return FeatureStore(folder, *about, *settings, **more)


def windows_of(data: AQADataModule, stage: str) -> tuple[Manifest, list[Window]]:
    """Return the clips that a stage reads, and their windows."""
    clips = data.manifest if stage == "predict" else data.manifest.where(Clip.is_rated)
    return clips, data.windows(clips)


def build(
    store: FeatureStore,
    data: AQADataModule,
    module: AQAModule,
    device: torch.device,
    stage: str = "fit",
    rank: int = 0,
    num_ranks: int = 1,
) -> Built:
    """Compute what the store lacks of this rank's share of the windows.

    Each rank has its share of all windows, since what is missing changes while others already write; shares are of like
    length, since all wait for the last.
    """
    start = time.monotonic()
    clips, windows = windows_of(data, stage)
    missing, num_damaged, num_derived = list[Window](), 0, 0
    by_length = sorted(windows, key=lambda window: (-window.seconds, window.clip, window.start))
    for window in by_length[rank::num_ranks]:
        clip = clips[window.clip]
        try:
            if store.is_there(store.path(clip, window)):
                continue
        except DamagedError:
            store.path(clip, window).unlink(missing_ok=True)
            num_damaged += 1
        if store.derive(clip, window):
            num_derived += 1
        else:
            missing.append(window)
    store.contents.save()
    if num_damaged:
        _log.warning("%s: entries that were damaged and are computed anew: %d.", store.folder, num_damaged)
    num_encoded = 0
    if missing:
        encode = _encode_on(device, module)
        workers, shows = data.num_workers, rank == 0
        num_encoded = fill(store, encode, clips, missing, num_workers=workers, num_ranks=num_ranks, shows=shows)
    return Built(len(windows), num_damaged, num_derived, num_encoded, time.monotonic() - start)


def _encode_on(device: torch.device, module: AQAModule) -> Callable[[Batch], Features]:
    module.encoder.eval().to(device)

    def encode(batch: Batch) -> Features:
        return module.encode_live(
            batch._replace(waveform=batch.waveform.to(device), num_samples=batch.num_samples.to(device))
        )

    return encode


class FeatureCache(Callback):
    """Compute what the cache folder lacks before the loaders start, then let the datamodule read features.

    The entry of a window is found by the content of its audio file, the window, the resampler, and the encoder's class,
    settings and weights; change any and it is computed anew. Entries are written under another name and then renamed,
    so a kill leaves no half entry, and processes may share a folder.
    """

    def __init__(self) -> None:
        self.store: FeatureStore | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fill the cache, where the datamodule names one.

        Raises:
            ValueError: If the encoder is trained, the head needs another form, or the disk is too small.
        """
        data = cast(Any, trainer).datamodule
        assert isinstance(pl_module, AQAModule)
        if not isinstance(data, AQADataModule) or data.cache is None:
            return
        if self.store is None:
            self.store = open_store(data, pl_module)
        device, rank, num_ranks = trainer.strategy.root_device, trainer.global_rank, trainer.world_size
        build(self.store, data, pl_module, device, stage, rank, num_ranks)
        trainer.strategy.barrier()
        self.store.contents.reload()  # other processes have hashed the rest
        clips, windows = windows_of(data, stage)
        self.store.hold([self.store.path(clips[window.clip], window) for window in windows])
        self.store.contents.save()
        data.features, data.features_are_in_memory = self.store.read, self.store.holds_all

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look again where a checkpoint has brought other weights of the encoder than those it was built with."""
        if self.store is None or trainer.ckpt_path is None:
            return
        assert isinstance(pl_module, AQAModule)
        if fingerprint(pl_module.encoder) != self.store.encoder_key:
            self.store = None
            self.setup(trainer, pl_module, "fit")


def choose_kind(choice: CacheForm, head: Head) -> Reads:
    """Return what is kept for a head: what it reads, or all frames.

    Raises:
        ValueError: If no more than the pooled form is wanted, and the head reads frames.
    """
    reads = head.reads if head.states_reads() else "frames"  # all frames are safe for a class that does not say
    if choice == "pooled" and reads == "frames":
        raise ValueError(
            f"--data.cache_form=pooled keeps mean and deviation over the frames, and {type(head).__name__} as it is "
            "set up reads the frames themselves: use --data.cache_form=auto, or a head that pools, such as "
            "--model.head=MLP --model.head.pooling=mean_std."
        )
    return "frames" if choice == "frames" else reads
