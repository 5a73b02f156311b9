"""The contract of an encoder: a padded waveform in, Features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_aqa.batch import Features, Part
from lightning_aqa.utils.settings import Remembering
from lightning_aqa.utils.weights import Weights


class Encoder(Remembering, nn.Module, ABC):
    """Turn mono audio into hidden states that do not depend on padding or on batch mates.

    Attributes:
        sample_rate: Rate that ``forward`` expects, in Hz; the loader resamples to it.
        width: D, the size of a hidden state.
        num_layers: L, the number of hidden states per frame.
        text_width: Size of a text state, or None for an encoder without a text side.
        published: Weights that it loads unless others are given; its class attributes then are their sizes.
        window_seconds: Length the encoder is made for, in seconds; None takes a clip of any length whole.
        min_seconds: Shortest clip that gives a frame, in seconds.
        min_tail_seconds: Shortest last window of a clip that is cut into windows, in seconds, at most half a window;
            what is left beyond the windows and shorter than this is not encoded.
        padded_seconds: Length that a shorter clip is padded to with silence, in seconds; None pads none.
        features_version: Raised when the features of the class change for the same settings and weights, so that
            cached ones are computed anew.
    """

    sample_rate: int
    width: int
    num_layers: int
    text_width: int | None = None
    published: tuple[Weights, ...] = ()
    window_seconds: float | None = None
    min_seconds: float = 0.0
    min_tail_seconds: float = 1.0
    padded_seconds: float | None = None
    features_version: int = 1

    @property
    def label(self) -> str:
        """Name on the screen: its class, and the weights where it takes any."""
        return type(self).__name__

    def parts(self) -> list[Part]:
        """Return the encoders whose hidden states lie side by side in this one's; it alone, unless it is several."""
        return [Part(self.label, 0, self.width, tuple(range(self.num_layers)))]

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the layers that a freezing policy counts, from the input on; none where there is no such order."""
        return ()

    def parts_after_layers(self) -> Sequence[nn.Module]:
        """Return the parts that read the last of the layers, such as a projection, or have their input elsewhere."""
        return ()

    def freeze_first(self, num_layers: int) -> list[nn.Module]:
        """Take the first layers, and all that comes before them, from training.

        Args:
            num_layers: Number of layers to freeze, at least 1.

        Returns:
            The parts that are still trained.

        Raises:
            ValueError: If there are fewer.
        """
        layers = self.layers_in_order()
        if num_layers > len(layers):
            raise ValueError(
                f"{type(self).__name__} has {len(layers)} layers, so its first {num_layers} cannot be frozen; freeze "
                "all, or fewer."
            )
        above = [*layers[num_layers:], *self.parts_after_layers()]
        kept = {id(parameter) for part in above for parameter in part.parameters()}
        for parameter in self.parameters():
            if id(parameter) not in kept:
                parameter.requires_grad_(False)
        return above

    def numbers_of(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return numbers of hidden states counted from 0, given from 0 or, negative, from the last.

        Raises:
            ValueError: If there is no such hidden state, one is named twice, or none is named.
        """
        numbers = tuple(layer + self.num_layers * (layer < 0) for layer in layers)
        if not numbers or len(set(numbers)) < len(numbers) or not 0 <= min(numbers) <= max(numbers) < self.num_layers:
            raise ValueError(
                f"layers must name each of some of the {self.num_layers} layers of {type(self).__name__} once, by 0 to "
                f"{self.num_layers - 1} or from -1 down, got {list(layers)}."
            )
        return numbers

    @abstractmethod
    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips.

        Args:
            waveform: Mono audio at ``sample_rate``, shape ``(B, T)``, padded at the end with anything.
            num_samples: Valid samples of each clip, shape ``(B,)``.
            prompts: Text of each clip, for encoders with a text side.

        Returns:
            Hidden states ``(B, L, F, D)`` with their mask; padded frames hold zeros.
        """


def parts_given(encoder: Encoder, layers: Sequence[int] | None) -> list[Part]:
    """Return the encoders side by side in what a head is given: all layers, or some, counted as they come.

    Args:
        encoder: The encoder.
        layers: Numbers of the layers that the head is given, from 0; None is all.
    """
    if layers is None:
        return encoder.parts()
    kept = [(part, [i for i, layer in enumerate(layers) if layer in part.layers]) for part in encoder.parts()]
    return [part._replace(layers=tuple(places) or (0,)) for part, places in kept]
