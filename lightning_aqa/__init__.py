"""Experiment framework for audio quality assessment."""

__version__ = "0.1.0"
