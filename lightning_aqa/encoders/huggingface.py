"""Any audio model of the hub: WavLM, HuBERT, wav2vec 2.0, data2vec-audio, w2v-BERT, Whisper's encoder, AST."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.huggingface_files import find, find_preprocessor, layers_of, load_backbone, load_config
from lightning_aqa.encoders.wav2vec import SpeechModel
from lightning_aqa.encoders.wav2vec_convolutions import frames_of
from lightning_aqa.utils.weights import Weights, WeightsError, read_json

RAGGED = {"wavlm", "hubert", "wav2vec2"}
"""Model types that ``SpeechModel`` runs; the others run clip by clip through transformers' own forward."""

PRETRAINING_OFF = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0, "apply_spec_augment": False}
"""Settings that turn off what transformers does in train mode to frames and layers that heads read."""


def zero_mean_unit_variance(samples: Tensor) -> Tensor:
    """Normalise a clip as the feature extractors of speech models do.

    Example:
        >>> zero_mean_unit_variance(torch.tensor([1.0, 3.0]))
        tensor([-1.,  1.])
    """
    variance, mean = torch.var_mean(samples, correction=0)
    return (samples - mean) * (variance + 1e-7).rsqrt()


class Hub(Encoder):
    """Encode a clip by an audio model that transformers knows, with all its hidden states.

    Audio is prepared as the model's own ``preprocessor_config.json`` says; where there is none, it is taken as it is,
    at 16 kHz. WavLM, HuBERT and wav2vec 2.0 run in ragged batches, each clip as if it were alone and unpadded; the
    others run clip by clip. Nothing of pre-training (masked frames, layer-drop) runs in train mode. The class
    attributes are those of ``microsoft/wavlm-base``, the example.

    Args:
        name_or_path: Hub id, with ``@`` and a revision where wanted, or folder with ``config.json`` and
            ``model.safetensors`` or ``pytorch_model.bin``, in one file or in several with their list.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; models of a fixed length have
            their own.

    Raises:
        WeightsError: If the files are not found, are not safe, or are not weights of the model they name.
    """

    published = (
        Weights(
            "microsoft/wavlm-base",
            ("pytorch_model.bin", "config.json", "preprocessor_config.json"),
            "https://huggingface.co/microsoft/wavlm-base",
            "MIT (repository), CC BY-SA 3.0 (model card)",
        ),
    )
    sample_rate, width, num_layers, window_seconds = 16000, 768, 13, 10.0

    def __init__(self, name_or_path: str = "microsoft/wavlm-base", window_seconds: float = 10.0) -> None:
        super().__init__()
        config = load_config(name_or_path)
        if not (hasattr(config, "hidden_size") and hasattr(config, "num_hidden_layers")):
            raise WeightsError(
                f"{name_or_path}: a model of type {config.model_type}, which has no one list of hidden states; "
                "expected one such as WavLM, HuBERT, wav2vec 2.0, Whisper or AST."
            )
        config.update(PRETRAINING_OFF)
        self._name = Path(name_or_path).name
        preprocessor = find_preprocessor(name_or_path)
        model = load_backbone(config, name_or_path)
        settings = {} if preprocessor is None else read_json(preprocessor)
        self.sample_rate = int(settings.get("sampling_rate", 16000))
        self.width, self.num_layers = int(config.hidden_size), int(config.num_hidden_layers) + 1
        self.window_seconds, self.min_seconds = window_seconds, 0.025
        if _is_ragged(config):
            self.backbone: nn.Module = _Ragged(model, normalises=bool(settings.get("do_normalize", False)))
        else:
            other = _ClipByClip(model, find(name_or_path, "preprocessor_config.json").parent, self.sample_rate)
            self.backbone, self.window_seconds = other, other.fixed_seconds or window_seconds
            self.padded_seconds = other.fixed_seconds or None

    @property
    def label(self) -> str:
        """The name of the model."""
        return self._name

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the transformer layers."""
        return layers_of(self.backbone, self.num_layers - 1)

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        clips = [clip[:size] for clip, size in zip(waveform, num_samples.tolist(), strict=True)]
        features: Features = self.backbone(clips)
        return features


def _is_ragged(config: Any) -> bool:
    odd = ("conv_pos_batch_norm", "adapter_attn_dim", "add_adapter")
    return config.model_type in RAGGED and not any(getattr(config, name, None) for name in odd)


class _Ragged(nn.Module):
    """Run WavLM, HuBERT or wav2vec 2.0 on clips of any lengths."""

    def __init__(self, model: nn.Module, *, normalises: bool) -> None:
        super().__init__()
        self.normalises, self.speech = normalises, SpeechModel(model)

    def forward(self, clips: Sequence[Tensor]) -> Features:
        """Encode clips of shape ``(T,)`` each."""
        if self.normalises:
            clips = [zero_mean_unit_variance(clip) for clip in clips]
        sizes = [len(clip) for clip in clips]
        num_frames = [frames_of(size, self.speech.kernels, self.speech.strides) for size in sizes]
        return Features(*self.speech(clips, num_frames, sizes))


class _ClipByClip(nn.Module):
    """Run a model of transformers through its own forward, one clip at a time, without padding of ours."""

    def __init__(self, model: nn.Module, folder: Path, sample_rate: int) -> None:
        import transformers

        super().__init__()
        self.model, self.sample_rate = model, sample_rate
        auto: Any = transformers.AutoFeatureExtractor
        self.extractor = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        settings = self.extractor.to_dict()
        self.chunk_seconds = float(settings.get("chunk_length") or 0.0)  # Whisper pads to it
        self.spectrogram_seconds = 0.01 * (self.extractor.max_length if settings.get("max_length") else 0)  # AST, too

    @property
    def fixed_seconds(self) -> float:
        """Length that the model always sees, in seconds; 0 where it takes any."""
        return self.chunk_seconds or self.spectrogram_seconds

    def forward(self, clips: Sequence[Tensor]) -> Features:
        """Encode clips of shape ``(T,)`` each."""
        states = [self._encode(clip) for clip in clips]
        sizes = torch.tensor([len(frames) for frames in states], device=clips[0].device)
        mask_BF = torch.arange(int(sizes.max()), device=sizes.device) < sizes[:, None]
        return Features(pad_sequence(states, batch_first=True).transpose(1, 2), mask_BF)

    def _encode(self, clip: Tensor) -> Tensor:
        """Return the hidden states of the clip's valid frames, shape ``(F, L, D)``."""
        samples = clip.detach().float().cpu().numpy()
        inputs = self.extractor(samples, sampling_rate=self.sample_rate, return_tensors="pt")
        parameter = next(self.model.parameters())
        values = inputs[self.model.main_input_name].to(parameter)
        hidden = self.model(values, output_hidden_states=True).hidden_states
        states_FLD = torch.stack([state.squeeze(0) for state in hidden], dim=1).float()
        if self.chunk_seconds:
            share = len(samples) / (self.chunk_seconds * self.sample_rate)
            return states_FLD[: max(1, -int(-share * len(states_FLD) // 1))]
        return states_FLD
