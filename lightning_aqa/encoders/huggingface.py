"""Any audio model of the hub: WavLM, HuBERT, wav2vec 2.0, data2vec-audio, w2v-BERT, Whisper's encoder, AST."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.wav2vec import SpeechModel
from lightning_aqa.encoders.wav2vec_convolutions import frames_of
from lightning_aqa.utils.weights import (
    Weights,
    WeightsError,
    check_finite,
    find_local,
    find_weights,
    hub_page,
    read_json,
    read_weights,
)

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


TENSORS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files with the weights of a model, or with the names of the files that share them, in the order of preference."""


def find(name: str, file: str) -> Path:
    """Find a file of a model of the hub, as ``find_weights`` does."""
    return find_weights(name, file=file, url=hub_page(name))


def read_tensors(name: str) -> tuple[Path, dict[str, Any]]:
    """Find and read the weights of a model, of one file or of several that share them; safetensors if there are any.

    Args:
        name: Hub id, or folder.

    Returns:
        The file, or the list of files, and the tensors by name.

    Raises:
        WeightsError: If a file is not found, is not safe or is damaged.
    """
    here = next((file for file in TENSORS if find_local(name, file)), None)
    path = find(name, here) if here else _find_first(name)
    if path.suffix != ".json":
        return path, read_weights(path)
    listed = read_json(path).get("weight_map")
    parts = sorted(set(listed.values())) if isinstance(listed, dict) and all(map(_is_part, listed.values())) else []
    if not parts:
        raise WeightsError(f"{path}: lists no files of weights; expected a weight_map of names of files beside it.")
    tensors: dict[str, Any] = {}
    for part in parts:
        tensors |= read_weights(find(name, part))
    return path, tensors


def _is_part(file: Any) -> bool:
    return isinstance(file, str) and Path(file).name == file and Path(file).suffix in {".safetensors", ".bin"}


def _find_first(name: str) -> Path:
    """Ask the hub for each file in turn; none is told by the name of the first."""
    for file in TENSORS[1:]:
        try:
            return find(name, TENSORS[0])
        except WeightsError as error:
            missing = error
        try:
            return find(name, file)
        except WeightsError:
            continue
    raise missing


def load_config(name: str) -> Any:
    """Read the config of a model that transformers knows by itself; no code beside it is run.

    Raises:
        WeightsError: If it is not found, damaged, or of a model that transformers does not know.
    """
    from transformers import AutoConfig

    path = find(name, "config.json")
    kind = read_json(path).get("model_type")
    try:
        return AutoConfig.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}: a model of type {kind}, which transformers cannot build by itself: {reason}"
        ) from None


def _find_preprocessor(name: str) -> Path | None:
    try:
        return find(name, "preprocessor_config.json")
    except WeightsError:
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a progress bar and a table of what ``load_backbone`` checks itself."""
    import transformers

    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_backbone(config: Any, name: str, optional: str | None = None) -> Any:
    """Load the model of a config; tensors of heads on top of it are left, all others have to match.

    Of a model with encoder and decoder, the encoder alone is built, and a decoder is not asked for.

    Args:
        config: Config of transformers.
        name: Hub id, or folder with the weights.
        optional: Top-level part that the caller does not run and that may be missing.

    Raises:
        WeightsError: If a file is not safe, or a tensor is missing, unexpected, of another shape, or no number.
    """
    path, tensors = read_tensors(name)
    with _quiet():
        plan = _plan(config)
        own = plan.state_dict().keys()
        model, report = type(plan).from_pretrained(
            None,
            config=config,
            state_dict=_part_for(own, tensors),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    tops = tuple(f"{top}." for top in {name.split(".")[0] for name in own})
    unexpected = [name for name in report["unexpected_keys"] if name.startswith(tops)]
    problems = {
        "missing": sorted(name for name in report["missing_keys"] if name.split(".")[0] != optional),
        "unexpected": sorted(name for name in unexpected if not name.endswith("masked_spec_embed")),
        "of another shape": sorted(name for name, *_ in report["mismatched_keys"]),
    }
    if any(problems.values()):
        message = "; ".join(f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in problems.items() if names)
        raise WeightsError(f"{path}: not the weights of {type(model).__name__}: {message}.")
    check_finite(model.state_dict(), path)
    return model


def _plan(config: Any) -> Any:
    """Return the model of a config without memory for its weights: of encoder and decoder, the encoder."""
    from transformers import AutoModel

    with torch.device("meta"):
        auto: Any = AutoModel
        whole = auto.from_config(config, trust_remote_code=False)
        return whole.get_encoder() if config.is_encoder_decoder else whole


def _part_for(own: Collection[str], tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a model out of a file in which they may stand below a prefix, beside those of heads.

    Example:
        >>> names = ["wavlm.encoder.bias", "wavlm.encoder.weight", "encoder.bias"]
        >>> list(_part_for(["encoder.bias", "encoder.weight"], {name: torch.ones(1) for name in names}))
        ['encoder.bias', 'encoder.weight']
    """
    named = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    parts = [name.split(".") for name in named]
    prefixes = {""} | {".".join(names[:depth]) + "." for names in parts for depth in (1, 2) if len(names) > depth}
    best = max(sorted(prefixes, key=len), key=lambda prefix: sum(prefix + name in named for name in own))
    return {name.removeprefix(best): value for name, value in named.items() if name.startswith(best)}


def layers_of(model: nn.Module, num_layers: int) -> Sequence[nn.Module]:
    """Find the list of layers in a model of transformers, whatever its name there.

    Example:
        >>> model = nn.ModuleDict({"stem": nn.Linear(1, 1), "layer": nn.ModuleList([nn.ReLU(), nn.GELU()])})
        >>> layers_of(model, 2)
        [ReLU(), GELU(approximate='none')]
    """
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == num_layers]
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in lists]
    return list(lists[sizes.index(max(sizes))]) if lists else []


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
        preprocessor = _find_preprocessor(name_or_path)
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
