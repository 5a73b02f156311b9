"""The head of the MusicEval baseline: for each axis three linear layers with nothing between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.pooling import LayerMix, masked_mean
from lightning_aqa.utils.weights import WeightsError, find_weights, load_exactly, read_weights

SIZES = (256, 64)
URL = "https://github.com/NKU-HLT/MusicEval-baseline"
NAME = re.compile(r"(overall|textual)_mlp_layer([123])\.(weight|bias)")


class MusicEvalBaseline(Head):
    """Score each axis by linear layers of 256, 64 and 1, on the audio or, for textual alignment, on audio and prompt.

    Without an activation the three layers are one linear map, written as a product: they train differently from one
    layer, and what they can express is the same. The audio is the mean frame, and of several layers their mix with
    learnable weights, so that any encoder fits; for CLAP both are the embedding itself. The prompt is its mean state.
    From an encoder without a text side every axis reads the audio alone. ``Output.embedding`` is what the last layers
    read, axis by axis. It runs in float32 under autocast too.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the encoder's text states, or None without a text side.
        text_axes: Names of the axes that read the prompt too; TA may be among them where the corpus does not rate it.
        checkpoint: Weights of a trained baseline: axes that read the prompt start from its textual layers, the others
            from its overall layers. None starts at random.
        standardise: Whether the layers predict deviations from the mean training score, in standard deviations. The
            original predicts score points.

    Raises:
        ValueError: If ``text_axes`` names an axis that is not there, or a checkpoint meets ``standardise``.
        WeightsError: If the checkpoint is nowhere, or not of this head on an encoder of this width.

    Example:
        >>> axes = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]
        >>> head = MusicEvalBaseline(512, 1, axes, 512)
        >>> [branch[0].in_features for branch in head.branches]
        [512, 1024]

    Reference:
        "MusicEval: A generative music dataset with expert ratings for automatic text-to-music evaluation", ICASSP 2025,
        https://arxiv.org/abs/2501.10811, and its baseline's code.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        text_axes: Sequence[str] = ("TA",),
        checkpoint: str | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__(width, num_layers, axes, text_width)
        names = [axis.name for axis in self.axes]
        unknown = sorted(set(text_axes) - {*names, "TA"})
        if unknown:
            raise ValueError(f"text_axes names {', '.join(unknown)}, but the axes are {', '.join(names)}.")
        if checkpoint is not None and standardise:
            raise ValueError("A baseline's checkpoint predicts score points: use it with standardise=False.")
        self.standardise = standardise
        self.reads_text = [text_width is not None and name in text_axes for name in names]
        self.mix = LayerMix(num_layers) if num_layers > 1 else None
        sizes = [width + (text_width or 0) * reads for reads in self.reads_text]
        self.branches = cast("Sequence[nn.Sequential]", nn.ModuleList(_linear_layers(size) for size in sizes))
        self.is_trained = checkpoint is not None
        if checkpoint is not None:
            self._load(checkpoint)

    @property
    def reads(self) -> Reads:
        """The mean frame and, where an axis reads text, the mean word."""
        return "mean"

    def _load(self, checkpoint: str) -> None:
        path = find_weights(checkpoint, file=Path(checkpoint).name, url=URL)
        found = read_weights(path)
        overall, textual = read_baseline(found.get("state_dict", found), path)
        for branch, reads in zip(self.branches, self.reads_text, strict=True):
            load_exactly(branch, textual if reads else overall, path)

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``.

        Raises:
            ValueError: If an axis reads text and the features hold none.
        """
        with torch.autocast(features.layers.device.type, enabled=False):
            layers_BLFD = features.layers
            frames_BFD = layers_BLFD[:, 0] if self.mix is None else self.mix(layers_BLFD)
            audio_BD = masked_mean(frames_BFD, features.frame_mask)
            both_BE = torch.cat([audio_BD, self._text(features)], dim=1) if any(self.reads_text) else audio_BD
            inputs = [both_BE if reads else audio_BD for reads in self.reads_text]
            hidden = [branch[:-1](given) for branch, given in zip(self.branches, inputs, strict=True)]
            scores_BA = torch.cat([branch[-1](last) for branch, last in zip(self.branches, hidden, strict=True)], dim=1)
            if self.standardise:
                scores_BA = self.location_A + self.scale_A * scores_BA
            return Output(scores_BA, torch.cat(hidden, dim=1))

    def _text(self, features: Features) -> Tensor:
        if features.text is None or features.text_mask is None:
            raise ValueError("This head reads text but the features hold none; give prompts or set text_axes=[].")
        return masked_mean(features.text, features.text_mask)


def _linear_layers(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, SIZES[0]), nn.Linear(SIZES[0], SIZES[1]), nn.Linear(SIZES[1], 1))


def read_baseline(weights: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Take the overall and the textual layers out of a baseline's state, named ``0.weight`` to ``2.bias``.

    Args:
        weights: Tensors by the names of the baseline; its CLAP, below ``upstream_model``, may be among them.
        path: Where they come from, for the message.

    Raises:
        WeightsError: If there is anything else, or nothing.
    """
    parts: dict[str, dict[str, Tensor]] = {"overall": {}, "textual": {}}
    for name, tensor in weights.items():
        found = NAME.fullmatch(name)
        if found is not None:
            parts[found[1]][f"{int(found[2]) - 1}.{found[3]}"] = tensor
        elif not name.startswith("upstream_model."):
            raise WeightsError(f"{path}: not the weights of a MusicEval baseline, which has no {name}.")
    return parts["overall"], parts["textual"]
