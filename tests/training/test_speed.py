"""Speed and memory in ``run.json``: of encoder and head, and no speed where features were cached."""

import json
from types import SimpleNamespace

import pytest
import torch

from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.module import AQAModule
from lightning_aqa.results.facts import add_fact
from lightning_aqa.training import speed


def _told(folder, module, batches):
    """Test on batches of so many samples, each taking two seconds; None stands for cached features."""
    (folder / "run.json").write_text('{"format": 1}')
    trainer, callback = SimpleNamespace(is_global_zero=True), speed.ScoringSpeed(folder)
    callback.on_test_start(trainer, module)
    for i, samples in enumerate(batches):
        batch = SimpleNamespace(features=None if samples else object(), num_samples=torch.tensor([samples or 0] * 2))
        callback.on_test_batch_start(trainer, module, batch, i)
        callback.on_test_batch_end(trainer, module, None, batch, i)
    callback.on_test_end(trainer, module)
    return json.loads((folder / "run.json").read_text())


@pytest.fixture
def module(monkeypatch):
    """A model, and a clock that goes on by two seconds each time it is looked at."""
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    return AQAModule([("PQ", "Quality", 0, 10)], MelSpectrogram(width=16), MLP)


def test_seconds_of_audio_are_counted_without_the_first_batch(tmp_path, module):
    rate = module.encoder.sample_rate
    told = _told(tmp_path, module, [rate, 10 * rate, 20 * rate])
    assert told["format"] == 1
    assert told["speed"]["times_real_time"] == (20 + 40) / 4
    assert told["speed"]["device"].startswith("cpu")
    assert 50 < told["speed"]["peak_megabytes"] < 100_000
    assert _told(tmp_path, module, [rate])["speed"]["times_real_time"] == 1.0


def test_cached_features_say_nothing_of_the_speed(tmp_path, module):
    assert "times_real_time" not in _told(tmp_path, module, [None, None])["speed"]


def test_a_run_without_facts_stays_without(tmp_path):
    add_fact(tmp_path, "speed", {})
    assert list(tmp_path.iterdir()) == []
