"""A trained predictor as one object: paths or tensors in, a score per axis out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, overload

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Axis, Features, Output
from lightning_aqa.data.audio import Resampler
from lightning_aqa.data.dataset import Normalise
from lightning_aqa.data.decoding import AudioError
from lightning_aqa.encoders.cpu import packed
from lightning_aqa.metrics.conformal import SHARE, ConformalCalibration
from lightning_aqa.module import AQAModule
from lightning_aqa.results.notes import Expected
from lightning_aqa.results.trained_features import TrainedFeatures, pooled
from lightning_aqa.scoring.batching import Batching, ScoredClip, WindowScore, score_groups
from lightning_aqa.scoring.decode import Piece, cut, read_pieces, reading_of, weighted_means
from lightning_aqa.scoring.frames import ScoredFrames, frames_of, joined
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.trust import Trust
from lightning_aqa.scoring.waveforms import as_rate, as_tensor, is_array, is_numbers
from lightning_aqa.utils.renamed import renamed_argument

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
BATCH_SECONDS = {"cpu": 40.0, "other": 320.0}
NUM_WORKERS = 2
Path = str | os.PathLike[str]


class Scorer:
    """Score audio by a trained model, the same way as evaluation does.

    A clip's score is the mean of its windows' scores, weighted by their length; it does not depend on the clips beside
    it. The model is in eval mode and its parameters take no gradient.

    Args:
        module: A trained module; it is moved and cast in place.
        device: Where to compute; ``auto`` takes CUDA, else MPS, else the CPU.
        dtype: Type of the encoder's weights: ``float32``, ``bfloat16`` or ``float64``. The head keeps float32, or
            float64 with it.
        batch_seconds: Most seconds of padded audio that are encoded at once; a longer window goes alone, and 0 takes
            each window by itself. None takes 40 on a CPU and 320 elsewhere.
        num_workers: Threads that decode files ahead of the model; 0 decodes in between.
        window_seconds: Longest window, in seconds; None takes the encoder's own.
        resampler: What brings files to the encoder's rate, as in training.
        normalise: Whether each window is divided by its root mean square, as in training.
        level: Old name of ``normalise``.
        interval: Share of clips whose rating is to lie within their intervals; 0 gives no intervals.
        calibration: What intervals follow from, as the run that trained the module left it; None gives none.
        trained: Features of the training clips, from there too; None says of no clip how unlike them it is.

    Attributes:
        trust: What stands beside scores: intervals, distances from the training clips, notes.
        axes: What it predicts, in order.
        sample_rate: Rate that the encoder takes, in Hz.
        reading: How audio comes to the encoder.
        expected: Clips that a score means something for.

    Raises:
        ValueError: If the device is not here, or a setting is out of range.

    Example:
        >>> from lightning_aqa.encoders.melspectrogram import MelSpectrogram
        >>> module = AQAModule([("MI", "Musical impression", 1.0, 5.0)], MelSpectrogram(width=16, depth=1))
        >>> scores = Scorer(module, device="cpu")(torch.zeros(3, 2, 22050), sample_rate=22050)
        >>> {name: tuple(value.shape) for name, value in scores.items()}
        {'MI': (3,)}
    """

    def __init__(
        self,
        module: AQAModule,
        device: str = "auto",
        dtype: str = "float32",
        batch_seconds: float | None = None,
        num_workers: int = NUM_WORKERS,
        window_seconds: float | None = None,
        resampler: Resampler = "soxr",
        normalise: Normalise = "keep",
        level: Normalise | None = None,
        interval: float = SHARE,
        calibration: ConformalCalibration | None = None,
        trained: TrainedFeatures | None = None,
    ) -> None:
        self.trust = Trust(module.axes, calibration, trained, interval)
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}.")
        for name, value in {"num_workers": num_workers, "batch_seconds": batch_seconds or 0.0}.items():
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value:g}.")
        normalise = renamed_argument(self, "level", level, normalise)
        self.reading = reading_of(module.encoder, window_seconds, resampler, normalise)
        self.device, self.dtype = find_device(device), dtype
        usual = BATCH_SECONDS["cpu" if self.device.type == "cpu" else "other"]
        batch_seconds = usual if batch_seconds is None else batch_seconds
        self.batching = Batching(batch_seconds, self.reading.sample_rate, num_workers)
        self.module = module.eval().requires_grad_(False).to(self.device)
        self.module.encoder.to(DTYPES[dtype])
        self.module.head.to(torch.float64 if dtype == "float64" else torch.float32)
        self.axes: tuple[Axis, ...] = tuple(module.axes)
        self.sample_rate = self.reading.sample_rate
        padded, is_kept = module.encoder.padded_seconds, self.reading.normalise == "keep"
        self.expected = Expected(self.axes, self.reading.min_tail_seconds, padded, module.trained_on, is_kept)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a string is a sequence of strings too
        self, audio: Path, sample_rate: None = ..., prompts: str | None = ...
    ) -> dict[str, float]: ...
    @overload
    def __call__(
        self, audio: Sequence[Path], sample_rate: None = ..., prompts: Sequence[str] | None = ...
    ) -> list[dict[str, float]]: ...
    @overload
    def __call__(
        self, audio: Tensor | NDArray[Any], sample_rate: float, prompts: str | Sequence[str] | None = ...
    ) -> dict[str, Tensor]: ...
    @overload
    def __call__(
        self, audio: Sequence[Tensor | NDArray[Any]], sample_rate: float, prompts: Sequence[str] | None = ...
    ) -> list[dict[str, Tensor]]: ...
    def __call__(self, audio: Any, sample_rate: float | None = None, prompts: str | Sequence[str] | None = None) -> Any:
        """Score audio.

        Tensors have torchaudio's shapes: ``(T,)`` and ``(C, T)`` are one clip, ``(B, C, T)`` are B clips of one length.
        ``(T, C)``, as soundfile has it, is told by its longer side, which is time. NumPy arrays and lists of numbers
        are read too; integers have the full scale of their bits. Channels are averaged, and
        ``torchaudio.functional.resample`` brings them to the encoder's rate. Where a tensor requires a gradient, its
        scores give it one, through windows and resampling.

        Args:
            audio: A path, or a tensor or array; or a list of either.
            sample_rate: Rate of the tensors, in Hz; files know their own.
            prompts: Text of each clip, for encoders with a text side.

        Returns:
            Scores by axis name: of a path as floats, of one clip as tensors of shape ``()``, of a batch as tensors of
            shape ``(B,)``. For a list of paths or clips a list of these.

        Raises:
            AudioError: If a file cannot be scored.
            ValueError: If a tensor comes without its rate or in another shape, or no gradient can reach it.
        """
        if isinstance(audio, str | os.PathLike):
            return self.score_files([audio], prompts)[0]
        if is_array(audio) and audio.ndim == 3:
            return self._named(self.score_waveforms(list(audio), sample_rate, prompts))
        if not is_array(audio) and not isinstance(audio, list | tuple):
            raise ValueError(f"Audio is a path, a tensor or an array, or a list of these, got {type(audio).__name__}.")
        if not is_array(audio) and not audio:
            return []
        if is_array(audio) or is_numbers(audio):
            return self._named(self.score_waveforms([audio], sample_rate, prompts)[0])
        if all(map(is_array, audio)):
            return [self._named(row) for row in self.score_waveforms(list(audio), sample_rate, prompts)]
        if not all(isinstance(path, str | os.PathLike) for path in audio):
            raise ValueError("A list of audio holds paths alone, or tensors and arrays alone.")
        return self.score_files(audio, prompts)

    def score_files(self, paths: Sequence[Path], prompts: str | Sequence[str] | None = None) -> list[dict[str, float]]:
        """Score files.

        Raises:
            AudioError: If one cannot be scored; it is named.
        """
        names = [os.fspath(path) for path in paths]
        texts = _per_clip(prompts, len(names))
        items = (Item(name, name, prompt=text) for name, text in zip(names, texts, strict=True))
        results = []
        for row in (row for rows in self.score_items((0, item) for item in items) for row in rows):
            if row.error:
                raise AudioError(f"{row.item.path}: {row.error}")
            results.append({axis.name: score for axis, score in zip(self.axes, row.scores, strict=True)})
        return results

    def rows(
        self, paths: Sequence[Path], prompts: str | Sequence[str] | None = None, seconds: float | None = None
    ) -> list[dict[str, Any]]:
        """Score files, with all that ``score`` writes beside scores.

        Args:
            paths: The files.
            prompts: Text of each, for encoders with a text side.
            seconds: Most of each file, from its start; None is all.

        Returns:
            For each file its ``path``, per axis the score and, where there are intervals, ``<axis> low`` and
            ``<axis> high``, ``unlike`` where the training clips are known, ``note`` and ``error``.
        """
        texts = _per_clip(prompts, len(paths))
        items = (
            Item(os.fspath(p), os.fspath(p), end=seconds, prompt=text) for p, text in zip(paths, texts, strict=True)
        )
        found = [row for rows in self.score_items((0, item) for item in items) for row in rows]
        beside = [{"path": row.item.path, "note": row.note, "error": row.error} for row in found]
        values = [dict(zip(self.trust.columns, self.trust.values(row), strict=True)) for row in found]
        return [{**about, **numbers} for about, numbers in zip(beside, values, strict=True)]

    @property
    def reads_text(self) -> bool:
        """Whether prompts change scores."""
        return self.module.encoder.text_width is not None

    @torch.no_grad()
    def frame_scores(self, path: Path, prompt: str = "", seconds: float | None = None) -> ScoredFrames | None:
        """Score the frames of a file, at their times, window by window.

        Args:
            path: The file.
            prompt: Its text, for encoders with a text side.
            seconds: Most of it, from its start; None is all.

        Returns:
            Scores and times; None from heads that score no frames.

        Raises:
            AudioError: If the file cannot be scored.
        """
        windows, begin = list[ScoredFrames](), 0.0
        for piece in self._read(Item(os.fspath(path), os.fspath(path), end=seconds, prompt=prompt)):
            found = frames_of(self._forward([piece.samples], [prompt])[0], begin, piece.weight)
            if found is None:
                return None
            windows.append(found)
            begin += piece.weight
        return joined(windows)

    def score_items(self, items: Iterable[tuple[int, Item]]) -> Iterator[list[ScoredClip]]:
        """Score clips of files as they come; see ``score_groups``."""
        finish = partial(self.trust.finish, expected=self.expected)
        return score_groups(items, self._read, self._score, self.batching, finish)

    def _read(self, item: Item) -> Iterator[Piece]:
        return read_pieces(item, self.reading)

    @torch.no_grad()
    def _score(self, windows: Sequence[Tensor], prompts: Sequence[str]) -> list[WindowScore]:
        output, features = self._forward(windows, prompts)
        scores = output.scores.cpu().double().tolist()
        deviations = [None] * len(scores) if output.deviation is None else output.deviation.cpu().double().tolist()
        means = [None] * len(scores) if self.trust.trained is None else pooled(features)
        return [WindowScore(*row) for row in zip(scores, deviations, means, strict=True)]

    def score_waveforms(
        self, waveforms: Sequence[Any], sample_rate: float | None, prompts: str | Sequence[str] | None = None
    ) -> Tensor:
        """Score clips in memory, all at once.

        Args:
            waveforms: Tensors or arrays, each of shape ``(T,)``, ``(C, T)`` or ``(T, C)``.
            sample_rate: Their rate, in Hz.
            prompts: Text of each clip.

        Returns:
            Scores in score points, shape ``(B, A)``, on the device of the model.

        Raises:
            ValueError: If there is no rate, a clip has another shape, or no gradient reaches one that requires it.
        """
        rate = as_rate(sample_rate)
        waveforms = [as_tensor(waveform) for waveform in waveforms]
        texts = _per_clip(prompts, len(waveforms))
        wants_gradient = torch.is_grad_enabled() and any(waveform.requires_grad for waveform in waveforms)
        with torch.set_grad_enabled(wants_gradient):
            clips = [cut(waveform.to(self.device), rate, self.reading) for waveform in waveforms]
            windows = [(piece, text) for clip, text in zip(clips, texts, strict=True) for piece, _ in clip]
            scores = self._forward(*zip(*windows, strict=True))[0].scores
            scores_BA = weighted_means(scores, [[weight for _, weight in clip] for clip in clips])
        if wants_gradient and not scores_BA.requires_grad:
            raise ValueError(f"{type(self.module.encoder).__name__} has no gradient to the waveform.")
        return scores_BA

    def _forward(self, windows: Sequence[Tensor], prompts: Sequence[str]) -> tuple[Output, Features]:
        """Score windows ``(T,)``, one row each."""
        num_samples_B = torch.tensor([len(window) for window in windows], device=self.device)
        wide = torch.float64 if self.dtype == "float64" else torch.float32
        waveform_BT = pad_sequence(list(windows), batch_first=True).to(self.device, wide)
        with packed() if self.device.type == "cpu" else nullcontext():
            features = self.module.encode_audio(waveform_BT, num_samples_B, list(prompts))
        output: Output = self.module.head(features.astype(self.module.head.location_A.dtype))
        return output, features

    def _named(self, scores: Tensor) -> dict[str, Tensor]:
        """Split the last dimension by axis."""
        return {axis.name: score for axis, score in zip(self.axes, scores.unbind(-1), strict=True)}


def _per_clip(prompts: str | Sequence[str] | None, size: int) -> list[str]:
    """Return a prompt per clip; one stands for all."""
    texts = [prompts or ""] * size if prompts is None or isinstance(prompts, str) else list(prompts)
    if len(texts) != size:
        raise ValueError(f"There are {size} clips and {len(texts)} prompts.")
    return texts


def find_device(name: str) -> torch.device:
    """Return a device that is here; ``auto`` takes CUDA, else MPS, else the CPU.

    Raises:
        ValueError: If it is not here.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name} cannot be used here: {reason}") from None
    return torch.device(name)
