"""A training loader that a resumed run starts in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Sampler

from lightning_aqa.data.dataset import Row
from lightning_aqa.data.windows import Window


class RestOfEpoch(Sampler[list[Window]]):
    """Leave out the first batches of the next epoch, then none.

    Args:
        batches: Draws the batches of an epoch, the same whenever it is asked for the same epoch.

    Attributes:
        first: Number of batches to leave out.
    """

    def __init__(self, batches: Sampler[list[Window]]) -> None:
        self.batches, self.first = batches, 0

    @property
    def sampler(self) -> Sampler[list[Window]]:
        """Where Lightning looks for ``set_epoch`` in a loader's batch sampler."""
        return self.batches

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield what is left of the epoch."""
        first, self.first = self.first, 0
        yield from islice(self.batches, first, None)


class ResumableLoader(DataLoader[Row]):
    """Serve batches that follow from (seed, epoch), from the batch on that a checkpoint stands at.

    Lightning keeps ``state_dict`` in its checkpoints, and loads it where it resumes within an epoch. Audio that was
    used before is not read again, whatever the number of workers: these only see the batches that are left.

    Args:
        dataset: Reads the windows of a batch.
        batches: Draws the batches of an epoch, the same whenever it is asked for the same epoch.
        options: Further arguments of torch's ``DataLoader``.
    """

    def __init__(self, dataset: Any, batches: Sampler[list[Window]], **options: Any) -> None:
        self.rest = RestOfEpoch(batches)
        self.num_served = 0
        super().__init__(dataset, batch_sampler=self.rest, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches; as a generator, so that workers start after Lightning has set the epoch."""
        self.num_served = self.rest.first
        for batch in super().__iter__():
            self.num_served += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were served, and of how many."""
        return {"num_served": self.num_served, "num_batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next epoch after the batches that were served.

        Raises:
            ValueError: If an epoch has another number of batches here.
        """
        if state_dict["num_batches"] != len(self):
            raise ValueError(
                f"The checkpoint stands within an epoch of {state_dict['num_batches']} batches, which has {len(self)} "
                "here: resume with the same data, batch_size and number of processes."
            )
        self.rest.first = state_dict["num_served"]
