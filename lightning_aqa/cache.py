"""Keep a frozen encoder's features on disk, so that each window is encoded once and not once per epoch."""

from __future__ import annotations

import hashlib
import inspect
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_aqa.batch import Features
from lightning_aqa.data.audio import Resampler
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.dataset import ClipWindows, Level, collate
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.windows import EvaluationBatches, Window
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.module import AQAModule

FORMAT = 1
"""Number of this layout; a change of it makes old entries unused."""


class FeatureCache(Callback):
    """Encode what the cache folder lacks before the loaders start, then let the datamodule read features.

    The entry of a window is found by the content of its audio file, the window, the resampler, and the encoder's class,
    settings and weights; change any and it is encoded anew. Entries are written under another name and then renamed, so
    a kill leaves no half entry, and processes may share a folder.
    """

    def __init__(self) -> None:
        self.store: FeatureStore | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fill the cache, where the datamodule names one.

        Raises:
            ValueError: If the encoder is trained: its features change with every step.
        """
        data = cast(Any, trainer).datamodule
        assert isinstance(pl_module, AQAModule)
        assert isinstance(data, AQADataModule)
        if data.cache is None:
            return
        if not pl_module.encoder_is_frozen:
            raise ValueError(
                f"--data.cache needs a frozen encoder, and {type(pl_module.encoder).__name__} is trained; "
                "freeze it with --model.freeze=all, or drop --data.cache."
            )
        if self.store is None:
            self.store = FeatureStore(Path(data.cache), pl_module.encoder, data.resampler, data.level)
        clips = data.manifest if stage == "predict" else data.manifest.where(Clip.is_rated)
        paths = [(self.store.path(clips[window.clip], window), window) for window in data.windows(clips)]
        # Each rank has its share of all windows: what is missing changes while others already write.
        mine = paths[trainer.global_rank :: trainer.world_size]
        missing = [window for path, window in mine if not path.exists()]
        if missing:
            device = trainer.strategy.root_device
            _fill(self.store, pl_module.encoder.eval().to(device), device, clips, missing, data.num_workers)
        trainer.strategy.barrier()
        data.features = self.store.read


@torch.no_grad()
def _fill(
    store: FeatureStore,
    encoder: Encoder,
    device: torch.device,
    clips: Manifest,
    missing: list[Window],
    num_workers: int,
) -> None:
    """Encode windows one by one: no padding to compute, and the order of length plays no part."""
    loader = DataLoader(
        ClipWindows(clips, encoder.sample_rate, resampler=store.resampler, level=store.level),
        batch_sampler=EvaluationBatches(missing, batch_size=1),
        num_workers=num_workers,
        collate_fn=collate,
    )
    ordered = loader.batch_sampler
    assert isinstance(ordered, EvaluationBatches)
    for window, batch in zip(track(ordered.windows, "encoding clips", transient=True), loader, strict=True):
        features = encoder(batch.waveform.to(device), batch.num_samples.to(device), batch.prompts)
        store.write(clips[window.clip], window, features)


class FeatureStore:
    """One safetensors file per window.

    Args:
        folder: Where the files are.
        encoder: The encoder whose features they hold.
        resampler: What resampled the audio.
        level: Whether the windows were brought to one level.
    """

    def __init__(self, folder: Path, encoder: Encoder, resampler: Resampler = "soxr", level: Level = "keep") -> None:
        self.folder, self.encoder_key = folder, fingerprint(encoder)
        self.resampler: Resampler = resampler
        self.level: Level = level
        self.reads_prompts = encoder.text_width is not None
        self._content: dict[str, str] = {}

    def path(self, clip: Clip, window: Window) -> Path:
        """Return where a window's features are, or will be."""
        if clip.path not in self._content:
            self._content[clip.path] = hashlib.sha256(Path(clip.path).read_bytes()).hexdigest()
        begin = clip.start + window.start
        prompt = clip.prompt if self.reads_prompts else ""
        audio = [self._content[clip.path], begin, window.seconds, self.resampler, self.level]
        parts = [FORMAT, self.encoder_key, *audio, prompt]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, clip: Clip, window: Window) -> Features:
        """Read the features of one window, B = 1."""
        return Features(**{name: tensor[None] for name, tensor in load_file(self.path(clip, window)).items()})

    def write(self, clip: Clip, window: Window, features: Features) -> None:
        """Write the features of one window (B = 1), all at once or not at all."""
        path = self.path(clip, window)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: field[0].cpu().contiguous() for name, field in features._asdict().items() if field is not None}
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        save_file(tensors, part)
        part.replace(path)


def fingerprint(encoder: nn.Module) -> str:
    """Hash the source of the modules of an encoder and of those inside it, their plain settings and their weights."""
    digest = hashlib.sha256()
    for module in encoder.modules():
        if module is encoder or isinstance(module, Encoder):
            digest.update(Path(inspect.getfile(type(module))).read_bytes())
    for part in _settings(encoder):
        digest.update(json.dumps(part, default=repr, sort_keys=True).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _settings(encoder: nn.Module) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, part in encoder.named_modules():
        plain = {k: v for k, v in vars(part).items() if not k.startswith("_") and k != "training"}
        kept = {k: v for k, v in plain.items() if isinstance(v, int | float | str | tuple | list | dict | None)}
        yield name, f"{type(part).__module__}.{type(part).__qualname__}", kept


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
