"""Experiment framework for audio quality assessment: rated clips in, a trained predictor and honest numbers out."""

import lazy_loader

from lightning_aqa.utils import renamed

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # which costs nothing until a name is used

renamed.install()
