"""Cases that show once more what a quicker one shows: ``make test-all`` runs them, ``make test`` leaves them out."""

import pytest


def all_but(values, *quick):
    """Return parameters of a test, of which all but some are slow."""
    assert set(quick) <= set(values)
    return [value if value in quick else _slow(*value if isinstance(value, tuple) else (value,)) for value in values]


def _slow(*value):
    return pytest.param(*value, marks=pytest.mark.slow)
