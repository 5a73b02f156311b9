"""The first signal is raised, or kept until the work is whole; a second one ends the process."""

import os
import signal
import time

import pytest

from lightning_aqa.utils import signals
from lightning_aqa.utils.signals import Stopped, StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_raised_with_the_exit_code_of_shells(number, code):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as found, StopSignals():
        signal.raise_signal(number)
    assert (found.value.name, found.value.code) == (number.name, code)
    assert signal.getsignal(number) is before


def test_a_signal_that_waits_is_passed_on_and_counts_once_when_it_comes_twice_at_once():
    passed = []
    with StopSignals() as kept:
        kept.waits, kept.passes_on = True, passed.append
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (kept.number, passed) == (signal.SIGTERM, [signal.SIGTERM])
        with pytest.raises(Stopped):
            kept.stop()


def test_a_second_signal_ends_the_process_at_once(monkeypatch):
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)
    process = os.fork()
    if process == 0:
        with StopSignals() as kept:
            kept.waits = True
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGTERM
