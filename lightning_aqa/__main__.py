"""``python -m lightning_aqa`` is the command line."""

import os
import sys

# Threads that wait for each other by spinning make torch tens of times slower on cores that are shared with other work;
# this is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if sys.argv[1:2] == ["doctor"]:  # it has to run where a package is missing that the others need
    from lightning_aqa.doctor import main
else:
    from lightning_aqa.cli import main

raise SystemExit(main())
