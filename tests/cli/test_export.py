"""``lightning-aqa export``: the scores of the file are those of the package, and it says what goes before it."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

import lightning_aqa
from lightning_aqa.batch import Features
from lightning_aqa.cli.main import main
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.heads.probe import Probe
from lightning_aqa.module import AQAModule
from lightning_aqa.scoring import export
from lightning_aqa.scoring.export import export_onnx
from lightning_aqa.scoring.scorer import Scorer


def test_a_stranger_scores_a_clip_by_the_file_and_its_metadata_alone(checkpoint, tmp_path, capfd, fails):
    path = tmp_path / "model.onnx"
    assert main(["export", checkpoint, f"--output={path}"]) == 0
    said = capfd.readouterr().out
    assert "the whole model: waveform to scores" in said
    assert "cut into windows of 0.5 s" in said
    session = onnxruntime.InferenceSession(str(path))
    about = session.get_modelmeta().custom_metadata_map
    rate, axes = int(about["sample_rate"]), [axis["name"] for axis in json.loads(about["axes"])]
    samples = 0.1 * np.random.default_rng(0).standard_normal((2 * rate, 2)).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", samples, rate, subtype="FLOAT")
    mono = (samples[:, 0] + samples[:, 1]) * 0.5
    windows = [mono[None, start : start + rate // 2] for start in range(0, 2 * rate, rate // 2)]
    scores = np.mean([session.run(None, {"waveform": window})[0][0] for window in windows], axis=0)
    wanted = lightning_aqa.load(checkpoint, device="cpu")(tmp_path / "clip.wav")
    assert dict(zip(axes, scores.tolist(), strict=True)) == pytest.approx(wanted, abs=1e-5)
    onnx.checker.check_model(str(path))
    assert "there is such a file; name another, or replace it by --force" in fails(
        "export", checkpoint, f"--output={path}"
    )
    assert "expected a name that ends in .onnx" in fails("export", checkpoint, "--output=model.pt")


def test_a_file_that_scores_otherwise_is_not_written(checkpoint, tmp_path, fails, monkeypatch):
    monkeypatch.setattr(export, "_program", lambda module, part, rate: _Other())
    said = fails("export", checkpoint, f"--output={tmp_path / 'model.onnx'}")
    assert "cannot be written as ONNX; nothing is written (model: it scores other than the package, by " in said
    assert list(tmp_path.iterdir()) == []


class _Other:
    """A file that scores every clip 3."""

    def __init__(self, samples="samples"):
        self.samples = samples

    @property
    def model_proto(self):
        given = onnx.helper.make_tensor_value_info("waveform", onnx.TensorProto.FLOAT, [1, self.samples])
        out = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 2])
        three = onnx.helper.make_tensor("three", onnx.TensorProto.FLOAT, [1, 2], [3.0, 3.0])
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["three"], ["scores"])], "g", [given], [out], [three]
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)


def test_a_file_of_one_length_is_not_written(checkpoint, tmp_path, fails, monkeypatch):
    monkeypatch.setattr(export, "_program", lambda module, part, rate: _Other(samples=8000))
    said = fails("export", checkpoint, f"--output={tmp_path / 'model.onnx'}", "--part=model")
    assert "nothing is written (model: it takes clips of one length alone, as recurrent layers make it" in said
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_reads_prompts_is_refused(tmp_path):
    scorer = Scorer(AQAModule([("MI", "Impression", 1, 5)], Descriptors()), device="cpu")
    scorer.module.encoder.text_width = 8
    with pytest.raises(
        ValueError, match="Descriptors reads the prompt of a clip, which an ONNX file of sound cannot take"
    ):
        export_onnx(scorer, tmp_path / "model.onnx")


@pytest.mark.slow
def test_descriptors_have_their_head_exported_for_any_number_of_frames(tmp_path):
    torch.manual_seed(0)
    module = AQAModule([("MI", "Impression", 1, 5)], Descriptors(), head=lambda *sizes: Probe(*sizes))
    torch.nn.init.normal_(module.head.linear.weight, std=0.1)
    found = export_onnx(Scorer(module, device="cpu"), tmp_path / "head.onnx")
    assert found.part == "head"
    session = onnxruntime.InferenceSession(str(found.path))
    for frames in (2, 9, 200):
        features = torch.randn(1, 1, frames, 143)
        wanted = module.head(Features(features, torch.ones(1, frames, dtype=torch.bool))).scores
        assert session.run(None, {"features": features.numpy()})[0] == pytest.approx(wanted.numpy(), abs=1e-5)
