import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lightning_aqa
from lightning_aqa.encoders.huggingface import Hub, zero_mean_unit_variance
from lightning_aqa.utils.weights import WeightsError

SHARED = Path(lightning_aqa.__file__).resolve().parents[1].parent / "shared" / "parity"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CONVS = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
WHISPER = {"vocab_size": 50, "d_model": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WHISPER |= {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 2, "attention_heads": 2, "ffn_dim": 48}.items()
}
WHISPER["decoder_start_token_id"] = 1
OTHERS = {
    "Wav2Vec2ForPreTraining": ("Wav2Vec2Config", SMALL | CONVS, "Wav2Vec2FeatureExtractor"),
    "HubertModel": ("HubertConfig", SMALL | CONVS | {"conv_pos_batch_norm": True}, "Wav2Vec2FeatureExtractor"),
    "Data2VecAudioModel": (
        "Data2VecAudioConfig",
        SMALL
        | {
            "conv_dim": [16] * 7,
            "conv_pos_kernel_size": 5,
            "num_conv_pos_embeddings": 2,
            "num_conv_pos_embedding_groups": 4,
        },
        "Wav2Vec2FeatureExtractor",
    ),
    "Wav2Vec2BertModel": (
        "Wav2Vec2BertConfig",
        SMALL | {"feature_projection_input_dim": 160},
        "SeamlessM4TFeatureExtractor",
    ),
    "WhisperForConditionalGeneration": ("WhisperConfig", WHISPER, "WhisperFeatureExtractor"),
    "ASTForAudioClassification": ("ASTConfig", SMALL, "ASTFeatureExtractor"),
}
needs_parity = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/parity, which is not here")


def _noise(*sizes):
    generator = torch.Generator().manual_seed(1)
    return 0.1 * torch.randn(len(sizes), max(sizes), generator=generator), torch.tensor(sizes)


def _save(kind, folder):
    import transformers

    config, sizes, extractor = OTHERS[kind]
    torch.manual_seed(0)
    getattr(transformers, kind)(getattr(transformers, config)(**sizes)).save_pretrained(folder)
    getattr(transformers, extractor)().save_pretrained(folder)
    return str(folder)


def test_normalised_as_the_feature_extractor_does():
    from transformers import Wav2Vec2FeatureExtractor

    clip = _noise(4000)[0][0] + 0.3
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(clip.numpy(), sampling_rate=16000).input_values[0]
    torch.testing.assert_close(zero_mean_unit_variance(clip), torch.as_tensor(expected), atol=1e-5, rtol=0)


def test_each_clip_is_as_the_model_and_its_feature_extractor_have_it_alone(hub_folder):
    from transformers import AutoFeatureExtractor, AutoModel

    model, extractor = AutoModel.from_pretrained(hub_folder), AutoFeatureExtractor.from_pretrained(hub_folder)
    waveform, num_samples = _noise(6000, 800, 3210)
    features = Hub(str(hub_folder)).eval()(waveform, num_samples)
    for row, size in enumerate(num_samples.tolist()):
        values = extractor(waveform[row, :size].numpy(), sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            states = torch.cat(model.eval()(values, output_hidden_states=True).hidden_states)
        found = features.layers[row, :, features.frame_mask[row]]
        torch.testing.assert_close(found, states, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "seconds", "frames"),
    [
        ("Wav2Vec2ForPreTraining", 10.0, [24, 2, 9]),
        ("HubertModel", 10.0, [24, 2, 9]),
        ("Data2VecAudioModel", 10.0, [24, 2, 9]),
        ("Wav2Vec2BertModel", 10.0, [24, 2, 9]),
        ("WhisperForConditionalGeneration", 30.0, [25, 3, 10]),
        ("ASTForAudioClassification", 10.24, [1214, 1214, 1214]),
    ],
)
def test_other_models_of_the_hub_give_features_that_do_not_depend_on_the_batch(tmp_path, kind, seconds, frames):
    encoder = Hub(_save(kind, tmp_path)).eval()
    waveform, num_samples = _noise(8000, 800, 3200)
    with torch.no_grad():
        together, alone = encoder(waveform, num_samples), encoder(waveform[1:2, :800], num_samples[1:2])
    assert encoder.window_seconds == seconds
    assert together.layers.shape == (3, 3, max(frames), 32)
    assert together.frame_mask.sum(dim=1).tolist() == frames
    torch.testing.assert_close(together.layers[1:2, :, : frames[1]], alone.layers, atol=1e-5, rtol=0)
    assert not together.layers.masked_select(~together.frame_mask[:, None, :, None]).any()


def test_a_model_of_a_fixed_length_gives_the_frames_of_its_own_forward(tmp_path):
    from transformers import WhisperFeatureExtractor, WhisperModel

    folder = _save("WhisperForConditionalGeneration", tmp_path)
    waveform, num_samples = _noise(8000)
    values = WhisperFeatureExtractor()(waveform[0].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        model = WhisperModel.from_pretrained(folder).get_encoder().eval()
        states = torch.cat(model(values, output_hidden_states=True).hidden_states)[:, :25]
        torch.testing.assert_close(Hub(folder).eval()(waveform, num_samples).layers[0], states)


def test_nothing_of_pre_training_runs_in_train_mode(hub_folder):
    encoder = Hub(str(hub_folder)).train()
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if "dropout" in vars(part):
            part.dropout = 0.0
    waveform, num_samples = _noise(6000)
    assert torch.equal(encoder(waveform, num_samples).layers, encoder(waveform, num_samples).layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("encoder.layers.1.layer_norm.bias"), r"1 missing: encoder\.layers\.1\.layer_norm"),
        (
            lambda tensors: tensors.update({"encoder.layers.2.layer_norm.bias": torch.zeros(32)}),
            r"1 unexpected: encoder\.layers\.2\.layer_norm",
        ),
        (
            lambda tensors: tensors.update({"encoder.layer_norm.bias": torch.zeros(31)}),
            r"1 of another shape: encoder\.layer_norm",
        ),
    ],
)
def test_weights_that_do_not_match_are_refused_by_name(hub_folder, tmp_path, change, message):
    shutil.copytree(hub_folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=message):
        Hub(str(tmp_path))


def test_a_pickle_with_code_is_refused(hub_folder, tmp_path):
    shutil.copy(hub_folder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": print}, protocol=2))
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin"):
        Hub(str(tmp_path))


def test_tensors_in_a_bin_file_are_read(hub_folder, tmp_path):
    shutil.copytree(hub_folder, tmp_path, dirs_exist_ok=True)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    call = _noise(4000)
    assert torch.equal(Hub(str(tmp_path)).eval()(*call).layers, Hub(str(hub_folder)).eval()(*call).layers)


def test_what_is_missing_offline_is_said_with_the_command_that_fetches_it():
    with pytest.raises(WeightsError, match=r"hf download nobody/nothing config\.json"):
        Hub("nobody/nothing")


def test_a_spectrogram_model_without_its_feature_extractor_is_refused(tmp_path):
    folder = _save("ASTForAudioClassification", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        Hub(folder)


@pytest.mark.parametrize("layout", ["one file", "shards", "pickled shards"])
@pytest.mark.parametrize("kind", ["WavLMForXVector", "Wav2Vec2ForCTC", "WhisperForConditionalGeneration"])
def test_published_layouts_give_the_model_below_their_heads(tmp_path, kind, layout):
    import transformers

    config = transformers.WhisperConfig(**WHISPER) if kind.startswith("Whisper") else None
    config = config or getattr(transformers, f"{kind.split('For')[0]}Config")(**SMALL, **CONVS, vocab_size=20)
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    extractor = "WhisperFeatureExtractor" if kind.startswith("Whisper") else "Wav2Vec2FeatureExtractor"
    getattr(transformers, extractor)().save_pretrained(tmp_path)
    model.save_pretrained(tmp_path, max_shard_size="1GB" if layout == "one file" else "20KB")
    if layout == "pickled shards":
        for path in tmp_path.glob("*.safetensors"):
            torch.save(load_file(path), path.with_suffix(".bin"), pickle_protocol=4)
            path.unlink()
        index = tmp_path / "model.safetensors.index.json"
        text = index.read_text().replace(".safetensors", ".bin")
        index.unlink()
        (tmp_path / "pytorch_model.bin.index.json").write_text(text)
    inner = getattr(model, model.base_model_prefix)
    own = (inner.get_encoder() if kind.startswith("Whisper") else inner).state_dict()
    backbone = Hub(str(tmp_path)).backbone
    found = (backbone.model if kind.startswith("Whisper") else backbone.speech.model).state_dict()
    assert found.keys() == own.keys() - {"masked_spec_embed"} | (found.keys() & {"masked_spec_embed"})
    assert all(torch.equal(tensor, own[name]) for name, tensor in found.items())


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.encoder."])
def test_an_encoder_without_its_decoder_is_enough(tmp_path, prefix):
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    model = WhisperEncoder(WhisperConfig(**WHISPER)).eval()
    model.config.save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    save_file({prefix + name: tensor for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
    found = Hub(str(tmp_path)).backbone.model.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())
    (tmp_path / "model.safetensors").unlink()
    wrong = {prefix + name: tensor for name, tensor in model.state_dict().items() if name != "layer_norm.bias"}
    save_file(wrong, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: layer_norm\.bias"):
        Hub(str(tmp_path))


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "config.json", "preprocessor_config.json"])
def test_a_pointer_of_git_lfs_is_told_with_the_command_that_helps(hub_folder, tmp_path, file):
    shutil.copytree(hub_folder, tmp_path, dirs_exist_ok=True)
    if file == "pytorch_model.bin":
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(WeightsError, match=rf"{re.escape(file)}: .*git lfs pull"):
        Hub(str(tmp_path))


def test_a_model_that_brings_code_of_its_own_is_refused_without_a_question(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(
        '{"model_type": "mert_model", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}'
    )
    (tmp_path / "evil.py").write_text("open('OWNED', 'w').close()\n")
    with pytest.raises(WeightsError, match=r"a model of type mert_model, which transformers cannot build by itself"):
        Hub(str(tmp_path))
    assert not (tmp_path / "OWNED").exists()


@pytest.mark.parametrize("listed", ['{"a": "../x.bin"}', '{"a": 1}', "[]", "{}"])
def test_a_list_of_shards_names_files_beside_it(hub_folder, tmp_path, listed):
    shutil.copytree(hub_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(f'{{"weight_map": {listed}}}')
    with pytest.raises(WeightsError, match=r"index\.json: lists no files of weights"):
        Hub(str(tmp_path))


def test_pretrained_weights_that_are_no_numbers_are_told(hub_folder, tmp_path):
    shutil.copytree(hub_folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["encoder.layer_norm.bias"][3] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        WeightsError, match=r"1 of its tensors hold NaN or infinity, among them encoder\.layer_norm\.bias"
    ):
        Hub(str(tmp_path))


@needs_parity
@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_base_style", "hubert_large_style"])
def test_hubert_equals_the_original(name):
    given = load_file(SHARED / "ssl" / name / "io.safetensors")
    encoder = Hub(str(SHARED / "ssl" / name)).eval()
    sizes = torch.full((2,), given["wav"].shape[1])
    expected = given["hidden_nomask"].transpose(0, 1)
    torch.testing.assert_close(encoder(given["wav"], sizes).layers, expected, atol=5e-5, rtol=1e-4)


@needs_parity
@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_base_style", "hubert_large_style"])
def test_masked_hubert_equals_the_original_in_a_window_of_its_padding(name):
    given = load_file(SHARED / "ssl" / name / "io.safetensors")
    encoder = Hub(str(SHARED / "ssl" / name)).eval()
    sizes = given["attention_mask"].sum(dim=1).tolist()
    clips = [clip[:size] for clip, size in zip(given["wav"], sizes, strict=True)]
    num_frames = given["frame_mask"].sum(dim=1).tolist()
    layers, mask = encoder.backbone.speech(clips, num_frames, [given["wav"].shape[1]] * 2)
    expected = given["hidden_mask"].transpose(0, 1).masked_fill(~mask[:, None, :, None], 0.0)
    torch.testing.assert_close(layers, expected, atol=5e-5, rtol=1e-4)
    if name == "hubert_large_style":  # its convolutions see no padding, so a ragged batch is the masked one
        torch.testing.assert_close(encoder(given["wav"], torch.tensor(sizes)).layers, expected, atol=5e-5, rtol=1e-4)
