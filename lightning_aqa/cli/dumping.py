"""Configs as YAML that reads back as what it was: a text that the parser would take for a number is in quotes."""

from __future__ import annotations

import re
from typing import Any

import yaml
from jsonargparse import set_dumper

_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9_]+(?:[eE][-+][0-9]+)?")
"""Numbers to jsonargparse, such as 1e5, that are texts to PyYAML."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's, with what jsonargparse reads as a number."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def to_yaml(data: Any) -> str:
    """Write plain values as YAML.

    Example:
        >>> print(to_yaml({"axes": {"1e5": 1}}), end="")
        axes:
          '1e5': 1
    """
    return str(yaml.dump(data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))


def install() -> None:
    """Let jsonargparse write configs so."""
    set_dumper("yaml", to_yaml)
