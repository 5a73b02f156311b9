"""Speed and memory in ``run.json``: of encoder and head, and no speed where features were cached."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.module import AQAModule
from lightning_aqa.results.facts import add_fact
from lightning_aqa.training import speed, training_speed
from lightning_aqa.training.flops import flop_counter, peak_flops


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


def test_every_fit_tells_its_speed_and_the_time_left(corpora, fit, capsys):
    folder = fit("--data=MusicEval", f"--data.root={corpora['musiceval']}", epochs=3)
    told, said = json.loads((folder / "run.json").read_text())["training_speed"], capsys.readouterr().out
    assert told["reads"] == "audio"
    assert told["clips_per_second"] > 1
    assert told["gigaflop_per_clip"] > 0
    assert told["hours_left"] == 0
    assert (told["mfu"], told["peak_teraflops"]) == (None, None)  # nobody states the peak of a CPU
    assert f"{told['clips_per_second']:g} clips/s from audio, {told['peak_megabytes']:.0f} MB" in said


def test_a_fit_on_cached_features_says_that_these_are_what_it_read(corpora, fit, capsys, tmp_path):
    words = [f"--data.root={corpora['musiceval']}", f"--data.cache={tmp_path / 'cache'}", "--data.batch_size=8"]
    folder = fit("--data=MusicEval", *words, "--model.head=MLP", "--model.head.hidden=[]")
    told = json.loads((folder / "run.json").read_text())["training_speed"]
    encoder = AQAModule([("PQ", "Quality", 0, 10)]).encoder
    read = 2 * encoder.width  # mean and deviation of each feature
    linear, mix = 3 * 2 * (read * 2), 2 * 2 * read  # two axes, gradients of weights and input; of the mix its weight's
    assert told["reads"] == "cached features"
    assert told["gigaflop_per_clip"] == pytest.approx((linear + mix) / 1e9, rel=0.01)
    assert "clips/s from cached features" in capsys.readouterr().out


def _trainer(**changes):
    limits = {"max_epochs": 10, "max_steps": -1, "global_step": 8, "current_epoch": 1, "callbacks": []}
    return SimpleNamespace(**(limits | changes))


def test_the_time_left_is_that_of_the_first_limit(tmp_path, monkeypatch):
    ticks = iter([0.0, *[20.0] * 9])
    monkeypatch.setattr(training_speed, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    speed = training_speed.TrainingSpeed(tmp_path)
    speed._epochs = 2
    assert speed._estimate(_trainer()) == 8 * 10
    assert speed._estimate(_trainer(max_steps=12)) == 10  # four steps, which are an epoch
    assert speed._estimate(_trainer(max_epochs=-1)) is None


def test_the_time_left_of_folds_is_that_of_those_trained_here(monkeypatch):
    ticks = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr(training_speed, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    left = training_speed.RunsLeft(4)
    assert [left.after(new) for new in (False, True, True, True)] == ["", "; 20 s left", "; 10 s left", ""]


def test_the_peak_of_a_card_is_lightnings_and_that_of_an_unknown_one_is_not_known(monkeypatch):
    for name, peak in (("NVIDIA A100-SXM4-40GB", 312e12), ("NVIDIA Unheard", None), ("NVIDIA L40S", None)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_flops(torch.device("cuda"), torch.bfloat16) == peak


def test_attention_and_its_gradient_are_counted_as_products():
    states = torch.randn(2, 4, 50, 16, requires_grad=True)
    with flop_counter() as counter:
        torch.nn.functional.scaled_dot_product_attention(states, states, states).sum().backward()
    product = 2 * (2 * 4) * 50 * 50 * 16
    assert counter.get_total_flops() == (2 + 5) * product


def test_a_formula_that_fails_counts_as_nothing():
    with flop_counter() as counter:
        counted = counter.flop_registry[torch.ops.aten.mm]
        assert counted("no", "shapes", out_val=None) == 0
        torch.ones(2, 3) @ torch.ones(3, 5)
    assert counter.get_total_flops() == 2 * 2 * 3 * 5


def test_the_benchmark_ends_in_a_line_without_a_gpu(monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = importlib.import_module("gpu")
    assert gpu.main([]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no GPU here")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_fit_on_a_gpu_names_the_card_and_its_memory(corpora, fit):
    folder = fit("--data=MusicEval", f"--data.root={corpora['musiceval']}", "--trainer.accelerator=gpu", epochs=2)
    told = json.loads((folder / "run.json").read_text())["training_speed"]
    assert told["device"] == torch.cuda.get_device_name(0)
    assert 0 < told["peak_megabytes"] < 1000
