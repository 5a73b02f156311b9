"""JSON and YAML that may be damaged or hostile: plain values in bounded time, or one error that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lightning_aqa.utils import yaml_text
from lightning_aqa.utils.files import read_text
from lightning_aqa.utils.text import shortened

MOST_JSON_BYTES = 64 * 2**20
MOST_YAML_BYTES = 2**20


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: If it is none, or its nesting or its numbers have no end.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise ValueError(f"not JSON: {error.msg} at {line}column {error.colno}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: its brackets are nested too deeply") from None
    except ValueError:
        raise ValueError("not JSON that can be read: it holds a number of thousands of digits") from None


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: If it cannot be read; the message names the file.
    """
    return _read(path, MOST_JSON_BYTES, parse_json)


def parse_yaml(text: str) -> Any:
    """Parse YAML into plain values.

    Raises:
        ValueError: If it is none, is nested without end, or repeats itself by aliases more than any config does.
    """
    try:
        return yaml_text.read_yaml(text)
    except yaml.YAMLError as error:
        what = "it holds a number of thousands of digits" if "int_max_str_digits" in str(error) else str(error)
        raise ValueError(f"not YAML that can be read: {shortened(' '.join(what.split()), 200)}") from None
    except (ArithmeticError, TypeError, LookupError, AttributeError) as error:  # what PyYAML lets out of odd tags
        raise ValueError(f"not YAML that can be read: {shortened(str(error), 200)}") from None


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises:
        ValueError: If it cannot be read; the message names the file.
    """
    return _read(path, MOST_YAML_BYTES, parse_yaml)


def _read(path: str | Path, most_bytes: int, parse: Callable[[str], Any]) -> Any:
    text = read_text(path, most_bytes)
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from None
