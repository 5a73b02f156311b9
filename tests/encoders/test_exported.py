"""ONNX and TorchScript models as encoders: what they give, and what a file that cannot be used says."""

import copy
import pickle

import numpy as np
import pytest
import torch

from lightning_aqa.encoders.exported import ONNX, TorchScript
from lightning_aqa.encoders.fingerprint import fingerprint
from lightning_aqa.encoders.front_ends import LogMel, ONNXSpectrogram, Samples
from lightning_aqa.utils.weights import WeightsError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def _write(path, nodes, takes, outputs, metadata=(), inputs=1, **constants):
    """Write a model of one input ``x``; ``outputs`` are names and shapes."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, given, made, **options) for kind, given, made, options in nodes],
        "small",
        [helper.make_tensor_value_info("xyz"[i], floats, takes) for i in range(inputs)],
        [helper.make_tensor_value_info(name, floats, sizes) for name, sizes in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return str(path)


@pytest.fixture
def bands(tmp_path):
    """Frames ``(1, F, 8)`` of features ``(1, F, 40)``, and the mean of them."""
    weight = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    nodes = [("MatMul", ["x", "w"], ["low"], {}), ("Tanh", ["low"], ["high"], {})]
    nodes += [("ReduceMean", ["high"], ["pooled"], {"axes": [1], "keepdims": 0})]
    outputs = {"low": [1, "f", 8], "high": [1, "f", 8], "pooled": [1, 8]}
    return _write(tmp_path / "bands.onnx", nodes, [1, "f", 40], outputs, w=weight)


@pytest.fixture
def fixed(tmp_path):
    """The mean and the largest of exactly 4000 samples."""
    nodes = [("ReduceMean", ["x"], ["mean"], {"axes": [1]}), ("ReduceMax", ["x"], ["max"], {"axes": [1]})]
    nodes += [("Concat", ["mean", "max"], ["both"], {"axis": 1})]
    return _write(tmp_path / "fixed.onnx", nodes, ["N", 4000], {"both": ["N", 2]})


def test_outputs_are_layers_over_a_front_end(bands):
    encoder = ONNX(bands, ["low", "high"], front_end=LogMel(40))
    samples = 0.1 * torch.randn(1, 8000)
    layers = encoder(samples, torch.tensor([8000])).layers
    assert layers.shape == (1, 2, 51, 8)
    torch.testing.assert_close(layers[:, 1], layers[:, 0].tanh(), atol=1e-5, rtol=0)
    pooled = ONNX(bands, ["pooled"], front_end=LogMel(40))(samples, torch.tensor([8000])).layers
    torch.testing.assert_close(pooled[0, 0, 0], layers[0, 1].mean(dim=0), atol=1e-5, rtol=0)


def test_a_model_of_a_fixed_length_is_given_segments(fixed):
    clip = torch.arange(10_000.0)[None] / 10_000
    encoder = ONNX(fixed, hop_seconds=0.125)
    layers = encoder(clip, torch.tensor([10_000])).layers[0, 0]
    assert layers[:, 1].tolist() == pytest.approx([0.3999, 0.5999, 0.7999, 0.9999])
    side_by_side = ONNX(fixed)(clip, torch.tensor([10_000])).layers[0, 0]
    assert side_by_side[:, 1].tolist() == pytest.approx([0.3999, 0.7999, 0.9999])
    assert side_by_side[2, 0].item() == pytest.approx(clip[0, 8000:].sum().item() / 4000)
    repeated = ONNX(fixed, filling="repeat")(clip[:, :3000], torch.tensor([3000])).layers[0, 0]
    assert repeated[:, 1].tolist() == pytest.approx([0.2999])


def test_it_is_pickled_copied_and_told_apart_by_its_file(bands, tmp_path):
    encoder = ONNX(bands, ["low"], front_end=LogMel(40))
    again = pickle.loads(pickle.dumps(copy.deepcopy(encoder)))
    clip = (0.1 * torch.randn(1, 8000), torch.tensor([8000]))
    assert torch.equal(again(*clip).layers, encoder(*clip).layers)
    assert fingerprint(again) == fingerprint(encoder)
    assert fingerprint(ONNX(bands, ["high"], front_end=LogMel(40))) != fingerprint(encoder)
    nodes = [("Mul", ["x", "w"], ["low"], {})]
    other = ONNX(
        _write(tmp_path / "other.onnx", nodes, [1, "f", 40], {"low": [1, "f", 40]}, w=np.float32(2)),
        front_end=LogMel(40),
    )
    with pytest.raises(WeightsError, match="another model than the checkpoint was trained on"):
        other.load_state_dict(encoder.state_dict())


def test_another_model_may_be_the_front_end(bands, tmp_path):
    nodes = [("Reshape", ["x", "shape"], ["frames"], {})]
    frames = _write(tmp_path / "frames.onnx", nodes, ["b", "t"], {"frames": ["f", 1, 1, 40]}, shape=[-1, 1, 1, 40])
    encoder = ONNX(bands, ["low"], front_end=ONNXSpectrogram(frames, gain=2))
    clip = torch.randn(1, 32000)
    direct = ONNX(bands, ["low"], front_end=LogMel(40)).model.run(2 * clip.reshape(-1, 40).numpy(), ["low"])[0]
    np.testing.assert_allclose(encoder(clip, torch.tensor([32000])).layers[0, 0], direct[0], atol=1e-5)


def _wrong(tmp_path, bands, fixed):
    flat = [("Identity", ["x"], ["same"], {})]
    still = _write(tmp_path / "still.onnx", flat, [1, 50, 40], {"same": [1, 50, 40]})
    yield "cannot be read as an ONNX model", (str(tmp_path / "text.onnx"), {})
    yield "no such weights here", (str(tmp_path / "none.onnx"), {})
    yield "the package no_such, which ships this file, is not installed", ("no_such:model.onnx", {})
    yield "Did you mean 'low'", (bands, {"outputs": ["lwo"]})
    yield "choose another by --model.encoder.front_end", (still, {"front_end": Samples()})
    yield r"was given \[\d+, 80\]; set the front end's bands", (bands, {"front_end": LogMel(80)})
    yield r"low \[201, 8\], high \[201, 8\], pooled \[1, 8\]; layers need one shape", (bands, {"front_end": LogMel(40)})
    yield "set the front end's bands and mel_first, or segment_seconds", (fixed, {"segment_seconds": 1.0})
    yield "must be above 0", (fixed, {"sample_rate": 0})
    two = _write(tmp_path / "two.onnx", flat, [1, "t"], {"same": [1, "t"]}, inputs=2)
    yield "its inputs are x of .*, y of .*; expected one", (two, {})
    rate = _write(tmp_path / "rate.onnx", flat, [1, "t"], {"same": [1, "t"]}, {"sample_rate": "24000"})
    yield "set --model.encoder.sample_rate=24000", (rate, {})
    shape = {"shape": [1, 80, 50]}
    image = _write(
        tmp_path / "i.onnx", [("Reshape", ["x", "shape"], ["y"], {})], [1, 4000], {"y": [1, 80, 50]}, **shape
    )
    yield "say so by --model.encoder.time_axis=1", (image, {})
    yield "no axis 3", (image, {"time_axis": 3})


def test_what_cannot_be_used_is_told_in_one_line(bands, fixed, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    for words, (path, options) in _wrong(tmp_path, bands, fixed):
        with pytest.raises(ValueError, match=words) as caught:
            ONNX(path, **options)
        assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_extra_is_named(bands, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'lightning_aqa\[onnx\]'"):
        ONNX(bands)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_runs_where_it_is_permitted(tmp_path, monkeypatch):
    path = str(tmp_path / "model.pt")
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Conv1d(1, 4, 400, 160), torch.nn.Tanh())), path)
    with pytest.raises(WeightsError, match="set LIGHTNING_AQA_TORCHSCRIPT=1, or export the model to ONNX"):
        TorchScript(path)
    monkeypatch.setenv("LIGHTNING_AQA_TORCHSCRIPT", "1")
    with pytest.raises(WeightsError, match="has no output 'a'"):
        TorchScript(path, ["a"], input_axes=3)
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(WeightsError, match="cannot be read as TorchScript"):
        TorchScript(str(tmp_path / "text.pt"))
    encoder = TorchScript(path, input_axes=3)
    clips = 0.1 * torch.randn(2, 8000)
    layers, mask, *_ = encoder(clips, torch.tensor([8000, 4000]))
    assert (layers.shape, mask.sum(dim=1).tolist()) == ((2, 1, 48, 4), [48, 23])
    torch.testing.assert_close(layers[0, 0].T, encoder.script(clips[:1, None])[0], atol=1e-5, rtol=0)
    layers.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
