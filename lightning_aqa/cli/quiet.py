"""The screen of a run without what Lightning tells about itself."""

from __future__ import annotations

import logging
import os
import warnings

from lightning_aqa.utils.distributed import is_local_rank_zero

_EXPECTED_WARNINGS = (
    ".*LightningCLI's args parameter is intended.*",  # main(args) is how tests and notebooks call it
    ".*does not have many workers.*",  # a user's choice
    ".*in eval mode at the start of training.*",  # frozen parts are
    ".*custom batch sampler.*",  # ours drops nothing
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run goes on in its folder
    ".*Total length of .* across ranks is zero.*",  # a corpus without a split dev has nothing to validate on
    ".*self.log.'(train|val|test)/.*sync_dist=True.*",  # all processes log the value of all rows
    ".*isinstance.treespec, LeafSpec.. is deprecated.*",  # inside Lightning
)


def quiet() -> None:
    """Keep what Lightning tells about itself off the screen; what it warns of stays, but for what is meant here."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are about Lightning's own calls
    if not is_local_rank_zero():  # all processes read the same corpus, and the first tells what it finds
        logging.getLogger("lightning_aqa.data").setLevel(logging.ERROR)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
