import json
from pathlib import Path

import pytest
import torch
import torchaudio
import transformers
from safetensors.torch import load_file, save_file

from lightning_aqa.encoders.muq import MuQ, log_mel
from lightning_aqa.encoders.muq_layers import rotate
from lightning_aqa.utils.weights import WeightsError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "muq"
NO_DROPOUT = ("hidden_dropout", "attention_dropout", "activation_dropout", "conformer_conv_dropout")


@pytest.fixture
def encoder(muq_folder):
    return MuQ(str(muq_folder)).eval()


def _noise(size, seed=0):
    return 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def _encode(encoder, *clips):
    sizes = torch.tensor([len(clip) for clip in clips])
    with torch.no_grad():
        return encoder(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=torch.nan), sizes)


def _close(one, other, atol):
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


def _config(folder, **inner):
    config = json.loads((folder / "config.json").read_text())
    return config | {"w2v2_config": config["w2v2_config"] | inner}


# Values worked by hand


def test_a_second_is_25_frames_and_a_part_of_four_spectra_counts_as_one(encoder):
    mask = _encode(encoder, *(_noise(size) for size in (24000, 240000, 24959, 24960, 25200, 1025, 100))).frame_mask
    assert mask.sum(dim=1).tolist() == [25, 250, 26, 26, 27, 1, 1]  # of 103, 104 and 105 spectra: 26, 26, 27


def test_a_frame_is_turned_by_its_number_at_the_rate_of_each_pair():
    hidden = torch.tensor([1.0, 2.0, 0.0, 0.0]).expand(1, 3, 4)
    once, slowly = torch.tensor(2.0), torch.tensor(0.02)
    expected = torch.stack([once.cos(), 2 * slowly.cos(), once.sin(), 2 * slowly.sin()])
    _close(rotate(hidden, 1, 10000.0)[0, 2], expected, atol=1e-6)
    assert torch.equal(rotate(hidden, 1, 10000.0)[0, 0], hidden[0, 0])


# Independent references


@pytest.mark.parametrize("kind", ["noise", "tone", "quiet", "silence"])
def test_spectra_are_those_of_torchaudio(kind):
    noise, tone = _noise(5000), torch.sin(torch.arange(5000) * 0.3)
    samples = {"noise": noise, "tone": tone, "quiet": 1e-5 * noise, "silence": 0 * noise}[kind]
    # https://github.com/tencent-ailab/MuQ, MelSTFT, whose last frame MuQModel.preprocessing drops
    mel = torchaudio.transforms.MelSpectrogram(24000, n_fft=2048, hop_length=240, n_mels=128)
    expected = torchaudio.transforms.AmplitudeToDB()(mel(samples))[:, :-1]
    _close(log_mel(samples, 128, 240), expected, atol=1e-3)


@pytest.mark.parametrize("name", ["24000_0", "1025_1"])
def test_hidden_states_are_those_of_the_original(encoder, name):
    """Made by muq 0.1.0 on transformers 4.57.6 from the small checkpoint of these tests."""
    expected = load_file(FIXTURES / "hidden_states.safetensors")[name]
    size, seed = map(int, name.split("_"))
    _close(_encode(encoder, _noise(size, seed)).layers[0], expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_package_of_the_authors_gives_the_same_and_knows_every_weight(encoder, muq_folder):
    if int(transformers.__version__.split(".")[0]) > 4:
        pytest.skip(f"the package muq runs on transformers 4, here is {transformers.__version__}")
    muq = pytest.importorskip("muq", reason="needs the package muq, which is not installed here")
    original = muq.MuQ.from_pretrained(muq_folder, strict=True).eval()
    for size in (24000, 30011, 1025, 240000):
        with torch.no_grad():
            states = original(_noise(size)[None], output_hidden_states=True).hidden_states
        _close(_encode(encoder, _noise(size)).layers[0], torch.cat(states), atol=2e-5)


def test_the_conformer_is_that_of_transformers(encoder, muq_folder):
    inner = _config(muq_folder)["w2v2_config"] | {"hidden_size": 32, "num_hidden_layers": 2}
    modeling = transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer
    theirs = modeling.Wav2Vec2ConformerEncoder(transformers.Wav2Vec2ConformerConfig(**inner)).eval()
    weights = load_file(muq_folder / "model.safetensors")
    prefix = "model.conformer."
    theirs.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    inputs = []
    for layer in theirs.layers:
        layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    hidden = torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(3))
    last = theirs(hidden.clone()).last_hidden_state
    for own, other in zip(encoder.model.conformer(hidden, None), [*inputs, last], strict=True):
        _close(own, other, atol=1e-5)


# Invariances


def test_eight_clips_of_any_length_are_encoded_as_if_each_were_alone(encoder):
    clips = [_noise(size, seed) for seed, size in enumerate((48000, 1025, 26000, 24000, 9000, 47999, 3000, 30000))]
    together = _encode(encoder, *clips)
    for row, clip in enumerate(clips):
        alone = _encode(encoder, clip).layers[0]
        assert together.frame_mask[row].sum() == alone.shape[1]
        _close(together.layers[row, :, : alone.shape[1]], alone, atol=1e-5)
        assert not together.layers[row, :, alone.shape[1] :].any()


def test_train_mode_changes_nothing_but_dropout(muq_folder):
    encoder = MuQ(str(muq_folder), _config(muq_folder, **dict.fromkeys(NO_DROPOUT, 0.0)))
    clips = _noise(24000), _noise(9000, 1)
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    trained = _encode(encoder.train(), *clips).layers
    assert torch.equal(trained, _encode(encoder.eval(), *clips).layers)
    assert all(torch.equal(buffer, before[name]) for name, buffer in encoder.named_buffers())
    dropping = MuQ(str(muq_folder)).train()
    assert (_encode(dropping, *clips).layers - trained).abs().max() > 0.01


# Edges


@pytest.mark.parametrize("size", [1, 100, 1024])
def test_a_clip_too_short_to_be_mirrored_is_continued_by_silence(encoder, size):
    clip = _noise(size)
    longer = torch.cat([clip, torch.zeros(1025 - size)])
    assert torch.equal(_encode(encoder, clip).layers, _encode(encoder, longer).layers)


def test_fifty_frames_a_second_take_half_the_steps(muq_folder):
    encoder = MuQ(str(muq_folder), {"label_rate": 50}).eval()
    assert _encode(encoder, _noise(24000)).layers.shape == (1, 3, 50, 32)


def test_bf16_weights_give_nearly_the_same_in_float32(encoder):
    clips = _noise(240000), _noise(9000)
    exact = _encode(encoder, *clips).layers
    rounded = _encode(encoder.bfloat16(), *clips).layers
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean() < 1e-3 * exact.square().mean()


def test_weights_can_be_a_file_and_the_config_another(muq_folder, encoder, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes((muq_folder / "model.safetensors").read_bytes())
    other = MuQ(str(tmp_path / "weights.safetensors"), str(muq_folder / "config.json")).eval()
    assert torch.equal(_encode(other, _noise(5000)).layers, _encode(encoder, _noise(5000)).layers)


def test_the_old_names_of_the_unused_positional_convolution_load_too(muq_folder, tmp_path):
    weights = load_file(muq_folder / "model.safetensors")
    prefix = "model.conformer.pos_conv_embed.conv."
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        weights[prefix + old] = weights.pop(prefix + new)
    assert MuQ(_written(muq_folder, tmp_path, weights)).num_layers == 3


def test_a_frozen_muq_keeps_no_graph_and_a_trained_one_leaves_no_weight_out(encoder):
    waveform, sizes = torch.stack([_noise(9000), _noise(9000, 1)]), torch.tensor([9000, 4000])
    layers = encoder(waveform, sizes).layers
    (layers * torch.randn_like(layers)).sum().backward()
    assert all(weight.grad.any() for weight in encoder.parameters())
    assert not encoder.requires_grad_(False)(waveform, sizes).layers.requires_grad


def test_a_head_is_trained_on_a_frozen_muq(corpora, fit, muq_folder):
    words = ["--model.encoder=MuQ", f"--model.encoder.checkpoint={muq_folder}", "--model.freeze=all"]
    folder = fit("--data=MusicEval", f"--data.root={corpora['musiceval']}", *words)
    assert set(json.loads((folder / "results.json").read_text())) == {"train", "dev", "test"}


# Mistakes


def _written(folder, target, weights):
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(weights, target / "model.safetensors")
    return str(target)


def test_a_missing_and_an_unknown_weight_are_named(muq_folder, tmp_path):
    weights = load_file(muq_folder / "model.safetensors")
    weights["model.conformer.layers.7.ffn1.output_dense.bias"] = weights.pop("model.conv.linear.bias")
    with pytest.raises(WeightsError, match=r"1 missing: conv\.linear\.bias; 1 unexpected: conformer\.layers\.7\."):
        MuQ(_written(muq_folder, tmp_path, weights))


def test_positions_of_another_rate_are_refused(muq_folder):
    for change in ({"num_attention_heads": 4}, {"rotary_embedding_base": 500}):
        with pytest.raises(WeightsError, match=r"model\.safetensors: its rotary positions are not those of num_att"):
            MuQ(str(muq_folder), _config(muq_folder, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embeddings_type": "relative"}, "rotary positions, got 'relative'"),
        ({"hidden_act": "tanh"}, "one of swish, silu, gelu, relu, got 'tanh'"),
        ({"intermediate_size": None}, "lacks intermediate_size; give the config.json"),
    ],
)
def test_settings_that_are_no_muq_are_refused(muq_folder, change, message):
    with pytest.raises(ValueError, match=message):
        MuQ(str(muq_folder), _config(muq_folder, **change))


def test_a_config_without_the_statistics_of_its_spectra_is_refused(muq_folder):
    with pytest.raises(ValueError, match=r"lacks melspec_2048_mean, melspec_2048_std; give the config\.json"):
        MuQ(str(muq_folder), {"stat": {}})


def test_weights_without_a_config_ask_for_it(muq_folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((muq_folder / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"looked for the file config\.json"):
        MuQ(str(tmp_path), {"label_rate": 25})
    with pytest.raises(ValueError, match=r"lacks .*num_attention_heads.*; give the config\.json"):
        MuQ(str(tmp_path / "model.safetensors"))
    assert MuQ(str(tmp_path), _config(muq_folder)).width == 32


def test_an_unknown_frame_rate_is_refused(muq_folder):
    with pytest.raises(ValueError, match="label_rate must be one of 25, 50, got 75"):
        MuQ(str(muq_folder), {"label_rate": 75})


def test_weights_that_are_not_there_are_named_with_what_fetches_them(monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path))
    command = r"hf download OpenMuQ/MuQ-large-msd-iter model\.safetensors"
    with pytest.raises(WeightsError, match=rf"huggingface\.co/OpenMuQ/MuQ-large-msd-iter.*{command}"):
        MuQ()


def test_weights_are_found_below_the_folder_for_weights(monkeypatch, tmp_path, muq_folder):
    target = tmp_path / "OpenMuQ" / "MuQ-large-msd-iter"
    target.mkdir(parents=True)
    _written(muq_folder, target, load_file(muq_folder / "model.safetensors"))
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path))
    assert MuQ().width == 32
