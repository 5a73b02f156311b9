"""What is computed apart leaves this process without threads that a later fork would wait for."""

import os

import pytest

from lightning_aqa.utils import forks


@pytest.mark.parametrize("may_fork", [True, False])
def test_a_call_apart_gives_its_result_or_its_error(monkeypatch, may_fork):
    monkeypatch.setattr(forks._Own, "program", (lambda args: 0) if may_fork else None)
    assert (forks.apart(os.getpid) == os.getpid()) is not may_fork
    with pytest.raises(ZeroDivisionError):
        forks.apart(lambda: 1 // 0)


def test_a_fork_that_ends_without_a_result_is_told(monkeypatch):
    monkeypatch.setattr(forks._Own, "program", lambda args: 0)
    with pytest.raises(RuntimeError, match=r"exit code 3, expected a result.*smaller encoder"):
        forks.apart(lambda: os._exit(3))
