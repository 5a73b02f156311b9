"""Pictures of runs, which take three quarters of a small run's time: the tests leave them out but where one asks."""

from contextlib import contextmanager

import pytest

from lightning_aqa.results.plots import draw_run

PLACES = ("lightning_aqa.results.plots.draw_run", "lightning_aqa.training.cross_validation.draw_run")


WITHOUT = (
    "from lightning_aqa.results import plots; plots.draw_run = lambda *args: []; import lightning_aqa.__main__ as aqa;"
)


def without_pictures(command):
    """Return the command of a process of its own, ``python -m lightning_aqa ...``, in which none are drawn."""
    assert command[1:3] == ["-m", "lightning_aqa"]
    return [command[0], "-c", f"{WITHOUT} raise SystemExit(aqa.main())", *command[3:]]


@contextmanager
def drawing(draw=draw_run, places=PLACES):
    """Draw the pictures of runs inside, or what else is given; of the run that is cross-validated by the last place."""
    with pytest.MonkeyPatch.context() as patch:
        for place in places:
            patch.setattr(place, draw)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_pictures():
    with drawing(lambda folder, axes: []):
        yield


@pytest.fixture
def pictures():
    """Draw the pictures of the runs of a test, as a user's run does."""
    with drawing():
        yield
