"""A training loader goes on at the batch that a checkpoint stands at."""

import pytest
import torch
from torch.utils.data import Dataset

from lightning_aqa.data.loader import ResumableLoader
from lightning_aqa.data.samplers import TrainingBatches


class Numbers(Dataset):
    """The clip of a window, as it is."""

    def __init__(self):
        self.read = []

    def __getitem__(self, window):
        self.read.append(window.clip)
        return window.clip


def _loader(num_clips=10, num_workers=0, epoch=0):
    batches = TrainingBatches([1.0] * num_clips, 3, None, seed=0)
    loader = ResumableLoader(Numbers(), batches, collate_fn=list, num_workers=num_workers)
    loader.batch_sampler.sampler.set_epoch(epoch)
    return loader


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("served", [0, 1, 3, 4])
def test_what_is_left_of_an_epoch_is_what_the_undisturbed_epoch_ends_with(served, num_workers):
    whole = list(_loader(epoch=2))
    loader = _loader(num_workers=num_workers)
    loader.load_state_dict({"num_served": served, "num_batches": 4})
    iterator = iter(loader)
    loader.batch_sampler.sampler.set_epoch(2)  # as Lightning does, after it has asked for the iterator
    assert list(iterator) == whole[served:]


def test_batches_that_were_served_are_not_read_again():
    loader = _loader()
    loader.load_state_dict({"num_served": 3, "num_batches": 4})
    (last,) = list(loader)
    assert loader.dataset.read == last


def test_the_epoch_after_is_whole():
    loader = _loader()
    loader.load_state_dict({"num_served": 3, "num_batches": 4})
    assert [len(list(loader)), len(list(loader))] == [1, 4]
    assert len(loader) == 4


def test_the_state_counts_what_was_served():
    loader = _loader()
    assert loader.state_dict() == {"num_served": 0, "num_batches": 4}
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    assert loader.state_dict()["num_served"] == 2
    other = _loader()
    other.load_state_dict(loader.state_dict())
    next(iter(other))
    assert other.state_dict()["num_served"] == 3


def test_an_epoch_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"an epoch of 4 batches, which has 7 here: resume with the same data, batch_"):
        _loader(num_clips=20).load_state_dict({"num_served": 2, "num_batches": 4})


def test_tensors_are_not_needed():
    assert torch.tensor([len(batch) for batch in _loader()]).sum() == 10
