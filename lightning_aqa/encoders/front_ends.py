"""Front ends of exported models: samples of a clip in, the input of the model out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lightning_aqa.utils.onnx_files import ONNXModel
from lightning_aqa.utils.settings import Remembering

Array = NDArray[np.float32]


class ModelInput(Remembering, nn.Module, ABC):
    """Turn the samples of one clip, or of one segment of it, into the input of an exported model.

    A class of your own is named by its dotted path, such as ``--model.encoder.front_end=my_parts.Constant``.
    """

    @abstractmethod
    def forward(self, samples: Array, sample_rate: int) -> Array:
        """Compute the input, without axes for the batch or the channel.

        Args:
            samples: Mono audio, full scale 1, shape ``(T,)``.
            sample_rate: Its rate, in Hz.

        Returns:
            Samples ``(T,)``, or frames of features ``(F, M)``.
        """


class Samples(ModelInput):
    """Give the samples themselves.

    Args:
        gain: Factor of the samples; 32768 for a model that was trained on 16-bit numbers.
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, samples: Array, sample_rate: int) -> Array:
        """Scale the samples; see ``ModelInput.forward``."""
        return samples * np.float32(self.gain)


class LogMel(ModelInput):
    """Give the frames of a mel spectrogram, as librosa computes it, and their logarithm, shifted and scaled.

    A frame is ``scale * (level + shift)``, where the level is in decibels, a natural logarithm, or the spectrum itself.

    Args:
        num_mels: Number of mel bands.
        fft_size: Length of a spectrum, in samples.
        hop_length: Distance of two spectra, in samples.
        window_length: Length of the audio that a spectrum reads, in samples; null takes ``fft_size``.
        power: Exponent of the spectrum's magnitude.
        log: Logarithm of the bands: ``db`` (ten times the decimal one), ``ln`` or ``none``.
        floor: Least value whose logarithm is taken.
        relative: Whether decibels count from the loudest band of the clip.
        range_db: Decibels below the loudest band that are kept; null keeps all.
        scale: Factor of the result.
        shift: Number that is added before.
        htk: Whether the mel scale is HTK's, in place of Slaney's.
        low_hz: Lowest frequency, in Hz.
        high_hz: Highest frequency, in Hz; null takes half the rate.
        mel_first: Whether the model takes ``(M, F)`` in place of ``(F, M)``.

    Example:
        >>> LogMel(num_mels=8)(np.zeros(1600, dtype=np.float32), 16000).shape
        (11, 8)
    """

    def __init__(
        self,
        num_mels: int = 80,
        fft_size: int = 400,
        hop_length: int = 160,
        window_length: int | None = None,
        power: float = 2.0,
        log: Literal["db", "ln", "none"] = "db",
        floor: float = 1e-10,
        relative: bool = False,
        range_db: float | None = 80.0,
        scale: float = 1.0,
        shift: float = 0.0,
        htk: bool = False,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        mel_first: bool = False,
    ) -> None:
        super().__init__()
        self.num_mels, self.power, self.low_hz, self.high_hz, self.htk = num_mels, power, low_hz, high_hz, htk
        self.fft_size, self.hop_length, self.window_length = fft_size, hop_length, window_length
        self.log, self.floor, self.relative, self.range_db = log, floor, relative, range_db
        self.scale, self.shift, self.mel_first = scale, shift, mel_first

    def forward(self, samples: Array, sample_rate: int) -> Array:
        """Compute the frames; see ``ModelInput.forward``."""
        from librosa import power_to_db
        from librosa.feature import melspectrogram

        mel = melspectrogram(
            y=samples,
            sr=sample_rate,
            n_fft=self.fft_size,
            hop_length=self.hop_length,
            win_length=self.window_length,
            power=self.power,
            n_mels=self.num_mels,
            htk=self.htk,
            fmin=self.low_hz,
            fmax=self.high_hz,
        )
        if self.log == "db":
            mel = power_to_db(mel, ref=np.max if self.relative else 1.0, amin=self.floor, top_db=self.range_db)
        elif self.log == "ln":
            mel = np.log(np.maximum(mel, self.floor))
        mel = np.asarray(self.scale * (mel + self.shift), dtype=np.float32)
        return mel if self.mel_first else mel.T


class ONNXSpectrogram(ModelInput):
    """Give the frames that another ONNX model computes of the samples, shifted and scaled.

    Args:
        path: The model: file, ``PACKAGE:PATH`` or hub id; of its output the last axis is the bands.
        gain: Factor of the samples.
        scale: Factor of the result.
        shift: Number that is added before.
    """

    def __init__(self, path: str, gain: float = 1.0, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.gain, self.scale, self.shift = gain, scale, shift
        self.model = ONNXModel.find(path)
        self.model_hash = self.model.hash

    def forward(self, samples: Array, sample_rate: int) -> Array:
        """Compute the frames; see ``ModelInput.forward``."""
        (frames,) = self.model.run(samples * np.float32(self.gain), self.model.outputs[:1])
        return np.asarray(self.scale * (frames.reshape(-1, frames.shape[-1]) + self.shift), dtype=np.float32)
