"""A lock is one process's at a time, and a killed one leaves none behind."""

import errno
import os
import signal

import pytest

from lightning_aqa.utils.lock import NO_LOCKS, LockedError, locked


def _in_a_fork(work):
    """Do something in another process; return its exit code."""
    process = os.fork()
    if process == 0:
        try:
            os._exit(work())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _try(path):
    try:
        with locked(path):
            return 0
    except LockedError:
        return 7


def test_another_process_is_told_and_a_later_one_gets_it(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        assert _in_a_fork(lambda: _try(path)) == 7
    assert not path.exists()
    assert _in_a_fork(lambda: _try(path)) == 0


def test_a_killed_process_leaves_no_lock_though_its_file_is_there(tmp_path):
    path = tmp_path / "lock"

    def die():
        with locked(path):
            os.kill(os.getpid(), signal.SIGKILL)

    assert _in_a_fork(die) == -signal.SIGKILL
    assert path.exists()
    with locked(path):
        pass
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing" / "lock"):
        pass


def test_of_many_that_start_together_each_has_it_alone(tmp_path):
    path, inside, processes = tmp_path / "lock", tmp_path / "inside", []
    for _ in range(8):
        process = os.fork()
        if process == 0:
            code = 0
            for _ in range(200):
                try:
                    with locked(path):
                        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                        inside.unlink()
                except LockedError:
                    continue
                except FileExistsError:
                    code = 1
            os._exit(code)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0] * 8


def test_a_disk_without_locks_says_so_and_no_file_is_left_open(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with pytest.raises(OSError, match="No locks available") as told, locked(tmp_path / "run.lock"):
        pass
    assert told.value.errno in NO_LOCKS
