"""``python -m lightning_aqa`` is the command line."""

from lightning_aqa.cli import main

raise SystemExit(main())
