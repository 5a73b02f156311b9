"""What a run leaves for the report: where the audio is, embeddings, frame scores; small whatever the corpus."""

import csv
import random

import numpy as np
import pytest
import torch

from lightning_aqa.batch import Output
from lightning_aqa.data.aes_natural import AESNatural
from lightning_aqa.results.observations import ObservedWindow, write_observations
from lightning_aqa.training import observations
from lightning_aqa.training.loading import load_module


def _read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def run(corpora, tmp_path_factory):
    from lightning_aqa.cli.main import main

    root = tmp_path_factory.mktemp("observed")
    words = ["--data=AESNatural", f"--data.root={corpora['aes_natural']}", "--model.encoder=MelSpectrogram"]
    words += ["--model.head=AESANet", "--model.head.lstm_width=8", f"--trainer.default_root_dir={root}", "--name=run"]
    assert main(["fit", *words, "--trainer.max_epochs=1"]) == 0
    return root / "run"


def test_every_clip_s_audio_is_found_from_the_run_folder(run, corpora):
    with open(run / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == 48
    assert all((run / row["path"]).is_file() for row in rows)
    assert {row["domain"] for row in rows} == {"music", "sound", "speech"}


def test_embeddings_and_frames_are_those_of_the_model(run, corpora):
    arrays = _read(run / "observations.npz")
    assert set(arrays["splits"].tolist()) == {"dev", "test"}
    assert arrays["axes"].tolist() == ["PQ", "PC", "CE", "CU"]
    module = load_module(run / "checkpoints" / "best.ckpt").eval()
    data = AESNatural(corpora["aes_natural"])
    data.prepare(module.encoder.sample_rate)
    data.check_clips(data.manifest)
    outputs = {}
    with torch.no_grad():
        for batch in data.split_dataloader("test"):
            output: Output = module(batch)
            for i, id_ in enumerate(batch.ids):
                outputs[id_] = output.embedding[i], output.frame_scores[i][output.frame_mask[i]]
    chosen = arrays["splits"] == "test"
    assert set(arrays["ids"][chosen]) == set(outputs)
    for id_, embedding in zip(arrays["ids"][chosen], arrays["embeddings"][chosen], strict=True):
        assert np.allclose(embedding, outputs[id_][0].numpy(), atol=2e-3)
    for id_, frames in zip(arrays["frame_ids"], arrays["frames"], strict=True):
        if id_ in outputs:
            kept = frames[np.isfinite(frames).all(1)]
            assert np.allclose(kept, outputs[id_][1].numpy(), atol=1e-2)


def _windows(num_clips, frames=True):
    draw = np.random.default_rng(0)
    return [
        ObservedWindow("test", f"c{i:03d}", 1.0, draw.normal(size=4).astype(np.float16),
               np.full((3 + i % 2, 2), i, np.float16) if frames else None)
        for i in range(num_clips)
    ]  # fmt: skip


def test_a_clip_s_embedding_is_the_weighted_mean_of_its_windows_in_any_order(tmp_path):
    one, two = np.float16([1, 0]), np.float16([0, 1])
    windows = [
        ObservedWindow("test", "a", 0.75, one, None),
        ObservedWindow("test", "a", 0.25, two, None),
        ObservedWindow("dev", "a", 1, two, None),
    ]
    for _ in range(3):
        random.Random(0).shuffle(windows)
        write_observations(tmp_path / "o.npz", windows, {}, ["x"])
        arrays = _read(tmp_path / "o.npz")
        assert list(zip(arrays["splits"], arrays["ids"], strict=True)) == [("dev", "a"), ("test", "a")]
        assert arrays["embeddings"].tolist() == [[0, 1], [0.75, 0.25]]
        assert arrays["frames"].shape == (0, 0, 1)


def test_the_file_is_bounded_and_keeps_the_frames_of_the_worst(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_aqa.results.observations.MAX_EMBEDDINGS", 10)
    monkeypatch.setattr("lightning_aqa.results.observations.MAX_CLIPS_WITH_FRAMES", 3)
    errors = {("test", f"c{i:03d}"): float(i % 50) for i in range(100)}
    write_observations(tmp_path / "o.npz", _windows(100), errors, ["x", "y"])
    arrays = _read(tmp_path / "o.npz")
    assert arrays["ids"].tolist() == [f"c{i:03d}" for i in range(0, 100, 10)]
    assert arrays["frame_ids"].tolist() == ["c048", "c049", "c099"]
    assert np.array_equal(np.isfinite(arrays["frames"][:, :, 0]).sum(1), [3, 4, 4])
    assert [path.name for path in tmp_path.iterdir()] == ["o.npz"]


def test_many_frames_are_averaged_to_few(monkeypatch):
    monkeypatch.setattr(observations, "MAX_FRAMES", 2)
    frame_scores = torch.arange(10.0).reshape(1, 5, 2)
    mask = torch.tensor([[True, True, True, True, False]])
    output = Output(torch.zeros(1, 2), torch.zeros(1, 3), frame_scores=frame_scores, frame_mask=mask)
    assert observations._frames(output, 0).tolist() == [[1, 2], [5, 6]]
    assert observations._frames(Output(torch.zeros(1, 2), torch.zeros(1, 3)), 0) is None
