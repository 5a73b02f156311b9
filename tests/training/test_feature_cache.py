"""The feature cache: what an entry is found by, never half of one, and features that come back as they were."""

import os
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lightning_aqa.data.cache.store
from lightning_aqa.batch import Features
from lightning_aqa.cli.main import main
from lightning_aqa.data.cache.pooled import Form
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.data.windows import Window
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.fingerprint import fingerprint
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.module import AQAModule
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.training.feature_cache import FeatureCache, store_for

WHOLE = Window(0, 0.0, 0.5, 1.0)


class Frames(Encoder):
    """One frame per 160 samples, scaled by a frozen weight."""

    sample_rate, width, num_layers = 16000, 2, 1

    def __init__(self, gain=1.0, name="a", layers=(1, 2)):
        super().__init__()
        self.name, self.layers, self._num_calls = name, list(layers), 0
        self.scale = torch.nn.Parameter(torch.tensor([gain, gain]), requires_grad=False)
        self.register_buffer("flag", torch.zeros(1, dtype=torch.bool))

    @property
    def num_calls(self):
        return self._num_calls

    def forward(self, waveform, num_samples, prompts=None):
        self._num_calls += 1
        frames_BF = waveform.unfold(1, 160, 160).square().mean(2)
        mask_BF = torch.arange(frames_BF.shape[1]) < (num_samples // 160)[:, None]
        return Features((frames_BF * mask_BF)[:, None, :, None] * self.scale, mask_BF)


class Renamed(Frames):
    """Another class that computes the same."""


class Reading(Frames):
    """The same with a text side."""

    text_width = 3


@pytest.fixture
def clip(corpora, tmp_path):
    """A clip on a file of its own, which a test may change."""
    first, second, *_ = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())
    shutil.copy(first, tmp_path / "a.wav")
    shutil.copy(second, tmp_path / "b.wav")
    return Clip("a", str(tmp_path / "a.wav"), prompt="a piano")


def _key(clip, window=WHOLE, encoder=None, folder=Path("cache")):
    return store_for(encoder or Frames(), folder).path(clip, window).name


def _with(clip, **fields):
    return Clip(**{**vars(clip), **fields})


# The key


def test_the_key_does_not_change_with_path_name_or_age_of_the_file(clip, tmp_path):
    shutil.copy(clip.path, tmp_path / "moved.flac")
    os.utime(clip.path, (0, 0))
    moved = _with(clip, id="other", path=str(tmp_path / "moved.flac"), split="dev", scores={"PQ": 1.0}, system="S")
    assert _key(clip) == _key(moved) == _key(clip, folder=tmp_path) == _key(clip, WHOLE._replace(clip=7, weight=0.2))


def test_the_key_changes_with_the_content(clip, tmp_path):
    before = _key(clip)
    assert before != _key(_with(clip, path=str(tmp_path / "b.wav")))
    data = bytearray(Path(clip.path).read_bytes())
    data[-1] ^= 1
    Path(clip.path).write_bytes(data)
    assert _key(clip) != before


def test_the_key_changes_with_the_window(clip):
    windows = [WHOLE, WHOLE._replace(start=0.1), WHOLE._replace(seconds=0.4)]
    assert len({_key(clip, window) for window in windows}) == 3
    assert _key(_with(clip, start=0.1)) == _key(clip, WHOLE._replace(start=0.1))


def test_the_key_changes_with_the_encoder_s_class_settings_and_weights(clip):
    touched = Frames()
    touched.flag[0] = True
    encoders = [Frames(), Renamed(), Frames(gain=1.0000001), Frames(name="b"), Frames(layers=(1, 3)), touched]
    assert len({_key(clip, encoder=encoder) for encoder in encoders}) == len(encoders)
    assert _key(clip, encoder=Frames()) == _key(clip, encoder=Frames().eval())


def test_the_key_changes_with_resampler_level_rate_and_form(clip):
    slower = Frames()
    slower.sample_rate = 8000
    stores = [store_for(encoder, Path("cache")) for encoder in (Frames(), slower)]
    stores += [store_for(Frames(), Path("cache"), *words) for words in (["sinc"], ["soxr", "rms"])]
    forms = [Form("mean"), Form("mean_std"), Form("frames", "float16"), Form("frames", "float32")]
    forms += [Form(layers=(0,)), Form(layers=(1, 0)), Form(layers=(0, 1))]
    stores += [store_for(Frames(), Path("cache"), form=form) for form in forms]
    assert len({store.path(clip, WHOLE) for store in stores}) == len(stores)


def test_the_encoders_of_the_package_have_fingerprints_of_their_own():
    torch.manual_seed(0)
    encoders = [Descriptors(), Descriptors(num_mels=64), Descriptors(hop_seconds=0.02), MelSpectrogram(depth=1)]
    assert len({fingerprint(encoder) for encoder in encoders}) == 4
    assert fingerprint(Descriptors()) == fingerprint(Descriptors())
    torch.manual_seed(0)
    assert fingerprint(MelSpectrogram(depth=1)) == fingerprint(encoders[-1])
    torch.manual_seed(1)
    assert fingerprint(MelSpectrogram(depth=1)) != fingerprint(encoders[-1])


def test_the_prompt_counts_for_an_encoder_that_reads_it(clip):
    other = _with(clip, prompt="a flute")
    assert _key(clip) == _key(other)
    assert _key(clip, encoder=Reading()) != _key(other, encoder=Reading())


# The store


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_features_come_back_bit_for_bit(clip, tmp_path, dtype):
    store, mask = store_for(Reading(), tmp_path), torch.tensor([[True, True, False]])
    text = Features(torch.randn(1, 2, 3, 4).to(dtype), mask, torch.randn(1, 5, 3).to(dtype), torch.ones(1, 5) > 0)
    for features in (text, text._replace(text=None, text_mask=None)):
        store.write(clip, WHOLE, features)
        for written, read in zip(features, store.read(clip, WHOLE), strict=True):
            assert (written is None and read is None) or (torch.equal(written, read) and written.dtype == read.dtype)


def test_a_write_that_breaks_off_leaves_no_entry(clip, tmp_path, monkeypatch):
    store, features = store_for(Frames(), tmp_path / "cache"), Features(torch.ones(1, 1, 1, 2), torch.ones(1, 1) > 0)

    def broken(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        store.write(clip, WHOLE, features)
    assert not store.path(clip, WHOLE).exists()
    assert list((tmp_path / "cache").rglob("*.*")) == []
    monkeypatch.undo()
    store.write(clip, WHOLE, features)
    assert torch.equal(store.read(clip, WHOLE).layers, features.layers)


# The callback


def _set_up(
    corpora, folder, encoder, rank=0, num_ranks=1, stage="fit", callback=None, head=MLP, layers=None, **loading
):
    """Do what a trainer does before it asks for loaders."""
    data = MusicEval(root=str(corpora["musiceval"]), cache=str(folder), **loading)
    module = AQAModule(data.axes, encoder, head, layers=layers)
    strategy = SimpleNamespace(root_device=torch.device("cpu"), barrier=lambda: None)
    trainer = SimpleNamespace(
        datamodule=data, lightning_module=module, strategy=strategy, global_rank=rank, world_size=num_ranks
    )
    data.trainer = trainer
    data.setup(stage)
    (callback or FeatureCache()).setup(trainer, module, stage)
    return data


def _entries(folder):
    return sorted(path.name for path in folder.rglob("*.safetensors"))


def test_each_window_is_encoded_once_and_read_from_then_on(corpora, tmp_path):
    first, second = Frames(), Frames()
    _set_up(corpora, tmp_path, first)
    assert first.num_calls == len(_entries(tmp_path)) == 30
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / "left.1234.part").write_bytes(b"half")
    _set_up(corpora, tmp_path, second)
    assert second.num_calls == 0


def test_only_what_is_missing_is_encoded_anew(corpora, tmp_path):
    _set_up(corpora, tmp_path, Frames())
    before, encoder = _entries(tmp_path), Frames()
    for path in sorted(tmp_path.rglob("*.safetensors"))[::10]:
        path.unlink()
    _set_up(corpora, tmp_path, encoder)
    assert encoder.num_calls == 3
    assert _entries(tmp_path) == before


def test_processes_share_the_work_even_if_one_is_done_before_another_looks(corpora, tmp_path):
    encoders = [Frames() for _ in range(3)]
    for rank, encoder in enumerate(encoders):
        data = _set_up(corpora, tmp_path, encoder, rank, 3)
    assert [encoder.num_calls for encoder in encoders] == [10, 10, 10]
    assert all(batch.features is not None for batch in data.split_dataloader("train", sharded=False))


@pytest.mark.parametrize("window_seconds", [None, 0.2])
def test_cached_batches_are_live_ones(corpora, tmp_path, window_seconds):
    encoder = Frames()
    data = _set_up(corpora, tmp_path, encoder, window_seconds=window_seconds, cache_form="frames")
    cached = list(data.split_dataloader("train"))
    data.features = None
    for batch, live in zip(cached, data.split_dataloader("train"), strict=True):
        wanted = encoder(live.waveform, live.num_samples, live.prompts)
        assert (batch.ids, batch.weights.tolist()) == (live.ids, live.weights.tolist())
        assert torch.equal(batch.features.frame_mask, wanted.frame_mask)
        assert (batch.features.layers - wanted.layers).abs().max() < 1e-6


def test_training_draws_from_the_windows_that_are_there(corpora, tmp_path):
    data = _set_up(corpora, tmp_path, Frames(), window_seconds=0.2)
    loader = data.train_dataloader()
    for epoch in range(3):
        loader.batch_sampler.sampler.set_epoch(epoch)
        assert sum(len(batch.ids) for batch in loader) == len(data.rated("train"))


@pytest.mark.parametrize("memory", [0, 2**31])
def test_features_come_from_memory_where_they_fit_and_else_from_files(corpora, tmp_path, monkeypatch, memory):
    monkeypatch.setattr(lightning_aqa.data.cache.store, "MEMORY_BYTES", memory)
    data = _set_up(corpora, tmp_path / "cache", Frames(), num_workers=1)
    assert data.features_are_in_memory == (memory > 0)
    assert data.train_dataloader().num_workers == (0 if memory else 1)
    data.num_workers = 0
    before = [batch.features.layers for batch in data.split_dataloader("train")]
    assert all(torch.equal(*pair) for pair in zip(before, _layers(data), strict=True))
    shutil.rmtree(tmp_path / "cache")
    if memory:
        assert all(torch.equal(*pair) for pair in zip(before, _layers(data), strict=True))
    else:
        with pytest.raises(ValueError, match="It was whole at the start; start again"):
            _layers(data)


def _layers(data, split="train"):
    return [batch.features.layers for batch in data.split_dataloader(split)]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-3] + b"\xff\xff\xff"])
def test_damaged_entries_are_found_and_computed_anew(corpora, tmp_path, damage, caplog):
    before = _layers(_set_up(corpora, tmp_path, Frames()))
    for path in sorted(tmp_path.rglob("*.safetensors"))[:2]:
        path.write_bytes(damage(path.read_bytes()))
    encoder = Frames()
    after = _layers(_set_up(corpora, tmp_path, encoder))
    assert encoder.num_calls == 2
    assert "damaged and are computed anew: 2" in caplog.text
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("name", ["write_bytes", "replace", "mkdir"])
def test_a_run_that_is_broken_off_anywhere_leaves_a_usable_cache(corpora, tmp_path, monkeypatch, name, place):
    clean, num_calls, do = _layers(_set_up(corpora, tmp_path / "clean", Frames())), [0], getattr(Path, name)

    def break_off(path, *arguments, **options):
        if "cache" in path.parts:
            num_calls[0] += 1
            if num_calls[0] > place:
                if name == "write_bytes":
                    do(path, arguments[0][: len(arguments[0]) // 2])
                raise KeyboardInterrupt
        return do(path, *arguments, **options)

    monkeypatch.setattr(Path, name, break_off)
    with pytest.raises(KeyboardInterrupt):
        _set_up(corpora, tmp_path / "cache", Frames())
    monkeypatch.undo()
    there, encoder = len(_entries(tmp_path / "cache")), Frames()
    again = _layers(_set_up(corpora, tmp_path / "cache", encoder))
    assert encoder.num_calls == 30 - there
    assert all(torch.equal(*pair) for pair in zip(clean, again, strict=True))


def test_two_processes_that_start_together_share_the_work(corpora, tmp_path):
    first, second = Frames(), Frames()
    forward = first.forward

    def interrupted(*arguments):
        if first.num_calls == 5:
            _set_up(corpora, tmp_path, second)  # another process comes and is done before this one goes on
        return forward(*arguments)

    first.forward = interrupted
    data = _set_up(corpora, tmp_path, first)
    assert second.num_calls == 25
    assert first.num_calls == 6  # the five that the other found, and the one that it was at
    assert sum(len(layers) for layers in _layers(data)) == len(data.rated("train"))


def test_a_disk_that_is_too_small_is_refused_with_the_number(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3000))
    encoder = Frames()
    with pytest.raises(ValueError, match=r"30 windows will take about [\d.]+ kB, .* has 3.0 kB left.*float16"):
        _set_up(corpora, tmp_path, encoder)
    assert encoder.num_calls == len(_entries(tmp_path)) == 1
    monkeypatch.undo()
    _set_up(corpora, tmp_path, encoder)
    assert encoder.num_calls == 30


def test_what_a_head_needs_is_computed_from_what_holds_more(corpora, tmp_path):
    encoded = {}
    for pooling in ("mean", "mean_std"):
        data = _set_up(corpora, tmp_path / pooling, Frames(), head=partial(MLP, pooling=pooling))
        encoded[pooling] = _layers(data)
    encoder = Frames()
    _set_up(corpora, tmp_path / "frames", encoder, cache_form="frames")
    for pooling in ("mean_std", "mean"):
        data = _set_up(corpora, tmp_path / "frames", encoder, head=partial(MLP, pooling=pooling))
        assert all(torch.equal(*pair) for pair in zip(_layers(data), encoded[pooling], strict=True))
    data = _set_up(corpora, tmp_path / "mean_std", encoder, head=partial(MLP, pooling="mean"))
    assert all(torch.equal(*pair) for pair in zip(_layers(data), encoded["mean"], strict=True))
    assert encoder.num_calls == 30
    _set_up(corpora, tmp_path / "frames", encoder, cache_precision="float16")
    assert encoder.num_calls == 60


def test_features_that_cannot_be_kept_name_the_clip(corpora, tmp_path):
    with pytest.raises(ValueError, match=r"Features of clip \S+ \(.*wav\) cannot be kept: mean reaches .* ends at"):
        _set_up(corpora, tmp_path, Frames(gain=1e9), cache_precision="float16")
    with pytest.raises(ValueError, match=r"cannot be kept: the encoder gives numbers that are not finite"):
        _set_up(corpora, tmp_path, Frames(gain=torch.inf))
    assert _entries(tmp_path) == []


def test_weights_that_a_checkpoint_brings_are_noticed(corpora, tmp_path):
    callback, encoder = FeatureCache(), Frames()
    data = _set_up(corpora, tmp_path, encoder, callback=callback)
    one, module = _layers(data), data.trainer.lightning_module
    data.trainer.ckpt_path = "last.ckpt"
    callback.on_fit_start(data.trainer, module)
    assert encoder.num_calls == 30
    encoder.scale.data *= 2
    callback.on_fit_start(data.trainer, module)
    assert encoder.num_calls == 60
    assert all(torch.allclose(2 * a, b) for a, b in zip(one, _layers(data), strict=True))


def test_chosen_layers_are_those_that_the_head_sees_live(corpora, tmp_path):
    encoder = MelSpectrogram(width=16, depth=2).requires_grad_(False)
    data = _set_up(corpora, tmp_path, encoder, layers=[-1, 0], cache_form="frames")
    module, cached = data.trainer.lightning_module, list(data.split_dataloader("dev"))
    assert (module.layers, module.head.num_layers) == ((encoder.num_layers - 1, 0), 2)
    data.features = None
    for batch, live in zip(cached, data.split_dataloader("dev"), strict=True):
        assert batch.features.layers.shape[1] == 2
        wanted = encoder(live.waveform, live.num_samples).layers[:, [-1, 0]]
        torch.testing.assert_close(module.encode(batch).layers, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(module(batch).scores, module(live).scores, rtol=1e-5, atol=1e-5)
    _set_up(corpora, tmp_path, encoder, layers=[0, -1], cache_form="frames")
    assert len(_entries(tmp_path)) == 60


@pytest.mark.parametrize("layers", [[], [4], [-5], [0, -4], [1, 1]])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(ValueError, match=r"layers must name each of some of the 4 layers of MelSpectrogram once"):
        AQAModule([("PQ", "Quality", 0, 10)], MelSpectrogram(width=16), layers=layers)


def test_another_encoder_reads_its_own_features(corpora, tmp_path):
    data = _set_up(corpora, tmp_path, Frames())
    one = next(iter(data.split_dataloader("dev"))).features
    module = AQAModule(data.axes, Frames(gain=2.0))
    data.trainer.lightning_module = module
    FeatureCache().setup(data.trainer, module, "fit")
    two = next(iter(data.split_dataloader("dev"))).features
    assert torch.allclose(two.layers, 2 * one.layers)


def test_without_a_folder_nothing_happens(corpora):
    data = MusicEval(root=str(corpora["musiceval"]))
    FeatureCache().setup(SimpleNamespace(datamodule=data), AQAModule(data.axes, Frames()), "fit")
    assert data.features is None


def test_a_trained_encoder_is_refused(corpora, tmp_path):
    encoder = Frames()
    encoder.scale.requires_grad_(True)
    with pytest.raises(ValueError, match=r"--data\.cache needs a frozen encoder, and Frames is trained"):
        _set_up(corpora, tmp_path, encoder)
    assert _entries(tmp_path) == []


def test_a_frozen_network_with_windows_is_evaluated_from_the_cache_as_live(corpora, fit, tmp_path):
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.window_seconds=0.3"]
    network = ["--model.encoder=MelSpectrogram", "--model.encoder.width=16", "--model.freeze=all"]
    live = fit(*words, *network, name="live")
    test = ["test", *words, f"--ckpt_path={live / 'checkpoints' / 'best.ckpt'}", f"--data.cache={tmp_path / 'cache'}"]
    assert main([*test, f"--trainer.default_root_dir={tmp_path}", "--name=cached"]) == 0
    tables = [read_predictions(tmp_path / name / "predictions.csv")[0] for name in ("live", "cached")]
    for (split, one), (other, two) in zip(*tables, strict=True):
        assert (split, one.ids) == (other, two.ids)
        assert abs(one.scores - two.scores).max() < 1e-5
