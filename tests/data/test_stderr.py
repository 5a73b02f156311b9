"""Notes of a C library are dropped; everything else that is written to stderr meanwhile arrives."""

import logging
import os
import sys
import threading

import pytest

from lightning_aqa.data.stderr import without_notes


def test_notes_are_dropped_and_errors_arrive_in_order(capfd):
    with without_notes():
        os.write(2, b"first error\n\nNote: Hit end of data\n")
        os.write(2, b"second error\nNote: another\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "first error\nsecond error\n"


def test_what_python_writes_meanwhile_arrives(capfd):
    logger, handler = logging.getLogger("tests.stderr"), logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    try:
        with without_notes():
            logger.warning("a real warning")
            sys.stderr.write("and a line without an end")
    finally:
        logger.removeHandler(handler)
    assert capfd.readouterr().err == "a real warning\nand a line without an end"


def test_an_exception_puts_stderr_back(capfd):
    def fail():
        with without_notes():
            os.write(2, b"Note: dropped\nkept\n")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    os.write(2, b"Note: after\n")
    assert capfd.readouterr().err == "kept\nNote: after\n"


def test_threads_may_overlap_and_nothing_is_left_open(capfd):
    open_before = _open_descriptors()
    barrier = threading.Barrier(4)

    def use(name):
        barrier.wait()
        for _ in range(25):
            with without_notes():
                os.write(2, f"Note: {name}\nerror of {name}\n".encode())

    threads = [threading.Thread(target=use, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == sorted(f"error of {name}" for name in "abcd" for _ in range(25))
    assert _open_descriptors() == open_before


def _open_descriptors():
    """Count this process's open descriptors."""

    def is_open(descriptor):
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    return sum(is_open(descriptor) for descriptor in range(256))
