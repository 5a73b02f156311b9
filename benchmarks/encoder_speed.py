"""Time the encoders alone: ``python benchmarks/encoder_speed.py`` writes ``encoders.csv``, which ``make table`` reads.

Each is as large as with its default weights, which are random here, frozen and in float32. What counts is the median of
the CPU time of all threads together, so that the numbers are those of one core; weights are packed, as in scoring.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from functools import partial
from pathlib import Path

import torch
from encoder_table import SPEEDS
from encoders import HTSAT_BASE, NUM_CLIPS, NUM_THREADS, SECONDS, _random_beats, median_seconds

from lightning_aqa.encoders.audiobox import BASE_PLUS, AudioboxAesthetics, build_wavlm
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.cpu import packed
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.encoders.muq import MuQ
from lightning_aqa.encoders.muq_layers import MuQConfig
from lightning_aqa.encoders.muq_model import MuQModel

OFFICIAL = [
    (r"^feature_projection\.layer_norm", "layer_norm"),
    (r"^feature_projection\.projection", "post_extract_proj"),
    (r"(conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"(conv_layers\.\d+)\.layer_norm\.", r"\1.2."),
    (r"\.pos_conv_embed\.conv\.", ".pos_conv.0."),
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
    (r"(layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.attention\.", ".self_attn."),
    (r"\.gru_rel_pos_const$", ".grep_a"),
    (r"\.gru_rel_pos_linear\.", ".grep_linear."),
    (r"\.rel_attn_embed\.", ".relative_attention_bias."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
]
"""What turns the names of transformers' WavLM into those of the official checkpoint."""

MUQ_LARGE = {"label_rate": 25, "hop_length": 240, "n_mels": 128, "conv_dim": 512, "encoder_dim": 1024}
MUQ_LARGE |= {"encoder_depth": 12}
MUQ_INNER = {"num_attention_heads": 16, "intermediate_size": 4096, "hidden_act": "swish", "layer_norm_eps": 1e-5}
MUQ_INNER |= {"conv_depthwise_kernel_size": 31, "position_embeddings_type": "rotary", "rotary_embedding_base": 10000}
MUQ_INNER |= {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
MUQ_INNER |= {"conformer_conv_dropout": 0.0}


def random_beats(folder: str) -> Encoder:
    """Build a BEATs."""
    path = str(Path(folder) / "beats.pt")
    torch.save(_random_beats(), path)
    return BEATs(path)


def random_clap(folder: str) -> Encoder:
    """Build a CLAP of the size of the default one, without its text side."""
    from transformers import ClapConfig, ClapModel

    ClapModel(ClapConfig(audio_config=HTSAT_BASE)).save_pretrained(folder)
    return CLAP(folder, text=False)


def random_wavlm(folder: str) -> Encoder:
    """Build a WavLM-base."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    WavLMModel(WavLMConfig()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return Hub(folder)


def random_audiobox(folder: str) -> Encoder:
    """Build the encoder of Audiobox Aesthetics."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in build_wavlm(BASE_PLUS).state_dict().items():
        for pattern, replacement in OFFICIAL:
            name = re.sub(pattern, replacement, name)
        state[f"model.wavlm_model.{name}"] = tensor
    path = str(Path(folder) / "checkpoint.pt")
    torch.save({"state_dict": state, "model_cfg": {}, "target_transform": {}}, path)
    return AudioboxAesthetics(path)


def random_muq(folder: str) -> Encoder:
    """Build a MuQ of the size of the published one."""
    from safetensors.torch import save_file

    settings = {**MUQ_LARGE, "stat": {"melspec_2048_mean": 6.8, "melspec_2048_std": 18.4}, "w2v2_config": MUQ_INNER}
    (Path(folder) / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(MuQModel(MuQConfig.of(settings)).state_dict(), Path(folder) / "model.safetensors")
    return MuQ(folder)


BUILDS = (
    random_beats,
    random_clap,
    lambda folder: Descriptors(),
    random_wavlm,
    lambda folder: MelSpectrogram(),
    random_audiobox,
    random_muq,
)


def times_real_time(encoder: Encoder) -> str:
    """Return how many seconds of audio are encoded in a second, to two digits."""
    waveform = 0.1 * torch.randn(NUM_CLIPS, SECONDS * encoder.sample_rate)
    work = partial(encoder, waveform, torch.full((NUM_CLIPS,), waveform.shape[1]))
    with torch.inference_mode(), packed():
        seconds = median_seconds({"encode": work})["encode"]
    return f"{float(f'{NUM_CLIPS * SECONDS / seconds:.2g}'):g}"


def main() -> None:
    """Write the file, and print what is in it."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(0)
    rows = [("encoder", "x_real_time")]
    for build in BUILDS:
        with tempfile.TemporaryDirectory() as folder:
            encoder = build(folder).eval().requires_grad_(False)
        rows.append((type(encoder).__name__, times_real_time(encoder)))
        print(*rows[-1])
    with SPEEDS.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
