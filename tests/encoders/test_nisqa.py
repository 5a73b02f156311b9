"""NISQA, compared with the port of it that torchmetrics ships, on small random weights in the official layout."""

import csv
from pathlib import Path

import pytest
import soundfile
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.cli.main import main
from lightning_aqa.encoders.nisqa import NISQA
from lightning_aqa.heads.nisqa import NISQAHead
from lightning_aqa.utils.weights import WeightsError


@torch.no_grad()
def test_scores_are_those_of_torchmetrics(nisqa_folder, monkeypatch):
    ported = pytest.importorskip("torchmetrics.functional.audio.nisqa")
    pytest.importorskip("requests")
    monkeypatch.setattr(ported, "NISQA_DIR", str(nisqa_folder))
    ported._load_nisqa_model.cache_clear()
    encoder = NISQA(str(nisqa_folder), sample_rate=16000).eval()
    head = NISQAHead(encoder.width, 1, [], checkpoint=str(nisqa_folder)).eval()
    clips, sizes = 0.1 * torch.randn(2, 24000), torch.tensor([24000, 9000])
    scores = head(encoder(clips, sizes)).scores
    for clip, size, found in zip(clips, sizes.tolist(), scores, strict=True):
        expected = ported.non_intrusive_speech_quality_assessment(clip[:size], 16000)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    ported._load_nisqa_model.cache_clear()
    one = NISQAHead(encoder.width, 1, [Axis("COL", "", 1, 5)], checkpoint=str(nisqa_folder)).eval()
    torch.testing.assert_close(one(encoder(clips, sizes)).scores, scores[:, 3:4])
    assert [axis.name for axis in head.axes] == ["MOS", "NOI", "DIS", "COL", "LOUD"]


@torch.no_grad()
def test_the_layout_of_the_model_for_synthesised_speech(nisqa_folder, tmp_path):
    given = torch.load(nisqa_folder / "nisqa.tar", weights_only=True)
    tensors = {name: value for name, value in given["model_state_dict"].items() if name.startswith("cnn.model.bn")}
    sizes = [1, 4, 4, 6, 6, 6, 6]
    for i in range(1, 7):
        tensors[f"cnn.model.conv{i}.weight"] = 0.2 * torch.randn(sizes[i], sizes[i - 1], 3, 3)
        tensors[f"cnn.model.conv{i}.bias"] = torch.zeros(sizes[i])
    tensors |= {"cnn.model.fc_out.weight": torch.randn(20, 72), "cnn.model.fc_out.bias": torch.zeros(20)}
    lstm = torch.nn.LSTM(20, 8, bidirectional=True).state_dict()
    tensors |= {f"time_dependency.model.lstm.{name}": value for name, value in lstm.items()}
    tensors |= {"pool.model.linear.weight": torch.randn(1, 16), "pool.model.linear.bias": torch.zeros(1)}
    args = given["args"] | {"model": "NISQA", "cnn_model": "standard", "cnn_fc_out_h": 20, "td": "lstm", "td_lstm_h": 8}
    args |= {"td_lstm_bidirectional": True, "pool": "last_step_bi", "pool_att_h": None}
    torch.save({"args": args, "model_state_dict": tensors}, tmp_path / "nisqa_tts.tar")
    path = str(tmp_path / "nisqa_tts.tar")
    encoder = NISQA(path).eval()
    head = NISQAHead(encoder.width, 1, [], checkpoint=path).eval()
    clips = 0.1 * torch.randn(2, 48000)
    together = head(encoder(clips, torch.tensor([48000, 20000]))).scores
    alone = head(encoder(clips[1:, :20000], torch.tensor([20000]))).scores
    assert encoder.width == 20
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


def test_what_is_no_such_checkpoint_is_told(nisqa_folder, tmp_path):
    torch.save({"model_state_dict": {}}, tmp_path / "nisqa.tar")
    with pytest.raises(WeightsError, match="not a checkpoint of NISQA"):
        NISQA(str(tmp_path))
    given = torch.load(nisqa_folder / "nisqa.tar", weights_only=True)
    del given["args"]["ms_fmax"]
    torch.save(given, tmp_path / "nisqa.tar")
    with pytest.raises(WeightsError, match="its args have no ms_fmax"):
        NISQA(str(tmp_path))
    with pytest.raises(ValueError, match=r"has no score for PQ; it has MOS, NOI"):
        NISQAHead(36, 1, [Axis("PQ", "", 0, 10)], checkpoint=str(nisqa_folder))


JUDGES = Path(__file__).resolve().parents[2] / "experiments" / "judges"


def test_a_judge_scores_without_training(nisqa_folder, tmp_path, monkeypatch, fails):
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(nisqa_folder))
    soundfile.write(tmp_path / "clip.wav", 0.1 * torch.randn(48000).numpy(), 48000)
    clip, table = str(tmp_path / "clip.wav"), tmp_path / "scores.csv"
    assert main(["score", str(JUDGES / "nisqa.yaml"), clip, f"--output={table}"]) == 0
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert all(row[name] for name in ("MOS", "NOI", "DIS", "COL", "LOUD"))
    for name in ("dnsmos", "dnsmos_p808"):
        monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
        assert "pip install speechmos." in fails("score", str(JUDGES / f"{name}.yaml"), clip, f"--output={table}.x")
