"""The encoder of Audiobox Aesthetics: a WavLM with all its hidden states, fed by windows of 10 s."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.wav2vec import SpeechModel
from lightning_aqa.encoders.wav2vec_convolutions import frames_of
from lightning_aqa.utils.audiobox_weights import FILE, read_audiobox
from lightning_aqa.utils.weights import Weights, load_exactly, read_config

PAGE = "https://huggingface.co/facebook/audiobox-aesthetics"
BASE_PLUS: dict[str, Any] = {
    "extractor_mode": "default",
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_feature_layers": "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
    "conv_bias": False,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "dropout_input": 0.1,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "num_buckets": 320,
    "max_distance": 800,
}
"""The sizes of the published encoder, by their names in Meta's and Microsoft's WavLM."""

SIZES = {
    "encoder_layers": "num_hidden_layers",
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_attention_heads": "num_attention_heads",
    "activation_fn": "hidden_act",
    "layer_norm_first": "do_stable_layer_norm",
    "conv_bias": "conv_bias",
    "dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "feat_proj_dropout",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "num_buckets": "num_buckets",
    "max_distance": "max_bucket_distance",
}
"""Meta's names of the sizes, and those of transformers."""

NAMES = [
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"(conv_layers\.\d+)\.0\.", r"\1.conv."),
    (r"(conv_layers\.\d+)\.2\.(1\.)?", r"\1.layer_norm."),
    (r"\.pos_conv\.0\.", ".pos_conv_embed.conv."),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
    (r"\.self_attn\.", ".attention."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.grep_a$", ".gru_rel_pos_const"),
    (r"\.grep_linear\.", ".gru_rel_pos_linear."),
    (r"\.relative_attention_bias\.", ".rel_attn_embed."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
]
"""Patterns that turn Meta's names of the tensors into those of transformers."""


def conv_layers(layers: str | Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Read the convolutions, (width, kernel, stride) each, from a list or from Meta's way to write one.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> conv_layers("[(512,10,5)] + [(512,3,2)] * 2")
        [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    """
    if not isinstance(layers, str):
        return [(width, kernel, stride) for width, kernel, stride in layers]
    found: list[tuple[int, int, int]] = []
    for term in layers.replace(" ", "").split("+"):
        match = re.fullmatch(r"\[\((\d+),(\d+),(\d+)\)\](?:\*(\d+))?", term)
        if match is None:
            raise ValueError(f"conv_feature_layers: expected terms such as '[(512,3,2)] * 4' in a sum, got '{layers}'.")
        width, kernel, stride, times = (int(number or 1) for number in match.groups())
        found += [(width, kernel, stride)] * times
    return found


def build_wavlm(config: Mapping[str, Any]) -> Any:
    """Build transformers' ``WavLMModel`` of the sizes that Meta's names give, with random weights.

    Raises:
        ValueError: If the config asks for a WavLM without its gated relative positions.
    """
    from transformers import WavLMConfig, WavLMModel

    if not (config.get("relative_position_embedding", True) and config.get("gru_rel_pos", True)):
        raise ValueError("A WavLM without gated relative positions is not supported; the published ones have them.")
    convs = conv_layers(config["conv_feature_layers"])
    model: Any = WavLMModel(
        WavLMConfig(
            conv_dim=[width for width, _, _ in convs],
            conv_kernel=[kernel for _, kernel, _ in convs],
            conv_stride=[stride for _, _, stride in convs],
            feat_extract_norm="group" if config["extractor_mode"] == "default" else "layer",
            mask_time_prob=0.0,
            layerdrop=0.0,
            **{theirs: config[ours] for ours, theirs in SIZES.items()},
        )
    )
    if convs[-1][0] == config["encoder_embed_dim"]:
        model.feature_projection.projection = nn.Identity()
    return model


def rename(name: str) -> str:
    """Turn Meta's name of a tensor into that of transformers.

    Example:
        >>> rename("encoder.layers.0.self_attn.grep_a")
        'encoder.layers.0.attention.gru_rel_pos_const'
    """
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


class AudioboxAesthetics(Encoder):
    """Encode a clip by the WavLM of Audiobox Aesthetics; with ``heads.audiobox.Audiobox`` it is the official predictor.

    The official predictor pads every clip to windows of 10 s and lets its first normalisation see the zeros. Here the
    result is the same, but a clip of 3 s costs 3 s: the statistics of the whole window follow from its real part. A
    frame is valid where one of its samples is. Clips longer than the window are encoded whole, as the original's
    forward does; the loader gives windows.

    Input: 16 kHz. Output: a frame each 20 ms, the input of the first transformer block and the output of each.
    Weights: CC-BY 4.0 of Meta, ``facebook/audiobox-aesthetics``. Read at ``resampler: sinc`` to be the original.

    Args:
        checkpoint: Official ``checkpoint.pt``, or folder or hub id with ``config.json`` and ``model.safetensors``.
        config: Sizes of the WavLM, by Meta's names or as the path of a JSON file, where they are not the published
            ones.
        window_seconds: Length that clips count as padded to, in seconds; null takes each as it is.

    Raises:
        WeightsError: If the weights are not found, or are not of this model.

    Reference:
        "Meta Audiobox Aesthetics", 2025, https://arxiv.org/abs/2502.05139, and audiobox_aesthetics 0.0.4. Differs: no
        layer-drop in training, and the gradient of the convolutions is not scaled down to a tenth.
    """

    published = (Weights("facebook/audiobox-aesthetics", (FILE, "config.json"), PAGE, "CC BY 4.0"),)
    sample_rate = 16000
    min_tail_seconds = 0.0  # the official predictor scores every tail
    window_seconds: float | None = 10.0
    width, num_layers = BASE_PLUS["encoder_embed_dim"], BASE_PLUS["encoder_layers"] + 1

    def __init__(
        self,
        checkpoint: str = published[0].checkpoint,
        config: dict[str, Any] | str | None = None,
        window_seconds: float | None = 10.0,
    ) -> None:
        super().__init__()
        weights = read_audiobox(checkpoint)
        model = build_wavlm(BASE_PLUS | read_config(config))
        renamed = {rename(name): tensor for name, tensor in weights.encoder.items() if name != "mask_emb"}
        load_exactly(model, renamed, weights.path)
        self.wavlm = SpeechModel(model)
        self.width, self.num_layers, self.window_seconds = self.wavlm.width, self.wavlm.num_layers, window_seconds
        self.min_seconds = 0.0 if window_seconds else 400 / self.sample_rate
        self.padded_seconds = window_seconds

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the transformer blocks of WavLM."""
        return list(self.wavlm.model.encoder.layers)

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        sizes = num_samples.tolist()
        clips = [clip[:size] for clip, size in zip(waveform, sizes, strict=True)]
        shortest = round((self.window_seconds or 0.0) * self.sample_rate)
        windows = [max(size, shortest) for size in sizes]
        num_frames = [self._valid_frames(size, window) for size, window in zip(sizes, windows, strict=True)]
        return Features(*self.wavlm(clips, num_frames, windows))

    def _valid_frames(self, num_samples: int, window: int) -> int:
        """Count the valid frames by Meta's rule: frame f of F is the f-th block of ``window // F`` samples."""
        total = frames_of(window, self.wavlm.kernels, self.wavlm.strides)
        return min(total, -(-num_samples // (window // total)))
