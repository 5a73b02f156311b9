"""Read LAION-CLAP weights: the original checkpoints, the MusicEval baseline's own, and transformers' folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_aqa.encoders.huggingface_files import find, read_tensors
from lightning_aqa.utils.weights import Weights, WeightsError, find_weights, read_config, read_json, read_weights

REPOSITORY = "lukewys/laion_clap"
HTSAT_FILES = (
    "music_audioset_epoch_15_esc_90.14.pt",
    "music_speech_audioset_epoch_15_esc_89.98.pt",
    "music_speech_epoch_15_esc_89.25.pt",
    "630k-audioset-best.pt",
    "630k-best.pt",
)
PUBLISHED = Weights(
    HTSAT_FILES[0],
    HTSAT_FILES[:1],
    f"https://huggingface.co/{REPOSITORY}/resolve/main/{HTSAT_FILES[0]}",
    "CC0 1.0",
    REPOSITORY,
)
# Of the training objective, of the original's classifier, and what its constructor computes.
UNUSED = re.compile(
    r"(audio|text)_transform\.|audio_branch\.(tscam_conv|head|spectrogram_extractor|logmel_extractor)\.|.*\.attn_mask$"
)
COMPUTED = ("text_model.embeddings.position_ids", "text_model.embeddings.token_type_ids")
RENAMED = (
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)


class FrontEnd(NamedTuple):
    """The spectrogram of the original, under the names of its configs (``audio_cfg``).

    Args:
        sample_rate: Rate of the audio, in Hz.
        window_size: Length of a spectrum, in samples.
        hop_size: Distance of two spectra, in samples.
        mel_bins: Number of mel bands.
        fmin: Lower end of the lowest band, in Hz.
        fmax: Upper end of the highest band, in Hz.
        clip_samples: Length of the audio that the audio tower reads, in samples.
    """

    sample_rate: int = 48000
    window_size: int = 1024
    hop_size: int = 480
    mel_bins: int = 64
    fmin: int = 50
    fmax: int = 14000
    clip_samples: int = 480000


class ClapWeights(NamedTuple):
    """The parts of ``transformers.ClapModel``, whatever it was read from.

    Args:
        path: The file with the weights.
        config: Keyword arguments of ``transformers.ClapConfig``.
        tensors: Weights under the names of ``transformers.ClapModel``.
        front_end: The spectrogram that the audio tower reads.
        mel_filters: The original's own filters, shape ``(window_size // 2 + 1, mel_bins)``, where the file has them.
    """

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    front_end: FrontEnd
    mel_filters: Tensor | None = None


def read_clap(checkpoint: str, config: Mapping[str, Any] | str | None) -> ClapWeights:
    """Read weights and sizes from a ``.pt`` file of the original, or from a transformers folder or hub id.

    Raises:
        WeightsError: If the file is nowhere, unsafe, or not LAION-CLAP with HTSAT and RoBERTa.
    """
    settings = read_config(config)
    if Path(checkpoint).suffix == ".pt":
        path = _find_original(checkpoint)
        return from_original(read_weights(path), path, settings)
    return _from_folder(checkpoint, settings)


def _find_original(checkpoint: str) -> Path:
    name = Path(checkpoint).name
    url = f"https://huggingface.co/{REPOSITORY}/resolve/main/{name}"
    try:
        return find_weights(checkpoint, file=name, url=url)
    except WeightsError:
        if checkpoint not in HTSAT_FILES:
            raise
    return find_weights(REPOSITORY, file=name, url=url)


def from_original(found: Mapping[str, Any], path: Path, settings: Mapping[str, Any]) -> ClapWeights:
    """Convert an original checkpoint; its sizes are read off its weights, and ``settings`` overrule them.

    Args:
        found: ``{"epoch", "name", "state_dict"}`` with names that start with ``module.``, or the names alone, or the
            state of the MusicEval baseline, which has them below ``upstream_model.model.``.
        path: Where it comes from, for the messages.
        settings: The original's configs: ``htsat``, ``audio_cfg``, ``roberta_config``, ``joint_embed_shape``.

    Raises:
        WeightsError: If the weights are those of another architecture.
    """
    weights = {name.removeprefix("module."): tensor for name, tensor in found.get("state_dict", found).items()}
    below = "upstream_model.model."
    if any(name.startswith(below) for name in weights):
        weights = {name.removeprefix(below): tensor for name, tensor in weights.items() if name.startswith(below)}
    _check_architecture(weights, path)
    mel_filters = weights.get("audio_branch.logmel_extractor.melW")
    front_end = _front_end(settings, mel_filters)
    config = {
        "audio_config": _audio_sizes(weights, settings.get("htsat", {})),
        "text_config": _text_sizes(weights, settings.get("roberta_config", {}), path),
        "projection_dim": settings.get("joint_embed_shape", len(weights["audio_projection.0.weight"])),
    }
    return ClapWeights(path, config, convert(weights), front_end, mel_filters)


def _check_architecture(weights: Mapping[str, Tensor], path: Path) -> None:
    if any(".fusion_model." in name for name in weights):
        raise WeightsError(
            f"{path}: a fusion checkpoint, whose audio tower reads four spectrograms. CLAP here is the one without "
            f"fusion, which MusicEval's systems use: take one of {', '.join(HTSAT_FILES)}."
        )
    needed = ("audio_branch.patch_embed.proj.weight", "text_branch.embeddings.word_embeddings.weight")
    missing = [name for name in (*needed, "audio_projection.0.weight") if name not in weights]
    if missing:
        raise WeightsError(f"{path}: not LAION-CLAP with HTSAT and RoBERTa, which has {', '.join(missing)}.")


def _front_end(settings: Mapping[str, Any], mel_filters: Tensor | None) -> FrontEnd:
    read = {} if mel_filters is None else {"window_size": 2 * (len(mel_filters) - 1)}
    given = {name: value for name, value in settings.get("audio_cfg", {}).items() if name in FrontEnd._fields}
    return FrontEnd(**{**read, **given})


def _audio_sizes(weights: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    table = re.compile(r"audio_branch\.layers\.(\d+)\.blocks\.\d+\.attn\.relative_position_bias_table")
    layers = sorted((int(found[1]), len(tensor[0])) for name, tensor in weights.items() if (found := table.match(name)))
    num_heads = dict(layers)
    depths = [sum(layer == index for layer, _ in layers) for index in num_heads]
    width = given.get("embed_dim", len(weights["audio_branch.patch_embed.proj.weight"]))
    return {
        "patch_embeds_hidden_size": width,
        "depths": given.get("depths", depths),
        "num_attention_heads": given.get("num_heads", list(num_heads.values())),
        "hidden_size": width * 2 ** (len(depths) - 1),
        "num_mel_bins": len(weights["audio_branch.bn0.weight"]),
    }


def _text_sizes(weights: Mapping[str, Tensor], given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    embeddings = "text_branch.embeddings"
    vocabulary, width = weights[f"{embeddings}.word_embeddings.weight"].shape
    if "num_attention_heads" not in given and width % 64:
        raise WeightsError(
            f"{path}: a text tower of width {width} is no RoBERTa of 64 per attention head; give their number, such as "
            'config={"roberta_config": {"num_attention_heads": 4}}.'
        )
    read = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": len({name.split(".")[3] for name in weights if name.startswith("text_branch.encoder.")}),
        "num_attention_heads": width // 64,
        "intermediate_size": len(weights["text_branch.encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": len(weights[f"{embeddings}.position_embeddings.weight"]),
        "type_vocab_size": len(weights[f"{embeddings}.token_type_embeddings.weight"]),
        "layer_norm_eps": 1e-5,  # RoBERTa's, which the original runs; the default of ClapTextConfig is another
    }
    return {**read, **given}


def convert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the original's weights as ``transformers.ClapModel`` does; ``qkv`` is cut into query, key and value.

    Example:
        >>> import torch
        >>> sorted(convert({"audio_branch.layers.0.blocks.0.attn.qkv.bias": torch.zeros(6)}))[0]
        'audio_model.audio_encoder.layers.0.blocks.0.attention.self.key.bias'
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if UNUSED.match(name):
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".self.qkv." in name:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            converted |= {name.replace("qkv", part): third for part, third in parts}
        else:
            converted[name] = tensor
    return converted


def _from_folder(checkpoint: str, settings: Mapping[str, Any]) -> ClapWeights:
    config = read_json(find(checkpoint, "config.json"))
    path, tensors = read_tensors(checkpoint)
    if config.get("model_type") != "clap" or config.get("audio_config", {}).get("enable_fusion"):
        raise WeightsError(f"{path}: not LAION-CLAP without fusion; take one such as laion/larger_clap_music.")
    for part in ("audio_config", "text_config"):
        config[part] = {**config.get(part, {}), **settings.get(part, {})}
    return ClapWeights(path, config, tensors, _front_end(settings, None))
