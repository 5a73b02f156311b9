"""``python -m lightning_aqa`` is the command line."""

import os
import sys

from lightning_aqa.cli.subcommands import VERBS, main

# Threads that wait for each other by spinning make torch tens of times slower on cores that are shared with other work;
# this is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if not VERBS.keys() & set(sys.argv[1:2]):  # those run without Lightning, doctor even where a package is missing
    from lightning_aqa.cli.main import main

raise SystemExit(main())
