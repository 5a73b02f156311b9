"""Domains that clips name, and those above them: ``corpus/music`` is a part of ``corpus``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import PART


def named_domains(domains: Iterable[str]) -> list[str]:
    """List the domains and what they are parts of, sorted.

    Args:
        domains: Domain of each clip; empty where unknown.

    Example:
        >>> named_domains(["a/music", "a/speech", "b", ""])
        ['a', 'a/music', 'a/speech', 'b']
    """
    found = set[str]()
    for domain in set(domains) - {""}:
        parts = domain.split(PART)
        found |= {PART.join(parts[:end]) for end in range(1, len(parts) + 1)}
    return sorted(found - {""})


def rows_by_domain(domains: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    """Return the rows of all clips under ``""``, then those of each domain with its parts.

    Args:
        domains: Domain of each clip; empty where unknown.

    Example:
        >>> {name: rows.tolist() for name, rows in rows_by_domain(["a/music", "b", "a/speech"]).items()}
        {'': [0, 1, 2], 'a': [0, 2], 'a/music': [0], 'a/speech': [2], 'b': [1]}
    """
    found = {"": np.arange(len(domains), dtype=np.intp)}
    for name in named_domains(domains):
        inside = [i for i, domain in enumerate(domains) if domain == name or domain.startswith(name + PART)]
        found[name] = np.array(inside, dtype=np.intp)
    return found
