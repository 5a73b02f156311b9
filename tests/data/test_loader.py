"""How batches are read: one thread per worker, also after OpenMP ran here; settings that go together or not."""

import lightning as L
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from lightning_aqa.batch import Axis
from lightning_aqa.data import loader as loaders
from lightning_aqa.data.dataset import ClipWindows
from lightning_aqa.data.loader import check_batch_settings, loader_options, workers_for_gpus
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.samplers import EvaluationBatches
from lightning_aqa.data.windows import Window


class NamesThreads(ClipWindows):
    """Put the number of threads where the score is."""

    def __getitem__(self, window):
        """Read a window."""
        return super().__getitem__(window)._replace(scores=torch.tensor([float(torch.get_num_threads())]))


@pytest.fixture
def dataset(tmp_path):
    """Two files that the resampler of torchaudio has to convert, which runs on torch's threads."""
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * torch.randn(8000).numpy(), 8000)
    clips = [Clip(str(i), str(tmp_path / f"{i}.wav"), scores={"MOS": 1.0}) for i in range(2)]
    return NamesThreads(Manifest(clips, [Axis("MOS", "MOS", 1, 5)]), 16000, resampler="sinc")


def _read(dataset, num_workers):
    batches = EvaluationBatches([Window(i, 0.0, 1.0, 1.0) for i in range(2)], 1)
    return list(DataLoader(dataset, batch_sampler=batches, **loader_options(num_workers)))


def test_a_worker_has_one_thread_also_after_openmp_ran_here(dataset):
    torch.set_num_threads(2)
    try:
        torch.randn(512, 512) @ torch.randn(512, 512)
        here = _read(dataset, 0)
        there = _read(dataset, 1)
    finally:
        torch.set_num_threads(1)
    assert [batch.scores.item() for batch in here] == [2.0, 2.0]
    assert [batch.scores.item() for batch in there] == [1.0, 1.0]
    for one, other in zip(here, there, strict=True):
        assert torch.allclose(one.waveform, other.waveform, atol=1e-6)


def test_workers_stay_where_they_are_asked_to():
    assert loader_options(2, stays=True)["persistent_workers"]
    assert not loader_options(2)["persistent_workers"]
    assert not loader_options(0, stays=True)["persistent_workers"]


def test_memory_is_pinned_for_a_gpu_alone(monkeypatch):
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    assert not loader_options(0, trainer)["pin_memory"]
    assert not loader_options(0)["pin_memory"]
    monkeypatch.setattr(type(trainer.strategy), "root_device", torch.device("cuda", 0))
    assert loader_options(0, trainer)["pin_memory"]


@pytest.mark.parametrize(("gpus", "cores", "wanted"), [(0, 64, 0), (1, 64, 8), (8, 64, 8), (4, 12, 3), (8, 4, 1)])
def test_a_gpu_gets_workers_from_its_share_of_the_cores(monkeypatch, gpus, cores, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(loaders.os, "sched_getaffinity", lambda _: range(cores))
    assert workers_for_gpus() == wanted


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((8, 60.0, None, 1.15), "batch_size=8 and batch_seconds=60 both say how large a batch is: give one of them"),
        ((0, None, None, None), "batch_size must be at least 1, got 0"),
        ((None, 0.0, None, None), "batch_seconds must be above 0, got 0"),
        ((None, float("nan"), None, None), "batch_seconds must be above 0, got nan"),
        ((None, None, None, 0.9), "max_padding is padded seconds over real ones, so at least 1; got 0.9"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        check_batch_settings(*settings)
