import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torchaudio.compliance import kaldi

import lightning_aqa
from lightning_aqa.encoders import beats, beats_attention
from lightning_aqa.encoders.beats import BEATs, filter_banks
from lightning_aqa.encoders.beats_attention import BEATsAttention, position_buckets
from lightning_aqa.encoders.beats_model import PositionalConvolution
from lightning_aqa.utils.weights import WeightsError

SHARED = Path(lightning_aqa.__file__).parents[2] / "shared" / "parity" / "beats"
VARIANTS = ["pretrained_deepnorm", "finetuned_deepnorm", "pretrained_samewidth_postln", "pretrained_prenorm_convbias"]
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/parity/beats beside the repository")
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "out_proj"]


@pytest.fixture
def encoder(beats_folder):
    return BEATs(str(beats_folder / "pretrained.pt")).eval()


@pytest.fixture
def tuned(beats_folder):
    return BEATs(str(beats_folder / "finetuned.pt")).eval()


def _noise(*seconds, seed=0):
    num_samples = torch.tensor([round(16000 * s) for s in seconds])
    noise = 0.1 * torch.randn(len(seconds), int(num_samples.max()), generator=torch.Generator().manual_seed(seed))
    return noise, num_samples


def _close(one, other, atol, rtol=0.0):
    torch.testing.assert_close(one, other, atol=atol, rtol=rtol)


# The front end


def _kaldi(samples):
    # https://github.com/microsoft/unilm/tree/master/beats, BEATs.preprocess
    banks = kaldi.fbank(
        samples[None] * 2**15, num_mel_bins=128, sample_frequency=16000, frame_length=25, frame_shift=10
    )
    return (banks - 15.41663) / (2 * 6.55582)


@pytest.mark.parametrize("kind", ["noise", "tone", "quiet", "offset", "silence"])
def test_filter_banks_are_those_of_kaldi(kind):
    noise, tone = _noise(0.5)[0][0], torch.sin(torch.arange(8000) * 0.3)
    offset = 0.3 + 0.2 * noise
    samples = {"noise": noise, "tone": tone, "quiet": 1e-5 * noise, "offset": offset, "silence": 0 * noise}[kind]
    _close(filter_banks(samples.unfold(0, 400, 160)), _kaldi(samples), atol=1e-4)


# Positions


def test_near_offsets_have_buckets_of_their_own_and_far_ones_share():
    buckets = position_buckets(torch.tensor([0, -1, -79, -80, -800, -9999, 1, 800]), 320, 800)
    assert buckets.tolist() == [0, 1, 79, 80, 159, 159, 161, 319]


def test_buckets_grow_with_the_logarithm_of_the_distance():
    for distance in (100, 200, 555):
        expected = 80 + int(80 * math.log(distance / 80) / math.log(800 / 80))
        assert position_buckets(torch.tensor([-distance]), 320, 800).item() == expected


# Attention


def _attention_of_the_original(attention, hidden, values):
    """Scores of a 32nd of their size, less their maximum, and the gated bias added behind that."""
    length, num_heads = len(hidden), attention.num_heads
    query, key, value = (
        projection(hidden).view(length, num_heads, -1).transpose(0, 1)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = query / 32 / query.shape[-1] ** 0.5 @ key.transpose(1, 2)
    scores = (scores - scores.max(dim=-1, keepdim=True).values) * 32
    first, second = attention.grep_linear(query).view(num_heads, length, 2, 4).sum(-1).sigmoid().chunk(2, dim=-1)
    gate = first * (second * attention.grep_a[0] - 1) + 2
    offsets = torch.arange(length) - torch.arange(length)[:, None]
    bias = values(position_buckets(offsets, 32, 80)).permute(2, 0, 1)
    return attention.out_proj(((scores + gate * bias).softmax(-1) @ value).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("block", [2**22, 2 * 24 * 5])
def test_fused_attention_is_the_formula_of_the_original(encoder, block, monkeypatch):
    monkeypatch.setattr(beats_attention, "BLOCK", block)
    transformer, attention = encoder.model.encoder, encoder.model.encoder.layers[0].self_attn
    hidden, lengths = torch.randn(40, 32, generator=torch.Generator().manual_seed(1)), [16, 24]
    mixed = attention(hidden, lengths, transformer._position_table(24, hidden))
    values = transformer.relative_attention_bias
    expected = torch.cat([_attention_of_the_original(attention, clip, values) for clip in hidden.split(lengths)])
    _close(mixed, expected, atol=1e-5)


def test_attention_without_positions_is_plain_attention():
    torch.manual_seed(0)
    attention, hidden = BEATsAttention(8, 2, dropout=0.0, is_gated=False), torch.randn(5, 8)
    query, key, value = (
        projection(hidden).view(1, 5, 2, 4).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(5, 8)
    _close(attention(hidden, [5], None), attention.out_proj(mixed), atol=1e-6)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_hook_on_a_projection_is_honoured(encoder, name):
    clip = _noise(0.5)
    before = encoder(*clip).layers[:, -1]
    projection = getattr(encoder.model.encoder.layers[0].self_attn, name)
    projection.register_forward_hook(lambda module, inputs, output: output.flip(-1))
    assert (encoder(*clip).layers[:, -1] - before).abs().max() > 0.01


def test_lora_on_the_projections_trains_and_starts_where_the_encoder_was(encoder):
    peft = pytest.importorskip("peft", reason="needs peft, which is not installed here")

    clip = _noise(0.5, 0.3)
    before = encoder(*clip).layers
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=PROJECTIONS), encoder)
    after = encoder(*clip).layers
    _close(after, before, atol=1e-6)
    after.square().sum().backward()
    adapters = {name: weight for name, weight in encoder.named_parameters() if "lora_B" in name}
    assert len(adapters) == 8
    assert all(weight.grad.any() for name, weight in adapters.items() if "k_proj" not in name)


@pytest.mark.parametrize("is_autocast", [False, True])
def test_positions_of_the_published_size_are_right_in_bfloat16(is_autocast):
    torch.manual_seed(0)
    positions, tokens = PositionalConvolution(768, 128, 16), torch.randn(992, 768)
    expected = positions(tokens, [992])
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        dtype = torch.float32 if is_autocast else torch.bfloat16
        found = positions.to(dtype)(tokens.to(dtype), [992])
    _close(found.float(), expected, atol=0.05)


# Whole clips


def test_ten_seconds_are_496_tokens_and_short_clips_those_of_one_patch(encoder):
    _, mask, *_ = encoder(*_noise(10.0, 0.01, 2800 / 16000, 5359 / 16000, 0.335))
    assert mask.sum(1).tolist() == [496, 8, 8, 8, 16]


def test_a_short_clip_is_continued_by_silence(encoder):
    waveform, _ = _noise(2800 / 16000)
    waveform[:, 800:] = 0
    longer = encoder(waveform, torch.tensor([2800])).layers
    waveform[:, 800:] = torch.nan
    _close(encoder(waveform, torch.tensor([800])).layers, longer, atol=0)
    _close(encoder(waveform[:, :800], torch.tensor([800])).layers, longer, atol=0)


def test_a_batch_encoded_in_groups_is_the_same_batch(encoder, monkeypatch):
    clips = _noise(0.5, 2.0, 0.2, 1.0, 1.0)
    whole = encoder(*clips)
    monkeypatch.setattr(beats, "TOKENS", 50)
    with torch.no_grad():
        grouped = encoder(*clips)
    assert torch.equal(grouped.frame_mask, whole.frame_mask)
    _close(grouped.layers, whole.layers, atol=1e-5)


def test_bf16_weights_give_nearly_the_same_in_float32(encoder):
    clips = _noise(1.0, 0.4)
    exact = encoder(*clips).layers
    rounded = encoder.bfloat16()(*clips).layers
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean() < 1e-3 * exact.square().mean()


def test_classes_of_a_clip_do_not_depend_on_its_batch(tuned):
    waveform, num_samples = _noise(1.0, 0.4)
    probabilities = tuned.classify(waveform, num_samples)
    assert tuned.labels == ["speech", "music", "noise"]
    assert probabilities.shape == (2, 3)
    _close(probabilities[1:], tuned.classify(waveform[1:, :6400], num_samples[1:]), atol=1e-6)


def test_a_dropped_layer_passes_its_input_on_and_has_a_gradient_of_zero(beats_folder):
    always = {"encoder_layerdrop": 1.0}
    encoder = BEATs(str(beats_folder / "pretrained.pt"), always).train()
    layers = encoder(*_noise(0.5)).layers
    assert torch.equal(layers[:, 0], layers[:, 2])
    layers.sum().backward()
    assert not encoder.model.encoder.layers[0].fc1.weight.grad.any()
    assert encoder.eval()(*_noise(0.5)).layers.diff(dim=1).abs().amax(dim=(0, 2, 3)).min() > 0.1


def test_what_only_classes_are_read_from_is_not_trained(tuned):
    assert not any(weight.requires_grad for weight in tuned.model.predictor.parameters())
    assert all(weight.requires_grad for name, weight in tuned.named_parameters() if "predictor" not in name)


# Mistakes


def _changed(folder, tmp_path, change):
    checkpoint = torch.load(folder / "pretrained.pt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "changed.pt")
    return str(tmp_path / "changed.pt")


def test_a_missing_weight_is_named(beats_folder, tmp_path):
    path = _changed(beats_folder, tmp_path, lambda found: found["model"].pop("encoder.layers.1.fc2.bias"))
    with pytest.raises(WeightsError, match=r"changed.pt.*1 missing: encoder\.layers\.1\.fc2\.bias"):
        BEATs(path)


def test_tables_that_differ_between_layers_are_refused(beats_folder, tmp_path):
    name = "encoder.layers.1.self_attn.relative_attention_bias.weight"
    path = _changed(beats_folder, tmp_path, lambda found: found["model"].update({name: torch.zeros(32, 2)}))
    with pytest.raises(WeightsError, match=r"layers\.1.*shares it over layers"):
        BEATs(path)


def test_sizes_can_come_from_outside_where_the_file_has_none(beats_folder, tmp_path):
    cfg = torch.load(beats_folder / "pretrained.pt", weights_only=True)["cfg"]
    path = _changed(beats_folder, tmp_path, lambda found: found.pop("cfg"))
    with pytest.raises(WeightsError, match="no 'cfg'"):
        BEATs(path)
    assert BEATs(path, {"cfg": cfg, "seed": 3}).width == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_first": True}, "exclude each other"),
        ({"activation_fn": "glu"}, "one of gelu, relu, got 'glu'"),
    ],
)
def test_settings_that_are_no_beats_are_refused(beats_folder, change, message):
    with pytest.raises(ValueError, match=message):
        BEATs(str(beats_folder / "pretrained.pt"), change)


def test_classes_of_a_pretrained_beats_are_refused(encoder):
    with pytest.raises(ValueError, match="has no classes"):
        encoder.classify(*_noise(0.5))


def test_weights_that_are_not_there_are_named_with_where_to_get_them():
    with pytest.raises(WeightsError, match=r"BEATs_iter3_plus_AS2M\.pt.*https://github.com/microsoft/unilm"):
        BEATs()


# The original


def _case(variant, index):
    inputs, golden = (
        load_file(SHARED / f"inputs_{index}.safetensors"),
        load_file(SHARED / variant / f"forward_{index}.safetensors"),
    )
    banks = load_file(SHARED / "pretrained_deepnorm" / f"forward_{index}.safetensors")["fbank"]  # the same for all
    padding = inputs.get("padding_mask", torch.zeros(inputs["wav"].shape, dtype=torch.bool))
    return BEATs(str(SHARED / variant / f"{variant}.pt")).eval(), inputs["wav"], padding, golden | {"fbank": banks}


def _assert_golden(encoder, states, golden, row, size):
    """Compare the states of one clip, ``(L, N, D)``, with what the fixtures hold of it."""
    last = encoder.model.encoder.layer_norm(states[-1]) if encoder.config.layer_norm_first else states[-1]
    _close(last, golden["features"][row, :size], atol=5e-5, rtol=1e-4)
    if "hidden_states" in golden:
        _close(states, golden["hidden_states"][:, row, :size], atol=5e-5, rtol=1e-4)


@needs_shared
@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_clips_equal_the_original(variant, index, monkeypatch):
    encoder, waveform, padding, golden = _case(variant, index)
    for row in (~padding.any(1)).nonzero().flatten().tolist():
        # Given the original's filter banks: in a band that is almost empty they are the rounding of one CPU's FFT.
        monkeypatch.setattr(beats, "filter_banks", lambda frames, row=row: golden["fbank"][row][: len(frames)])
        clip, size = waveform[row : row + 1], torch.tensor([waveform.shape[1]])
        features = encoder(clip, size)
        assert features.frame_mask.all()
        _assert_golden(encoder, features.layers[0], golden, row, features.layers.shape[2])
        if "output" in golden:
            _close(encoder.classify(clip, size)[0], golden["output"][row], atol=1e-5)


@needs_shared
@pytest.mark.parametrize("index", [0, 2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_padded_clips_equal_the_original_given_the_tokens_it_counts(variant, index):
    encoder, _, padding, golden = _case(variant, index)
    for row in padding.any(1).nonzero().flatten().tolist():
        # The original takes the filter banks of clip and padding, and counts the tokens by the rule of its mask.
        banks = golden["fbank"][row]
        tokens = encoder.model.embed(banks[: len(banks) // 16 * 16])
        size = int((~golden["token_padding_mask"][row]).sum())
        states = torch.stack(encoder.model.encoder(tokens[:size], [size]))
        _assert_golden(encoder, states, golden, row, size)


@needs_shared
@pytest.mark.parametrize("index", range(6))
def test_filter_banks_equal_the_original(index):
    _, waveform, _, golden = _case("pretrained_deepnorm", index)
    for clip, expected in zip(waveform, golden["fbank"], strict=True):
        banks = filter_banks(clip.unfold(0, 400, 160))
        # In units of the frame's loudest band: the logarithm of what is almost nothing differs from CPU to CPU, in the
        # original too.
        loudest = expected.amax(dim=1, keepdim=True)
        power, golden_power = ((2 * 6.55582 * (values - loudest)).exp() for values in (banks, expected))
        _close(power, golden_power, atol=1e-5)
        audible = golden_power > 1e-4
        assert audible.any()
        _close(banks[audible], expected[audible], atol=1e-4)
