"""Join a Ray cluster, or start one on this machine, with one clear error where that cannot be."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONNECT_SECONDS = 10.0


def import_ray() -> Any:
    """Return Ray.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("--engine ray needs Ray: pip install 'lightning_aqa[ray]'.") from None
    return ray


@contextmanager
def cluster() -> Iterator[Any]:
    """Give Ray, connected to the cluster of ``RAY_ADDRESS``; without it one starts on this machine and ends after.

    Raises:
        ValueError: If Ray is missing, or no cluster is found at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        _knock(address or "")
        settings: dict[str, Any] = {} if address else {"include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"Ray: no cluster at RAY_ADDRESS={address} ({reason}); start one by `ray start --head`, or unset "
            "RAY_ADDRESS to use this machine."
            if address
            else f"Ray cannot be started on this machine ({reason}); --engine local needs none."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Try a connection to ``host:port``: Ray itself goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
