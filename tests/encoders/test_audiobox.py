import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import lightning_aqa
from lightning_aqa.batch import Axis
from lightning_aqa.data.audio import audio_info, read_audio
from lightning_aqa.data.windows import cover
from lightning_aqa.encoders.audiobox import AudioboxAesthetics, build_wavlm, conv_layers, rename
from lightning_aqa.encoders.wav2vec import SpeechModel
from lightning_aqa.heads.audiobox import Audiobox
from lightning_aqa.utils.weights import WeightsError, load_exactly

SHARED = Path(lightning_aqa.__file__).resolve().parents[1].parent / "shared" / "parity"
AXES = [Axis(name, name, 0, 10) for name in ("CE", "CU", "PC", "PQ")]
VARIANTS = ["a_linear", "b_mlp_ln", "c_samewidth_nonorm"]
needs_parity = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/parity, which is not here")


@pytest.fixture
def encoder(audiobox_folder):
    return AudioboxAesthetics(str(audiobox_folder / "checkpoint.pt"), str(audiobox_folder / "wavlm.json")).eval()


def _noise(*sizes):
    generator = torch.Generator().manual_seed(1)
    waveform = 0.1 * torch.randn(len(sizes), max(sizes), generator=generator)
    return waveform * (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]), torch.tensor(sizes)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of transformers' own WavLM
def test_a_short_clip_is_encoded_as_transformers_encodes_its_zero_padded_window(encoder):
    waveform, num_samples = _noise(9000, 30000)
    features = encoder(waveform, num_samples)
    model = encoder.wavlm.model
    # Meta's rule: the window's 499 frames are blocks of 320 samples, and a block counts if one of its samples does.
    frame_mask = torch.arange(499) < torch.tensor([[29], [94]])
    model._get_feature_vector_attention_mask = lambda *args, **options: frame_mask
    with torch.no_grad():
        padded = F.pad(waveform, (0, 160000 - 30000))
        states = model(padded, attention_mask=torch.ones(2, 160000), output_hidden_states=True).hidden_states
    assert features.frame_mask.sum(dim=1).tolist() == [29, 94]
    expected = torch.stack(states, dim=1)[:, :, :94].masked_fill(~features.frame_mask[:, None, :, None], 0.0)
    torch.testing.assert_close(features.layers, expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 319, 320, 321, 159999, 160000])
def test_a_frame_is_valid_where_one_of_its_samples_is(encoder, size):
    assert encoder._valid_frames(size, 160000) == min(499, -(-size // 320))


def test_without_a_window_a_clip_is_taken_as_it_is(audiobox_folder, encoder):
    config = str(audiobox_folder / "wavlm.json")
    whole = AudioboxAesthetics(str(audiobox_folder / "checkpoint.pt"), config, window_seconds=None).eval()
    waveform, num_samples = _noise(9000)
    with torch.no_grad():
        states = encoder.wavlm.model(waveform, output_hidden_states=True).hidden_states
    torch.testing.assert_close(whole(waveform, num_samples).layers, torch.stack(states, dim=1), atol=5e-5, rtol=1e-4)
    assert whole.min_seconds == 400 / 16000


@pytest.mark.parametrize("layout", ["hf", "."])
def test_both_layouts_are_the_same_encoder(audiobox_folder, encoder, layout):
    other = AudioboxAesthetics(str(audiobox_folder / layout), str(audiobox_folder / "wavlm.json"))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in encoder.state_dict().items())


def test_weights_of_other_sizes_are_refused_by_name(audiobox_folder):
    with pytest.raises(WeightsError, match=r"missing: encoder\.layers\.10"):
        AudioboxAesthetics(str(audiobox_folder / "hf"))


def test_an_unexpected_tensor_is_refused_by_name(audiobox_folder, tmp_path):
    found = torch.load(audiobox_folder / "checkpoint.pt", weights_only=True)
    found["state_dict"]["model.wavlm_model.encoder.layers.2.fc1.bias"] = torch.zeros(48)
    torch.save(found, tmp_path / "more.pt")
    with pytest.raises(WeightsError, match=r"unexpected: encoder\.layers\.2\.feed_forward"):
        AudioboxAesthetics(str(tmp_path / "more.pt"), str(audiobox_folder / "wavlm.json"))


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="not a checkpoint of Audiobox Aesthetics"):
        AudioboxAesthetics(str(tmp_path / "other.pt"))


def test_a_folder_without_its_config_says_what_is_missing(audiobox_folder, tmp_path):
    shutil.copy(audiobox_folder / "hf" / "model.safetensors", tmp_path)
    with pytest.raises(WeightsError, match=r"config\.json"):
        AudioboxAesthetics(str(tmp_path))


def test_convolutions_are_read_without_running_code():
    assert conv_layers([[32, 10, 5], [32, 3, 2]]) == [(32, 10, 5), (32, 3, 2)]
    assert conv_layers("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2")[-1] == (512, 2, 2)
    with pytest.raises(ValueError, match="expected terms such as"):
        conv_layers("__import__('os').getcwd()")


# Parity with audiobox_aesthetics 0.0.4; values and tolerances from ../shared/parity


def _official(variant, layout="checkpoint.pt", **options):
    folder = SHARED / "audiobox_aesthetics" / variant
    encoder = AudioboxAesthetics(str(folder / layout), str(folder / "wavlm_cfg.json"), **options).eval()
    head = Audiobox(encoder.width, encoder.num_layers, AXES, checkpoint=str(folder / layout)).eval()
    return encoder, head


@needs_parity
@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", range(4))
def test_forward_equals_the_original(variant, case):
    given = load_file(SHARED / "audiobox_aesthetics" / f"inputs_{case}.safetensors")
    expected = load_file(SHARED / "audiobox_aesthetics" / variant / f"forward_{case}.safetensors")
    waveform = given["wav"][:, 0]
    num_samples = given.get("mask", torch.ones_like(given["wav"], dtype=torch.bool)).sum(dim=(1, 2))
    encoder, head = _official(variant, window_seconds=waveform.shape[1] / 16000)
    features = encoder(waveform, num_samples)
    output = head(features)
    num_frames = features.layers.shape[2]
    assert torch.equal(features.frame_mask, ~expected["frame_padding_mask"][:, :num_frames])
    assert expected["frame_padding_mask"][:, num_frames:].all()
    standard = (output.scores - head.location_A) / head.scale_A
    embedding = torch.cat([expected[f"embed.{axis.name}"] for axis in AXES], dim=1)
    torch.testing.assert_close(output.embedding, embedding, atol=1e-5, rtol=0)
    scores = torch.stack([expected[f"pred.{axis.name}"] for axis in AXES], dim=1)
    torch.testing.assert_close(standard, scores, atol=1e-5, rtol=0)
    if "hidden_states" in expected:
        states = expected["hidden_states"].transpose(0, 1)[:, :, :num_frames]
        states = states.masked_fill(~features.frame_mask[:, None, :, None], 0.0)
        torch.testing.assert_close(features.layers, states, atol=5e-5, rtol=1e-4)


@needs_parity
@torch.no_grad()
@pytest.mark.parametrize(("variant", "layout"), [*((name, "checkpoint.pt") for name in VARIANTS), ("a_linear", "hf")])
def test_windows_and_their_weighted_mean_are_the_official_predictor(variant, layout):
    encoder, head = _official(variant, layout)
    expected = json.loads((SHARED / "audiobox_aesthetics" / variant / "predictor.json").read_text())
    segments = [(row["file"], row["start_time"], row["end_time"], row) for row in expected["segments"]]
    files = [(name, 0.0, None, row) for name, row in expected["batch_size_1"].items()]
    for name, start, end, row in [*files, *segments]:
        path = SHARED / "audiobox_aesthetics" / "wavs" / name
        seconds = (audio_info(path).seconds if end is None else end) - start
        windows = cover(0, seconds, encoder.window_seconds)
        begins = [start + window.start for window in windows]
        clips = [
            torch.from_numpy(read_audio(path, 16000, begin, begin + window.seconds, "sinc"))
            for begin, window in zip(begins, windows, strict=True)
        ]
        waveform = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
        scores_NA = head(encoder(waveform, torch.tensor([len(clip) for clip in clips]))).scores
        found = torch.tensor([window.weight for window in windows]) @ scores_NA
        torch.testing.assert_close(found, torch.tensor([row[axis.name] for axis in AXES]), atol=5e-5, rtol=0)


@needs_parity
@torch.no_grad()
@pytest.mark.parametrize("name", ["wavlm_tiny_base", "wavlm_tiny_large_style"])
@pytest.mark.parametrize("masked", [False, True])
def test_wavlm_equals_the_one_of_its_authors(name, masked):
    settings = json.loads((SHARED / "ssl" / f"{name}.json").read_text())
    given = load_file(SHARED / "ssl" / f"{name}_io.safetensors")
    weights = load_file(SHARED / "ssl" / f"{name}_meta.safetensors")
    renamed = {rename(key): tensor for key, tensor in weights.items() if key != "mask_emb"}
    assert renamed.keys() == set(settings["key_map"].values()) - {"masked_spec_embed"}
    model = build_wavlm(settings["meta_cfg"])
    load_exactly(model, renamed, name)
    valid = ~given["frame_padding_mask_meta"] if masked else torch.ones_like(given["frame_padding_mask_meta"])
    sizes = given["mask"].sum(dim=1).tolist() if masked else [given["wav"].shape[1]] * len(given["wav"])
    clips = [clip[:size] for clip, size in zip(given["wav"], sizes, strict=True)]
    windows = [given["wav"].shape[1]] * len(clips)
    layers, mask = SpeechModel(model).eval()(clips, valid.sum(dim=1).tolist(), windows)
    assert torch.equal(mask, valid[:, : mask.shape[1]])
    expected = given["meta_hidden_mask" if masked else "meta_hidden_nomask"].transpose(0, 1)[:, :, : mask.shape[1]]
    expected = expected.masked_fill(~mask[:, None, :, None], 0.0)
    torch.testing.assert_close(layers, expected, atol=5e-5, rtol=1e-4)
