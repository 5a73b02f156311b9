import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lightning_aqa
from lightning_aqa.batch import Axis, Features
from lightning_aqa.encoders.clap import CLAP, log_mel, quantise_int16, repeat_pad
from lightning_aqa.encoders.clap_weights import convert, read_clap
from lightning_aqa.heads.musiceval_baseline import MusicEvalBaseline
from lightning_aqa.utils.weights import WeightsError, read_weights

SHARED = Path(lightning_aqa.__file__).parents[2] / "shared" / "parity" / "laion_clap"
VARIANTS = ["tiny_win1024", "tiny_win512_full_layout"]
AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]
PROMPTS = ["loud drums", "", "a calm piano piece", "loud drums"]
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/parity/laion_clap beside the repository")


@pytest.fixture(scope="module")
def clap(clap_folder):
    return CLAP(str(clap_folder / "clap.pt"))


def _noise(*seconds, seed=0):
    num_samples = torch.tensor([round(48000 * s) for s in seconds])
    noise = 0.1 * torch.randn(len(seconds), int(num_samples.max()), generator=torch.Generator().manual_seed(seed))
    return noise, num_samples


def _close(one, other, atol):
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


# The front end


def test_a_clip_is_repeated_whole_and_then_filled_with_zeros():
    padded = repeat_pad(torch.tensor([[1.0, 2.0, 3.0], [4.0, torch.nan, torch.nan]]), torch.tensor([3, 1]), 7)
    assert padded.tolist() == [[1, 2, 3, 1, 2, 3, 0], [4] * 7]


def test_quantising_is_that_of_sixteen_bit_arrays():
    samples = torch.cat([torch.randn(1000), torch.tensor([1.0, -1.0, 1.5, -3.0, 1e-6])])
    # https://github.com/LAION-AI/CLAP, float32_to_int16 and int16_to_float32 of laion_clap 1.1.7
    through = (np.clip(samples.numpy(), -1.0, 1.0) * 32767.0).astype(np.int16)
    _close(quantise_int16(samples), torch.from_numpy((through / 32767.0).astype(np.float32)), 0)


def test_log_mel_of_a_tone_has_the_power_of_its_window():
    # A sine of amplitude 1 at a bin has |stft| = sum(window) / 2 there, which for Hann is N / 4 = 256.
    tone = torch.sin(2 * torch.pi * 128 / 1024 * torch.arange(4800, dtype=torch.float64))[None]
    filters = torch.zeros(513, 1, dtype=torch.float64)
    filters[128] = 1.0
    levels = log_mel(tone, torch.hann_window(1024, dtype=torch.float64), filters, 480)
    assert levels.shape == (1, 11, 1)
    assert levels[0, 5].item() == pytest.approx(20 * np.log10(256), abs=1e-6)


def test_silence_is_at_the_floor():
    levels = log_mel(torch.zeros(1, 4800), torch.hann_window(1024), torch.ones(513, 2), 480)
    _close(levels, torch.full((1, 11, 2), -100.0), 1e-4)


def test_log_mel_passes_gradients_to_the_samples_and_is_finite_for_silence():
    samples = torch.zeros(1, 2048, requires_grad=True)
    log_mel(samples, torch.hann_window(1024), torch.ones(513, 2), 480).sum().backward()
    assert samples.grad.isfinite().all()
    samples = (0.1 * torch.randn(1, 2048)).requires_grad_()
    log_mel(samples, torch.hann_window(1024), torch.ones(513, 2), 480).sum().backward()
    assert samples.grad.any()


# Against transformers, whose features come from numpy


def test_embeddings_are_those_of_transformers_with_the_original_settings(clap, clap_folder):
    from transformers import ClapFeatureExtractor, ClapModel

    extract = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad")
    model = ClapModel.from_pretrained(clap_folder / "hub").eval()
    waveform, num_samples = _noise(2.0, 0.3)
    clips = [clip[:size].numpy() for clip, size in zip(waveform, num_samples, strict=True)]
    prepared = extract(clips, sampling_rate=48000, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_audio_features(prepared["input_features"]).pooler_output
        _close(clap.embed_audio(waveform, num_samples), expected, 5e-6)
        ids, mask = torch.tensor([[0, 9, 17, 2, 1]]), torch.tensor([[1, 1, 1, 1, 0]])
        _close(clap.embed_tokens(ids, mask), model.get_text_features(ids, attention_mask=mask).pooler_output, 1e-6)


def test_a_folder_of_transformers_gives_what_the_original_checkpoint_gives(clap, clap_folder):
    other = CLAP(str(clap_folder / "hub"), tokenizer=str(clap_folder))
    clips = _noise(1.0, 0.7)
    assert torch.equal(other.embed_audio(*clips), clap.embed_audio(*clips))
    assert torch.equal(other(*clips, PROMPTS[:2]).text, clap(*clips, PROMPTS[:2]).text)


def test_conversion_names_every_weight_of_transformers(clap_folder):
    from transformers import ClapConfig, ClapModel

    weights = read_clap(str(clap_folder / "clap.pt"), None)
    model = ClapModel(ClapConfig(**weights.config))
    optional = {"text_model.embeddings.token_type_ids"}
    assert model.state_dict().keys() == weights.tensors.keys() | optional


# The contract


def test_one_frame_of_unit_length_and_one_text_state_per_clip(clap):
    layers, frame_mask, text, text_mask = clap(*_noise(1.0, 0.05, 3.0, 10.0), PROMPTS)
    assert layers.shape == text[:, None].shape == (4, 1, 1, clap.width)
    assert frame_mask.all()
    assert text_mask.shape == (4, 1)
    assert text_mask.all()
    assert (clap.width, clap.text_width, clap.num_layers) == (16, 16, 1)
    assert (clap.sample_rate, clap.window_seconds) == (48000, 10.0)
    for embedding in (layers, text):
        _close(embedding.norm(dim=-1).flatten(), torch.ones(4), 1e-6)


def test_a_clip_does_not_depend_on_batch_mates_place_or_padding(clap):
    seconds = [2.0, 0.05, 0.7, 1.0, 0.333, 10.0, 0.064, 1.5]
    waveform, num_samples = _noise(*seconds)
    prompts = [*PROMPTS, "rain", "", "far away", "a"]
    padding = torch.arange(waveform.shape[1]) >= num_samples[:, None]
    together = clap(waveform.masked_fill(padding, torch.nan), num_samples, prompts)
    for index, size in enumerate(num_samples.tolist()):
        alone = clap(waveform[index : index + 1, :size], num_samples[index : index + 1], prompts[index : index + 1])
        _close(alone.layers[0], together.layers[index], 1e-5)
        _close(alone.text[0], together.text[index], 1e-5)


def test_a_long_clip_gives_a_frame_for_each_window(clap):
    waveform, num_samples = _noise(20.5, 0.5)
    layers, frame_mask, *_ = clap(waveform, num_samples)
    assert frame_mask.tolist() == [[True] * 3, [True, False, False]]
    assert not layers[1, :, 1:].any()
    for index, start in enumerate((0, 480000, 960000)):
        part = waveform[:1, start : start + 480000][:, : 24000 if index == 2 else None]
        _close(layers[0, 0, index], clap.embed_audio(part, torch.tensor([part.shape[1]]))[0], 1e-6)


def test_gradients_do_not_change_what_is_computed(clap):
    waveform, num_samples = _noise(*[0.1] * 9)
    with torch.no_grad():
        without = clap.embed_audio(waveform, num_samples)
    _close(clap.embed_audio(waveform, num_samples), without, 1e-6)


def test_features_are_float32_under_autocast_and_with_bf16_weights(clap, clap_folder):
    clips = _noise(1.0, 0.5)
    exact = clap(*clips, PROMPTS[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = clap(*clips, PROMPTS[:2])
    low = CLAP(str(clap_folder / "clap.pt")).bfloat16()(*clips, PROMPTS[:2])
    for found in (cast, low):
        assert found.layers.dtype == found.text.dtype == torch.float32
        assert (found.layers - exact.layers).square().sum(-1).max() < 0.02
        assert (found.text - exact.text).square().sum(-1).max() < 0.02


def test_quantise_is_off_by_default_and_changes_little(clap, clap_folder):
    clips = _noise(1.0)
    quantised = CLAP(str(clap_folder / "clap.pt"), quantise=True)
    difference = (quantised.embed_audio(*clips) - clap.embed_audio(*clips)).abs().max()
    assert 0 < difference < 0.05


# Training


def test_towers_stay_in_evaluation_mode_while_gradients_reach_every_weight(clap_folder):
    clap = CLAP(str(clap_folder / "clap.pt")).train()
    assert clap.training
    assert not any(part.training for tower in clap.children() for part in tower.modules())
    statistics = clap.audio_model.audio_encoder.batch_norm.running_mean.clone()
    layers, _, text, _ = clap(*_noise(0.5, 0.4), PROMPTS[:2])
    ((layers + text[:, None]) * torch.randn(2, 1, 1, clap.width)).sum().backward()
    assert torch.equal(clap.audio_model.audio_encoder.batch_norm.running_mean, statistics)
    without = [name for name, p in clap.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


def test_hooks_on_the_projections_of_attention_run(clap):
    seen = []
    handles = [
        module.register_forward_hook(lambda *_: seen.append(1))
        for name, module in clap.audio_model.named_modules()
        if name.endswith(("self.query", "self.key", "self.value"))
    ]
    clap.embed_audio(*_noise(0.1))
    for handle in handles:
        handle.remove()
    assert len(seen) == len(handles) == 3 * 5


def test_without_prompts_there_is_no_text_and_no_tokeniser_is_needed(clap_folder):
    clap = CLAP(str(clap_folder / "hub"), tokenizer="no/where")
    assert clap(*_noise(0.1)).text is None
    with pytest.raises(WeightsError, match=r"need the tokeniser no/where.*tokenizer.json.*huggingface.co/no/where"):
        clap(*_noise(0.1), ["a"])


def test_without_a_text_side_the_text_tower_is_gone(clap, clap_folder):
    audio = CLAP(str(clap_folder / "clap.pt"), text=False)
    assert audio.text_width is None
    assert not any("text" in name for name in audio.state_dict())
    assert audio(*_noise(0.1), ["a"]).text is None
    assert torch.equal(audio.embed_audio(*_noise(0.1)), clap.embed_audio(*_noise(0.1)))
    with pytest.raises(ValueError, match="no text side"):
        audio.embed_tokens(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2))


# Files


def _save(clap_folder, folder, change):
    checkpoint = read_weights(clap_folder / "clap.pt")
    change(checkpoint["state_dict"])
    torch.save(checkpoint, folder / "changed.pt")
    return str(folder / "changed.pt")


def test_weights_are_found_below_the_folder_of_the_environment(clap, clap_folder, tmp_path, monkeypatch):
    (tmp_path / "roberta-base").mkdir()
    for name, place in (("clap.pt", "named.pt"), ("vocab.json", "roberta-base/vocab.json")):
        os.symlink(clap_folder / name, tmp_path / place)
    os.symlink(clap_folder / "merges.txt", tmp_path / "roberta-base" / "merges.txt")
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path))
    found = CLAP("named.pt")(*_noise(0.1), ["loud"])
    assert torch.equal(found.text, clap(*_noise(0.1), ["loud"]).text)


def test_a_state_of_the_musiceval_baseline_is_read_too(clap, clap_folder, tmp_path):
    state = read_weights(clap_folder / "clap.pt")["state_dict"]
    state = {f"upstream_model.model.{name.removeprefix('module.')}": tensor for name, tensor in state.items()}
    head = MusicEvalBaseline(16, 1, AXES, 16)
    for name, branch in zip(("overall", "textual"), head.branches, strict=True):
        for key, tensor in branch.state_dict().items():
            layer, kind = key.split(".")
            state[f"{name}_mlp_layer{int(layer) + 1}.{kind}"] = tensor
    torch.save(state, tmp_path / "baseline.pt")
    clips = _noise(0.2)
    features = CLAP(str(tmp_path / "baseline.pt"), tokenizer=str(clap_folder))(*clips, ["loud"])
    assert torch.equal(features.layers[:, 0, 0], clap.embed_audio(*clips))
    other = MusicEvalBaseline(16, 1, AXES, 16, checkpoint=str(tmp_path / "baseline.pt"))
    assert torch.equal(other(features).scores, head(features).scores)


def test_missing_unexpected_and_misshapen_weights_are_named(clap_folder, tmp_path):
    gone, extra = "module.audio_branch.norm.weight", "module.audio_branch.norm.gain"
    path = _save(clap_folder, tmp_path, lambda state: state.update({extra: state.pop(gone)}))
    with pytest.raises(WeightsError, match=r"1 missing: audio_.*norm.weight; 1 unexpected: audio_.*norm.gain"):
        CLAP(path)
    with pytest.raises(WeightsError, match="of another shape: audio_model"):
        CLAP(str(clap_folder / "clap.pt"), {"htsat": {"embed_dim": 16}})


def test_numbers_that_numpy_1_pickled_beside_the_weights_are_read(clap_folder, tmp_path):
    # The public music_audioset_epoch_15_esc_90.14.pt holds some, under the module name of numpy 1.
    with zipfile.ZipFile(clap_folder / "clap.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for item in new.infolist():
            content = new.read(item)
            assert not item.filename.endswith("data.pkl") or b"numpy._core" in content
            old.writestr(item, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_weights(tmp_path / "old.pt")["best"] == 90.14


def test_a_fusion_checkpoint_is_refused_with_the_ones_to_take(clap_folder, tmp_path):
    name = "module.audio_branch.patch_embed.fusion_model.local_att.0.weight"
    path = _save(clap_folder, tmp_path, lambda state: state.update({name: torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"fusion.*music_audioset_epoch_15_esc_90.14.pt"):
        CLAP(path)


def test_another_architecture_is_refused(tmp_path):
    torch.save({"state_dict": {"module.audio_branch.conv_block1.weight": torch.zeros(1)}}, tmp_path / "pann.pt")
    with pytest.raises(WeightsError, match="not LAION-CLAP with HTSAT and RoBERTa"):
        CLAP(str(tmp_path / "pann.pt"))


def test_a_checkpoint_of_another_spectrogram_is_refused(clap_folder):
    with pytest.raises(WeightsError, match=r"another spectrogram than.*fmin=0"):
        CLAP(str(clap_folder / "clap.pt"), {"audio_cfg": {"fmin": 0}})


def test_missing_weights_name_the_file_its_address_and_the_command():
    with pytest.raises(WeightsError, match=r"hf download lukewys/laion_clap music_audioset_epoch_15_esc_90.14.pt"):
        CLAP()
    with pytest.raises(WeightsError, match=r"none\.pt: no such weights here.*huggingface.co/lukewys/.*none.pt"):
        CLAP("none.pt")


def test_a_tokeniser_of_another_vocabulary_is_refused(clap_folder, tmp_path):
    words = json.loads((clap_folder / "vocab.json").read_text())
    words |= {f"more{i}": len(words) + i for i in range(50)}
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    os.symlink(clap_folder / "merges.txt", tmp_path / "merges.txt")
    clap = CLAP(str(clap_folder / "hub"), tokenizer=str(tmp_path))
    with pytest.raises(WeightsError, match="not the tokeniser of this text tower, which has 300 tokens"):
        clap(*_noise(0.1), ["a"])


def test_embed_audio_refuses_a_clip_over_ten_seconds(clap):
    with pytest.raises(ValueError, match=r"at most 480000 samples, got 480001"):
        clap.embed_audio(torch.zeros(1, 480001), torch.tensor([480001]))


# The original's own numbers, run beside the repository


def _parity(variant, quantise=False, config=None):
    folder = SHARED / variant
    config = str(folder / "cfg.json") if config is None else config
    return CLAP(str(next(folder.glob("clap_*.pt"))), config, quantise=quantise), folder


def _wavs():
    wavs = load_file(SHARED / "wavs_48k_int16.safetensors")
    wavs = [wavs[name].float() / 32768 for name in sorted(wavs, key=lambda name: int(name[1:]))]
    return [w for w in wavs if len(w) <= 480000], [w for w in wavs if len(w) > 480000]


def _batch(clips):
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


@needs_shared
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("quantise", "name"), [(True, "audio_embed"), (False, "audio_embed_use_tensor")])
def test_audio_embeddings_are_those_of_the_original(variant, quantise, name):
    clap, folder = _parity(variant, quantise)
    short, long = _wavs()
    with torch.no_grad():
        _close(clap.embed_audio(*_batch(short)), load_file(folder / "forward.safetensors")[name], 2e-5)
        for index, clip in enumerate(long):
            golden = load_file(folder / f"forward_long{index}.safetensors")
            crop = clip[golden["crop_start"].item() :][:480000]
            _close(clap.embed_audio(*_batch([crop])), golden[name], 2e-5)


@needs_shared
@pytest.mark.parametrize("variant", VARIANTS)
def test_text_embeddings_are_those_of_the_original(variant):
    clap, folder = _parity(variant, config={"roberta_config": {"num_attention_heads": 4}})
    golden = load_file(folder / "forward.safetensors")
    embedded = clap.embed_tokens(golden["input_ids"], golden["attention_mask"])
    _close(embedded, golden["text_embed"], 2e-6)
    num_tokens = int(golden["attention_mask"].sum(dim=1).max())
    shorter = clap.embed_tokens(golden["input_ids"][:, :num_tokens], golden["attention_mask"][:, :num_tokens])
    _close(shorter, golden["text_embed"], 2e-6)


@needs_shared
def test_log_mel_is_that_of_the_original():
    clap, folder = _parity(VARIANTS[0], quantise=True)
    golden = load_file(folder / "forward.safetensors")["logmel"][:, 0]
    found = clap.log_mel(*_batch(_wavs()[0][: len(golden)]))
    _close(found, golden, 0.15)
    assert (found - golden).abs().mean() < 1e-3


@needs_shared
@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_those_of_the_musiceval_baseline(variant):
    clap, folder = _parity(variant)
    golden = load_file(folder / "musiceval_e2e.safetensors")
    tokens = load_file(folder / "forward.safetensors")
    waveform, _ = _batch(_wavs()[0][:3])  # the baseline pads a batch with zeros, which its CLAP takes for audio
    audio = clap.embed_audio(waveform, torch.full((3,), waveform.shape[1]))
    text = clap.embed_tokens(tokens["input_ids"], tokens["attention_mask"])
    _close(audio, golden["wav_embed"], 2e-5)
    mask = torch.ones(3, 1, dtype=torch.bool)
    head = MusicEvalBaseline(clap.width, 1, AXES, clap.text_width, checkpoint=str(folder / "musiceval_head.pt"))
    output = head(Features(audio[:, None, None], mask, text[:, None], mask))
    _close(output.scores, torch.cat([golden["out1"], golden["out2"]], dim=1), 5e-5)


@needs_shared
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_name_of_the_baselines_state_is_known(variant):
    clap, folder = _parity(variant)
    names = json.loads((folder / "musiceval_state_dict_keys.json").read_text())
    below = [n.removeprefix("upstream_model.model.") for n in names if n.startswith("upstream_model.")]
    converted = convert({name: torch.zeros(3) for name in below})
    own = {name for name in clap.state_dict() if "_ids" not in name}
    assert converted.keys() - {"logit_scale_a", "logit_scale_t"} == own
