"""Experiment framework for audio quality assessment: rated clips in, a trained predictor and honest numbers out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_aqa.utils import renamed

if TYPE_CHECKING:
    from lightning_aqa.batch import Axis, Batch, Features, Output
    from lightning_aqa.encoders.base import Encoder
    from lightning_aqa.heads.base import Head
    from lightning_aqa.module import AQAModule
    from lightning_aqa.objectives.base import Objective
    from lightning_aqa.scoring.load import load
    from lightning_aqa.scoring.scorer import Scorer

__version__ = "0.1.0"
__all__ = ["AQAModule", "Axis", "Batch", "Encoder", "Features", "Head", "Objective", "Output", "Scorer", "load"]

_HOMES = {
    "AQAModule": "module",
    "Encoder": "encoders.base",
    "Head": "heads.base",
    "Objective": "objectives.base",
    "Scorer": "scoring.scorer",
    "load": "scoring.load",
}

renamed.install()


def __getattr__(name: str) -> Any:
    """Import a name of the vocabulary at its first use, so that ``import lightning_aqa`` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'batch')}"), name)
