"""The head of Audiobox Aesthetics: for each axis, layers mixed, frames averaged, and a perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.utils.audiobox_weights import AudioboxWeights, read_audiobox
from lightning_aqa.utils.weights import WeightsError, load_exactly, read_config

AXES = (
    Axis("PQ", "Production quality", 0.0, 10.0),
    Axis("PC", "Production complexity", 0.0, 10.0),
    Axis("CE", "Content enjoyment", 0.0, 10.0),
    Axis("CU", "Content usefulness", 0.0, 10.0),
)
DEFAULTS: dict[str, Any] = {"proj_num_layer": 1, "proj_ln": False, "proj_dropout": 0.0, "normalize_embed": True}
FIXED: dict[str, Any] = {"proj_act_fn": "gelu", "use_weighted_layer_sum": True, "output_dim": 1}
IGNORED = {"nth_layer", "precision"}


def perceptron(width: int, num_layers: int, *, layer_norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Build linear layers of one width, with GELU between them, down to one output.

    Args:
        width: Size of the input and of every hidden layer.
        num_layers: Number of linear layers, at least 1.
        layer_norm: Whether to normalise before each GELU.
        dropout: Probability of dropping an element after each GELU.

    Example:
        >>> [type(part).__name__ for part in perceptron(4, 2, layer_norm=True)]
        ['Linear', 'LayerNorm', 'GELU', 'Linear']
    """
    layers: list[nn.Module] = []
    for _ in range(num_layers - 1):
        layers.append(nn.Linear(width, width))
        layers += [nn.LayerNorm(width)] if layer_norm else []
        layers.append(nn.GELU())
        layers += [nn.Dropout(dropout)] if dropout > 0 else []
    return nn.Sequential(*layers, nn.Linear(width, 1))


def head_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the official settings of the heads by their defaults.

    Raises:
        ValueError: If a setting is unknown, or asks for what no published checkpoint has.
    """
    unknown = sorted(settings.keys() - DEFAULTS.keys() - FIXED.keys() - IGNORED)
    if unknown:
        raise ValueError(f"Audiobox has no setting {', '.join(unknown)}; it has {', '.join(DEFAULTS)}.")
    for name, value in FIXED.items():
        if settings.get(name, value) != value:
            raise ValueError(f"Audiobox has {name} = {value} alone, got {settings[name]}.")
    complete = {name: settings.get(name, value) for name, value in DEFAULTS.items()}
    if complete["proj_num_layer"] < 1:
        raise ValueError(f"proj_num_layer must be at least 1, got {complete['proj_num_layer']}.")
    return complete


class Audiobox(Head):
    """Score each axis by its own mix of layers, mean over frames, L2 normalisation and perceptron.

    Given a checkpoint it starts from the official heads and their ``target_transform``, so that over
    ``encoders.audiobox.AudioboxAesthetics`` of the same checkpoint it is the official predictor before any training.
    That scale then stands: ``fit_scale`` leaves it. ``Output.embedding`` is what the perceptrons read, all axes side by
    side. It runs in float32 under autocast too.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict; with a checkpoint, any of CE, CU, PC and PQ; all of them where the data rates
            none.
        text_width: Width of the encoder's text states; they are not read.
        checkpoint: Official ``checkpoint.pt``, or folder or hub id with ``config.json`` and ``model.safetensors``; null
            starts from random weights.
        config: Settings by their official names, or the path of a JSON file with them, where they differ from the
            checkpoint's or, without one, from ``proj_num_layer: 1``, ``proj_ln: false``, ``proj_dropout: 0`` and
            ``normalize_embed: true``.

    Raises:
        WeightsError: If the weights are not found, or are not of this head.
        ValueError: If the checkpoint has no head for an axis, or a setting is unknown.

    Example:
        >>> head = Audiobox(4, 2, [Axis("PQ", "Production quality", 0, 10)])
        >>> head(Features(torch.ones(1, 2, 5, 4), torch.ones(1, 5, dtype=torch.bool))).embedding.tolist()
        [[0.5, 0.5, 0.5, 0.5]]

    Reference:
        "Meta Audiobox Aesthetics", 2025, https://arxiv.org/abs/2502.05139, and audiobox_aesthetics 0.0.4. Differs: the
        mean over frames is taken before the mix of layers, which commutes with it and costs a quarter.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        checkpoint: str | None = None,
        config: dict[str, Any] | str | None = None,
    ) -> None:
        weights = None if checkpoint is None else read_audiobox(checkpoint)
        if weights is not None and not axes:
            axes = [axis for axis in AXES if axis.name in weights.target_transform]
        super().__init__(width, num_layers, axes, text_width)
        settings = head_settings(({} if weights is None else weights.settings) | read_config(config))
        self.normalises = bool(settings["normalize_embed"])
        names = [axis.name for axis in self.axes]
        taken = [name for name in names if "." in name or hasattr(nn.ModuleDict, name)]
        if taken:
            raise ValueError(f"Audiobox has parts named after the axes, which {', '.join(taken)} cannot be; rename it.")
        size, norm, dropout = settings["proj_num_layer"], settings["proj_ln"], settings["proj_dropout"]
        self.layer_weights = nn.ParameterDict({name: torch.zeros(num_layers) for name in names})
        self.proj_layer = nn.ModuleDict(
            {name: perceptron(width, size, layer_norm=norm, dropout=dropout) for name in names}
        )
        self.is_trained = weights is not None
        if weights is not None:
            self._start_from(weights, names)

    @property
    def reads(self) -> Reads:
        """The mean frame."""
        return "mean"

    def _start_from(self, weights: AudioboxWeights, names: list[str]) -> None:
        """Take the official heads of these axes, and the scale of their scores."""
        known = weights.target_transform
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"{weights.path} has no head for {', '.join(missing)}; it has {', '.join(sorted(known))}. "
                "Leave the head's checkpoint out to train one."
            )
        made_for = (
            weights.head[f"layer_weights.{names[0]}"].numel(),
            weights.head[f"proj_layer.{names[0]}.0.weight"].shape[1],
        )
        if made_for != (self.num_layers, self.width):
            raise WeightsError(
                f"{weights.path}: its heads read {made_for[0]} layers of width {made_for[1]}; this encoder gives "
                f"{self.num_layers} of {self.width}. Train fresh heads on it, by --model.head.checkpoint=null."
            )
        wanted = {name: tensor for name, tensor in weights.head.items() if name.split(".")[1] in names}
        load_exactly(self, wanted, weights.path, ignored=("location_A", "scale_A"))
        self.location_A.copy_(torch.tensor([known[name]["mean"] for name in names]))
        self.scale_A.copy_(torch.tensor([known[name]["std"] for name in names]))

    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Take the scale of the training scores, unless a checkpoint has brought the one that its heads speak."""
        if not self.is_trained:
            super().fit_scale(location_A, scale_A)

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``."""
        with torch.autocast(features.layers.device.type, enabled=False):
            mask_BF = features.frame_mask.to(features.layers.dtype)
            share_BF = mask_BF / mask_BF.sum(dim=1, keepdim=True)
            pooled_BLD = (share_BF[:, None, None] @ features.layers).squeeze(2)  # einsum would copy the layers
            mix_AL = torch.stack([self.layer_weights[axis.name].softmax(dim=0) for axis in self.axes])
            embedding_ABD = torch.einsum("al,bld->abd", mix_AL, pooled_BLD)
            if self.normalises:
                embedding_ABD = F.normalize(embedding_ABD, dim=-1)
            scores = [self.proj_layer[a.name](part) for a, part in zip(self.axes, embedding_ABD, strict=True)]
            standard_BA = torch.cat(scores, dim=1)
            return Output(self.location_A + self.scale_A * standard_BA, embedding_ABD.transpose(0, 1).flatten(1))
