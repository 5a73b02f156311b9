"""``python -m lightning_aqa`` and the console script ``lightning-aqa`` are the command line."""

import os

from lightning_aqa.cli.main import main as run
from lightning_aqa.utils import forks


def main() -> int:
    """Run the command line as a program.

    Returns:
        Exit code.
    """
    # Threads that wait for each other by spinning make torch tens of times slower on cores that are shared with other
    # work; this is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    forks.allow(run)
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
