"""Small random checkpoints of each pretrained encoder, in the layouts of their authors; read-only."""

import json
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


def _wavlm_shapes(width, num_layers, num_heads, hidden, conv):
    """Names and shapes of a base-style WavLM as its authors store it."""
    shapes = {"mask_emb": (width,), "layer_norm.weight": (conv,), "layer_norm.bias": (conv,)}
    for i, kernel in enumerate([10, 3, 3, 3, 3, 2, 2]):
        shapes[f"feature_extractor.conv_layers.{i}.0.weight"] = (conv, conv if i else 1, kernel)
    linear = {"post_extract_proj": (width, conv)}
    norms = ["encoder.layer_norm"]
    shapes |= {"encoder.pos_conv.0.bias": (width,), "encoder.pos_conv.0.weight_g": (1, 1, 16)}
    shapes |= {"encoder.pos_conv.0.weight_v": (width, width // 4, 16)}
    shapes["encoder.layers.0.self_attn.relative_attention_bias.weight"] = (32, num_heads)
    for i in range(num_layers):
        layer = f"encoder.layers.{i}"
        shapes[f"{layer}.self_attn.grep_a"] = (1, num_heads, 1, 1)
        linear |= {f"{layer}.self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        linear |= {f"{layer}.self_attn.grep_linear": (8, width // num_heads)}
        linear |= {f"{layer}.fc1": (hidden, width), f"{layer}.fc2": (width, hidden)}
        norms += [f"{layer}.self_attn_layer_norm", f"{layer}.final_layer_norm"]
    norms.append("feature_extractor.conv_layers.0.2")
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    for name in norms:
        size = conv if name.endswith("0.2") else width
        shapes |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    return shapes


@pytest.fixture(scope="session")
def audiobox_folder(tmp_path_factory):
    """A small random Audiobox Aesthetics: ``checkpoint.pt``, the folder ``hf``, and ``wavlm.json`` with its sizes."""
    from safetensors.torch import save_file

    sizes = {"width": 32, "num_layers": 2, "num_heads": 4, "hidden": 48, "conv": 24}
    config = {"encoder_layers": 2, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 4}
    config |= {"conv_feature_layers": "[(24,10,5)] + [(24,3,2)] * 4 + [(24,2,2)] * 2", "conv_pos": 16}
    config |= {"conv_pos_groups": 4, "num_buckets": 32, "max_distance": 80}
    generator = torch.Generator().manual_seed(0)
    shapes = {f"wavlm_model.{name}": shape for name, shape in _wavlm_shapes(**sizes).items()}
    for axis in ("CE", "CU", "PC", "PQ"):
        shapes |= {f"layer_weights.{axis}": (3,), f"proj_layer.{axis}.0.weight": (32, 32)}
        shapes |= {f"proj_layer.{axis}.{name}": (32,) for name in ("0.bias", "1.weight", "1.bias")}
        shapes |= {f"proj_layer.{axis}.3.weight": (1, 32), f"proj_layer.{axis}.3.bias": (1,)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and "grep_a" not in name:
            tensor.mul_(tensor[0].numel() ** -0.5)
    settings = {"proj_num_layer": 2, "proj_ln": True, "nth_layer": 3}
    transform = {axis: {"mean": 5.0 + i, "std": 1.0 + i / 4} for i, axis in enumerate(("CE", "CU", "PC", "PQ"))}
    folder = tmp_path_factory.mktemp("audiobox")
    (folder / "wavlm.json").write_text(json.dumps(config))
    state = {f"model.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": state, "model_cfg": settings, "target_transform": transform}, folder / "checkpoint.pt")
    (folder / "hf").mkdir()
    (folder / "hf" / "config.json").write_text(json.dumps({**settings, "target_transform": transform}))
    save_file(tensors, folder / "hf" / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory):
    """A small random WavLM in the layout of the hub."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    sizes |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "conv_dim": [16] * 7}
    folder = tmp_path_factory.mktemp("hub")
    WavLMModel(WavLMConfig(**sizes)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def _beats_state(sizes, num_classes):
    """Random weights of BEATs under the names of the original, which repeats one table in every layer."""
    width, embed, hidden = sizes["encoder_embed_dim"], sizes["embed_dim"], sizes["encoder_ffn_embed_dim"]
    num_heads, kernel = sizes["encoder_attention_heads"], sizes["conv_pos"]
    linear, norms = {"post_extract_proj": (width, embed)}, {"layer_norm": embed, "encoder.layer_norm": width}
    shapes = {"patch_embedding.weight": (embed, 1, 16, 16), "encoder.pos_conv.0.bias": (width,)}
    shapes |= {"encoder.pos_conv.0.weight_g": (1, 1, kernel)}
    shapes |= {"encoder.pos_conv.0.weight_v": (width, width // sizes["conv_pos_groups"], kernel)}
    for i in range(sizes["encoder_layers"]):
        layer = f"encoder.layers.{i}"
        shapes[f"{layer}.self_attn.grep_a"] = (1, num_heads, 1, 1)
        linear |= {f"{layer}.self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        linear |= {f"{layer}.self_attn.grep_linear": (8, width // num_heads)}
        linear |= {f"{layer}.fc1": (hidden, width), f"{layer}.fc2": (width, hidden)}
        norms |= {f"{layer}.self_attn_layer_norm": width, f"{layer}.final_layer_norm": width}
    linear |= {"predictor": (num_classes, width)} if num_classes else {}
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {f"{name}.{part}": (size,) for name, size in norms.items() for part in ("weight", "bias")}
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, tensor in state.items():
        if tensor.ndim > 1 and "grep_a" not in name:
            tensor.mul_(tensor[0].numel() ** -0.5)
    table = torch.randn(sizes["num_buckets"], num_heads, generator=generator)
    tables = [f"encoder.layers.{i}.self_attn.relative_attention_bias.weight" for i in range(sizes["encoder_layers"])]
    return state | dict.fromkeys(tables, table)


@pytest.fixture(scope="session")
def beats_folder(tmp_path_factory):
    """A small random BEATs as its authors write it: ``pretrained.pt``, and ``finetuned.pt`` with three classes."""
    sizes = {"encoder_layers": 2, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 2}
    sizes |= {"embed_dim": 16, "conv_pos": 16, "conv_pos_groups": 4, "num_buckets": 32, "max_distance": 80}
    switches = {"deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True, "conv_bias": False}
    dropouts = {"dropout": 0.0, "attention_dropout": 0.0, "encoder_layerdrop": 0.0, "predictor_dropout": 0.0}
    cfg = sizes | switches | dropouts | {"mask_prob": 0.75}
    folder = tmp_path_factory.mktemp("beats")
    torch.save({"cfg": cfg, "model": _beats_state(sizes, 0)}, folder / "pretrained.pt")
    tuned = {"cfg": cfg | {"finetuned_model": True, "predictor_class": 3}, "model": _beats_state(sizes, 3)}
    torch.save(tuned | {"label_dict": {0: "speech", 2: "noise", 1: "music"}}, folder / "finetuned.pt")
    return folder


def _muq_shapes(width, depth, hidden, kernel, conv):
    """Names and shapes of MuQ as the hub has it, with what its pre-training leaves in it."""
    shapes = {"cls_token": (width,), "linear.weight": (8, width), "linear.bias": (8,)}
    shapes |= {"conformer.embed_positions.inv_freq": (width // 4,), "conformer.pos_conv_embed.conv.bias": (width,)}
    shapes |= {"conformer.pos_conv_embed.conv.parametrizations.weight.original0": (1, 1, 16)}
    shapes |= {"conformer.pos_conv_embed.conv.parametrizations.weight.original1": (width, width // 4, 16)}
    shapes |= {"rvq.quantizers.0.stale_counter": (1024,), "rvq.quantizers.0.codebook.weight": (1024, 16)}
    for name, inner, outer in (("in_proj", 512, 16), ("out_proj", 16, 512)):
        shapes |= {f"rvq.quantizers.0.{name}.weight_g": (outer, 1, 1)}
        shapes |= {f"rvq.quantizers.0.{name}.weight_v": (outer, inner, 1), f"rvq.quantizers.0.{name}.bias": (outer,)}
    norms, batch_norms, linear = {"conformer.layer_norm": width}, {}, {"conv.linear": (width, conv * 32)}
    for i, j in ((i, j) for i in (0, 1) for j in (1, 2, 3)):
        linear[f"conv.conv.{i}.conv{j}"] = (conv, conv if i or j == 2 else 1, 3, 3)
        batch_norms[f"conv.conv.{i}.bn{j}"] = conv
    for layer in (f"conformer.layers.{i}" for i in range(depth)):
        for part in ("ffn1", "ffn2"):
            linear |= {f"{layer}.{part}.intermediate_dense": (hidden, width)}
            linear |= {f"{layer}.{part}.output_dense": (width, hidden)}
        linear |= {f"{layer}.self_attn.linear_{part}": (width, width) for part in ("q", "k", "v", "out")}
        shapes |= {f"{layer}.conv_module.pointwise_conv1.weight": (2 * width, width, 1)}
        shapes |= {f"{layer}.conv_module.depthwise_conv.weight": (width, 1, kernel)}
        shapes |= {f"{layer}.conv_module.pointwise_conv2.weight": (width, width, 1)}
        batch_norms[f"{layer}.conv_module.batch_norm"] = width
        names = ("ffn1_layer_norm", "self_attn_layer_norm", "conv_module.layer_norm", "ffn2_layer_norm")
        norms |= {f"{layer}.{name}": width for name in (*names, "final_layer_norm")}
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {f"{name}.{p}": (size,) for name, size in (norms | batch_norms).items() for p in ("weight", "bias")}
    shapes |= {f"{name}.running_{p}": (size,) for name, size in batch_norms.items() for p in ("mean", "var")}
    return shapes | {f"{name}.num_batches_tracked": () for name in batch_norms}


def _muq_tensor(name, shape, generator):
    """A random tensor of the size that suits its name."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("num_batches_tracked"):
        return torch.tensor(3)
    if name.endswith("inv_freq"):
        return 1.0 / 10000 ** (torch.arange(len(noise)) / len(noise))
    if name.endswith("running_var") or (("norm" in name or ".bn" in name) and name.endswith(".weight")):
        return (1 + 0.2 * noise).abs()
    return noise * (noise[0].numel() ** -0.5 if noise.ndim > 1 else 0.2)


@pytest.fixture(scope="session")
def muq_folder(tmp_path_factory):
    """A small random MuQ in the layout of its hub repository."""
    from safetensors.torch import save_file

    inner = {"num_attention_heads": 2, "intermediate_size": 48, "hidden_act": "swish", "layer_norm_eps": 1e-5}
    inner |= {"conv_depthwise_kernel_size": 15, "position_embeddings_type": "rotary", "rotary_embedding_base": 10000}
    inner |= {"hidden_dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1, "layerdrop": 0.0}
    inner |= {"conformer_conv_dropout": 0.1, "feat_extract_activation": "gelu", "conv_dim": [512] * 7}
    inner |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = {"label_rate": 25, "hop_length": 240, "n_mels": 128, "conv_dim": 4, "encoder_dim": 32, "encoder_depth": 2}
    config |= {"stat": {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}}
    config |= {"codebook_size": 8, "use_rvq_target": True, "rvq_n_codebooks": 1, "w2v2_config": inner}
    generator = torch.Generator().manual_seed(0)
    shapes = _muq_shapes(width=32, depth=2, hidden=48, kernel=15, conv=4)
    state = {f"model.{name}": _muq_tensor(name, shape, generator) for name, shape in sorted(shapes.items())}
    folder = tmp_path_factory.mktemp("muq")
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """A small RoBERTa as the hub has the large one: from pre-training, with its language head and without a pooler."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = RobertaConfig(**sizes, intermediate_size=48, max_position_embeddings=130, type_vocab_size=1)
    folder = tmp_path_factory.mktemp("text")
    RobertaForMaskedLM(config).save_pretrained(folder)
    words, special = ByteLevelBPETokenizer(), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    prompts = ["loud drums", "", "Rain on a tin roof, far away."]
    words.train_from_iterator(prompts, vocab_size=300, special_tokens=special, show_progress=False)
    words.save_model(str(folder))
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


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


@pytest.fixture(scope="session")
def nisqa_folder(tmp_path_factory):
    """A small random NISQA in the layout of the official ``nisqa.tar``."""
    generator = torch.Generator().manual_seed(0)
    args = {"model": "NISQA_DIM", "ms_n_fft": 1024, "ms_hop_length": 0.01, "ms_win_length": 0.02, "ms_n_mels": 48}
    args |= {"ms_fmax": 20000, "ms_seg_length": 15, "ms_seg_hop_length": 4, "ms_max_segments": 1300, "td_2": "skip"}
    args |= {"cnn_model": "adapt", "cnn_c_out_1": 4, "cnn_c_out_2": 4, "cnn_c_out_3": 6, "cnn_kernel_size": (3, 3)}
    args |= {"cnn_pool_1": [24, 7], "cnn_pool_2": [12, 5], "cnn_pool_3": [6, 3], "cnn_dropout": 0.2}
    args |= {"td": "self_att", "td_sa_d_model": 8, "td_sa_nhead": 1, "td_sa_num_layers": 2, "td_sa_h": 12}
    args |= {"td_sa_dropout": 0.1, "pool": "att", "pool_att_h": 10, "pool_att_dropout": 0, "cnn_fc_out_h": None}
    shapes, sizes = {}, [1, 4, 4, 6, 6, 6, 6]
    for i in range(1, 7):
        shapes[f"cnn.model.conv{i}.weight"] = (sizes[i], sizes[i - 1], 3, 3)
        shapes |= {f"cnn.model.bn{i}.{name}": (sizes[i],) for name in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"cnn.model.conv{i}.bias"] = (sizes[i],)
    over_time = "time_dependency.model"
    shapes |= {f"{over_time}.linear.weight": (8, 36), f"{over_time}.linear.bias": (8,)}
    shapes |= {f"{over_time}.norm1.{name}": (8,) for name in ("weight", "bias")}
    for layer in (f"{over_time}.layers.{i}" for i in range(2)):
        shapes |= {f"{layer}.self_attn.in_proj_weight": (24, 8), f"{layer}.self_attn.in_proj_bias": (24,)}
        shapes |= {f"{layer}.self_attn.out_proj.weight": (8, 8), f"{layer}.self_attn.out_proj.bias": (8,)}
        shapes |= {f"{layer}.linear1.weight": (12, 8), f"{layer}.linear1.bias": (12,)}
        shapes |= {f"{layer}.linear2.weight": (8, 12), f"{layer}.linear2.bias": (8,)}
        shapes |= {f"{layer}.norm{i}.{name}": (8,) for i in (1, 2) for name in ("weight", "bias")}
    for pool in (f"pool_layers.{i}.model" for i in range(5)):
        for name, shape in {"linear1": (10, 8), "linear2": (1, 10), "linear3": (1, 8)}.items():
            shapes |= {f"{pool}.{name}.weight": shape, f"{pool}.{name}.bias": shape[:1]}
    state = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {name: value.abs() + 0.5 for name, value in state.items() if name.endswith(("running_var", "bn.weight"))}
    state |= {f"cnn.model.bn{i}.num_batches_tracked": torch.tensor(7) for i in range(1, 7)}
    folder = tmp_path_factory.mktemp("nisqa")
    torch.save({"runname": "small", "epoch": 3, "args": args, "model_state_dict": state}, folder / "nisqa.tar")
    return folder


@pytest.fixture(scope="session")
def exported_folder(tmp_path_factory):
    """A small random network as ``model.onnx`` and, of TorchScript, ``model.pt``."""
    import warnings

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 400, 160), torch.nn.Tanh()).eval()
    folder = tmp_path_factory.mktemp("exported")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), folder / "model.pt")
        torch.onnx.export(
            network, (torch.zeros(1, 1, 16000),), folder / "model.onnx", dynamo=False, dynamic_axes={"x": {2: "t"}},
            input_names=["x"], output_names=["y"], opset_version=17,
        )  # fmt: skip
    return folder
