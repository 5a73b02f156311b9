"""A trained predictor as an ONNX file, with what has to be done to audio before it in the file's metadata."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import lightning_aqa
from lightning_aqa.batch import Features
from lightning_aqa.module import AQAModule
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.utils.files import complete

Part = Literal["model", "head"]
TOLERANCE = 1e-5
"""Largest difference of a score from that of the package, as a share of the axis's scale."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SECONDS = (1.0, 1.37, 2.5)
"""Lengths of the noise that both are compared on."""


class ExportedFile(NamedTuple):
    """A file that was written.

    Args:
        path: The file.
        part: Whether it takes a waveform (``model``) or an encoder's features (``head``).
        difference: Largest difference from the package's scores, as a share of the scale.
        metadata: What the file says of itself.
    """

    path: Path
    part: Part
    difference: float
    metadata: dict[str, str]


class _WholeModel(nn.Module):
    """Waveform ``(1, T)`` to scores ``(1, A)``."""

    def __init__(self, module: AQAModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, waveform: Tensor) -> Tensor:
        num_samples = torch.full((1,), waveform.shape[1], dtype=torch.int64)
        features = self.module.encode_audio(waveform, num_samples, [""])
        scores: Tensor = self.module.head(features.astype(waveform.dtype)).scores
        return scores


class _HeadAlone(nn.Module):
    """Hidden states ``(1, L, F, D)`` to scores ``(1, A)``."""

    def __init__(self, module: AQAModule) -> None:
        super().__init__()
        self.head = module.head

    def forward(self, features: Tensor) -> Tensor:
        mask = torch.ones(1, features.shape[2], dtype=torch.bool)
        scores: Tensor = self.head(Features(features, mask)).scores
        return scores


def export_onnx(scorer: Scorer, path: Path, part: Part | None = None) -> ExportedFile:
    """Write a predictor as ONNX, and compare it with the package's own scores before the file gets its name.

    Args:
        scorer: The predictor.
        path: The file.
        part: What to export; None takes the model where its encoder allows, else the head.

    Raises:
        ValueError: If packages are missing, the predictor cannot be exported, or its scores come out otherwise.
    """
    _check_packages()
    module = scorer.module
    if module.encoder.text_width is not None:
        raise ValueError(
            f"{type(module.encoder).__name__} reads the prompt of a clip, which an ONNX file of sound cannot take: "
            "export a predictor without a text side."
        )
    parts: Sequence[Part] = ("model", "head") if part is None else (part,)
    reasons = []
    for chosen in parts:
        try:
            return _write(scorer, path, chosen, _program(module, chosen, scorer.sample_rate))
        except OSError:
            raise
        except Exception as error:  # of torch.onnx and onnxruntime, whose errors have no common class
            said = _COLOURS.sub("", str(error)) or type(error).__name__
            reasons.append(f"{chosen}: {said.strip().splitlines()[0][:200].rstrip('.:')}")
    raise ValueError(f"this predictor cannot be written as ONNX; nothing is written ({'; '.join(reasons)}).")


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"export needs {error.name}: pip install 'lightning_aqa[onnx]'.") from None


def _program(module: AQAModule, part: Part, sample_rate: int) -> Any:
    """Trace a part with one free dimension: samples, or frames."""
    clip = _noise(SECONDS[1], sample_rate)
    free = torch.export.Dim("samples" if part == "model" else "frames", min=2)
    whole: nn.Module = _WholeModel(module) if part == "model" else _HeadAlone(module)
    given, shapes = (clip, {1: free}) if part == "model" else (_features(module, clip), {2: free})
    name = "waveform" if part == "model" else "features"
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with redirect_stdout(StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            whole.eval(), (given,), dynamo=True, dynamic_shapes=(shapes,), input_names=[name],
            output_names=["scores"], verbose=False,
        )  # fmt: skip


def _noise(seconds: float, sample_rate: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(0.1 * rng.standard_normal((1, round(seconds * sample_rate)))).float()


def _features(module: AQAModule, clip: Tensor) -> Tensor:
    with torch.no_grad():
        encoded = module.encode_audio(clip, torch.tensor([clip.shape[1]]), [""])
    return encoded.layers.to(module.head.location_A.dtype)


def _write(scorer: Scorer, path: Path, part: Part, program: Any) -> ExportedFile:
    import onnx

    metadata = describe(scorer, part)
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as draft:
        onnx.save(model, str(draft))
        difference = _difference(scorer, part, draft)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"it scores other than the package, by {difference:.1e} of the scale, at most {TOLERANCE:g} is meant"
            )
    return ExportedFile(path, part, difference, metadata)


def _difference(scorer: Scorer, part: Part, path: Path) -> float:
    """Return the largest difference over noise of several lengths, as a share of the scale."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scale_A = np.array([axis.high - axis.low for axis in scorer.axes])
    worst = 0.0
    for seed, seconds in enumerate(SECONDS):
        clip = _noise(max(seconds, scorer.reading.min_seconds), scorer.sample_rate, seed)
        given = clip if part == "model" else _features(scorer.module, clip)
        try:
            (found,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        except Exception:  # of onnxruntime, which has no common class for them
            raise ValueError("it takes clips of one length alone, as recurrent layers make it") from None
        with torch.no_grad():
            whole = _WholeModel(scorer.module)(clip).double().numpy()
        gap: NDArray[np.float64] = np.abs(found - whole) / scale_A
        worst = max(worst, float(np.nan_to_num(gap, nan=np.inf).max()))
    return worst


def describe(scorer: Scorer, part: Part) -> dict[str, str]:
    """Say what the input of a file is, what comes out, and what a clip's score is.

    Returns:
        Texts by name; ``axes`` and ``encoder`` are JSON.
    """
    reading, module = scorer.reading, scorer.module
    is_cut = reading.window_seconds is not None
    steps = [
        "average the channels of the file",
        f"resample to {reading.sample_rate} Hz ({reading.resampler})",
        f"cut into windows of {reading.window_seconds:g} s one after the other; a last one under "
        f"{reading.min_tail_seconds:g} s is left out unless it is alone" if is_cut else "take the clip whole",
        *(["divide each window by its root mean square"] if reading.normalise == "rms" else []),
        *(["encode each window"] if part == "head" else []),
    ]  # fmt: skip
    layers = module.encoder.num_layers if module.layers is None else len(module.layers)
    shape = (
        "waveform (1, samples), float32, full scale 1"
        if part == "model"
        else f"features (1, {layers}, frames, {module.encoder.width})"
    )
    return {
        "producer": f"lightning_aqa {lightning_aqa.__version__}",
        "part": part,
        "sample_rate": str(reading.sample_rate),
        "input": shape,
        "output": "scores (1, axes), in score points",
        "axes": json.dumps([axis._asdict() for axis in scorer.axes]),
        "preprocessing": "; ".join(steps),
        "clip_score": "mean of the scores of its windows, weighted by their lengths",
        "encoder": json.dumps(
            {"class": type(module.encoder).__name__, "width": module.encoder.width, "layers": module.encoder.num_layers}
        ),
    }
