"""A small random LAION-CLAP, as its authors write theirs and as transformers does, and a tokeniser for both."""

import re

import numpy as np
import pytest
import torch

PROMPTS = ["a calm piano piece", "loud drums and a distorted guitar", "Rain on a tin roof, far away."]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ORIGINAL_NAMES = [
    (r"^text_model\.", "text_branch."),
    (r"^audio_model\.audio_encoder\.", "audio_branch."),
    (r"_projection\.linear1\.", "_projection.0."),
    (r"_projection\.linear2\.", "_projection.2."),
    (r"\.batch_norm\.", ".bn0."),
    (r"(blocks\.\d+)\.attention\.output\.dense\.", r"\1.attn.proj."),
    (r"(blocks\.\d+)\.attention\.self\.", r"\1.attn."),
    (r"(blocks\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
]


def _small_clap():
    """A ``ClapModel`` whose every weight matters."""
    from transformers import ClapConfig, ClapModel

    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 2, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
    }
    text = {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    text |= {"intermediate_size": 48, "max_position_embeddings": 80, "layer_norm_eps": 1e-5}
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    norm = model.audio_model.audio_encoder.batch_norm
    norm.running_mean.uniform_(-50, -30)
    norm.running_var.uniform_(200, 600)
    return model


def _original_state(state):
    """Name the weights of a ``ClapModel`` as the original does, and add what only the original has."""
    from librosa.filters import mel

    named = {}
    for name, tensor in state.items():
        for pattern, replacement in ORIGINAL_NAMES:
            name = re.sub(pattern, replacement, name)
        named[name] = tensor
    for name in [name for name in named if ".attn.query." in name]:
        parts = [named.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        named[name.replace("query", "qkv")] = torch.cat(parts)
    del named["text_branch.embeddings.token_type_ids"]
    filters = mel(sr=48000, n_fft=1024, n_mels=64, fmin=50, fmax=14000).T
    named["audio_branch.logmel_extractor.melW"] = torch.from_numpy(filters)
    named["audio_branch.head.bias"] = named["audio_transform.sequential.0.bias"] = torch.zeros(5)
    return {f"module.{name}": tensor.clone() for name, tensor in named.items()}


@pytest.fixture(scope="session")
def clap_folder(tmp_path_factory):
    """A folder with ``clap.pt``, the same as ``hub/``, and the tokeniser; read-only."""
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path_factory.mktemp("clap")
    model = _small_clap()
    model.save_pretrained(folder / "hub")
    checkpoint = {
        "epoch": 15,
        "name": "small",
        "best": np.float64(90.14),
        "state_dict": _original_state(model.state_dict()),
    }
    torch.save(checkpoint, folder / "clap.pt")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(PROMPTS, vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.save_model(str(folder))
    return folder
