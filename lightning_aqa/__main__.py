"""``python -m lightning_aqa`` is the command line."""

import os

# Threads that wait for each other by spinning make torch tens of times slower on cores that are shared with other work;
# this is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from lightning_aqa.cli import main

raise SystemExit(main())
