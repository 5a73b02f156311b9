"""The contract of a head: Features in, scores in score points out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Batch, Features, Output, Part, Reads


class Head(nn.Module, ABC):
    """Map features to a score per axis; the module builds it from the encoder's sizes and the corpus's axes.

    Inside, a head works in standardised units; ``location_A`` and ``scale_A`` (mean and standard deviation of the
    training scores, in score points) bring them back to score points. They are buffers, so a checkpoint carries them.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict, in the order of the last dimension of ``Output.scores``.
        text_width: Width of the encoder's text states, or None without a text side.

    Attributes:
        is_trained: Whether it came with weights of its own, so that it predicts without any training here.
        reads_clips: Whether it is fitted to the training clips before any step, which takes a frozen encoder.
        sized_by_data: Names of buffers that are as large as the training clips make them.

    Raises:
        ValueError: If there is no axis to predict.
    """

    is_trained = False
    reads_clips = False
    sized_by_data: tuple[str, ...] = ()
    location_A: Tensor
    scale_A: Tensor

    def __init__(self, width: int, num_layers: int, axes: Sequence[Axis], text_width: int | None = None) -> None:
        super().__init__()
        if not axes:
            raise ValueError(
                f"{type(self).__name__} has no axis to predict: the data has no ratings. Give a trained model by "
                "--ckpt_path=RUN_FOLDER, or data with ratings."
            )
        self.width, self.num_layers, self.axes, self.text_width = width, num_layers, tuple(axes), text_width
        self.register_buffer("location_A", torch.tensor([(axis.low + axis.high) / 2 for axis in self.axes]))
        self.register_buffer("scale_A", torch.tensor([(axis.high - axis.low) / 4 for axis in self.axes]))

    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Take the mean and standard deviation of the training scores, each of shape ``(A,)``, in score points."""
        self.location_A.copy_(location_A)
        self.scale_A.copy_(scale_A)

    def fit_features(self, features: Iterable[Features]) -> None:
        """Look once at the features of the training clips, before training, where the encoder is frozen.

        A head that standardises what it reads takes its constants here; for the others there is nothing to do. Like
        ``fit_scale`` it is for a fresh run: constants that come from a checkpoint stand.

        Args:
            features: Batches of features on this head's device; every training clip once.
        """

    def fit_clips(self, windows: Iterable[tuple[Features, Batch]], group_of: Callable[[str], str] = str) -> None:
        """Look once at the training clips with their scores; see ``fit_features``, all that most heads want.

        Args:
            windows: Batches of features on this head's device, each with the batch that they are of.
            group_of: Gives for the id of a clip what of it the splits keep together.
        """
        self.fit_features(features for features, _ in windows)

    def take_parts(self, parts: Sequence[Part]) -> None:
        """Learn which encoders' hidden states lie side by side; most heads need not know."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        for name in self.sized_by_data:
            if (given := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(given, device=self.location_A.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def reads(self) -> Reads:
        """The part of the frames that this head uses; the feature cache keeps no more than that.

        * ``frames``: all of them, or words one by one. A class that does not say otherwise reads them.
        * ``mean_std``: for each dimension by itself, the mean and deviation over the frames of any mix of the layers.
        * ``mean``: the mean over the frames.

        The last two read the mean of the words, if they read text. A class that overrides ``forward`` or
        ``fit_features`` states it anew, for what its base reads is no longer what it reads.
        """
        return "frames"

    def states_reads(self) -> bool:
        """Tell whether the class that computes, or one below it, states ``reads``, which then is about it."""
        for cls in type(self).__mro__:
            if "reads" in vars(cls):
                return True
            if {"forward", "fit_features", "fit_clips"} & vars(cls).keys():
                return False
        raise AssertionError("Head itself states it")

    def forward_rows(self, features: Features, batch: Batch) -> Output:
        """Score the rows of a batch; a head that wants more of them than features, such as domains, has it here.

        Args:
            features: As in ``forward``.
            batch: The rows that they are of.
        """
        output: Output = self(features)
        return output

    @abstractmethod
    def forward(self, features: Features) -> Output:
        """Score clips.

        Args:
            features: Hidden states ``(B, L, F, D)`` of this head's dtype, with their mask.

        Returns:
            Scores ``(B, A)`` in score points and the embedding ``(B, E)`` they come from.
        """


HeadCallable: TypeAlias = Callable[[int, int, Sequence[Axis], int | None], Head]
"""Builds a head from the encoder's width and number of layers, the axes and the width of the text states."""
