"""Pieces of the page as HTML text; every word that comes from outside is escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["attributes", "chooser", "escape", "figure", "json_script", "legend", "rounded", "section", "shown_for"]


def attributes(**given: str | bool | None) -> str:
    """Write attributes; None and False are left out, underscores are dashes.

    Example:
        >>> attributes(data_is="a&b", hidden=True, id=None)
        ' data-is="a&amp;b" hidden'
    """
    parts = []
    for name, value in given.items():
        if value is not None and value is not False:
            name = name.rstrip("_").replace("_", "-")
            parts.append(f" {name}" if value is True else f' {name}="{escape(str(value))}"')
    return "".join(parts)


def section(id_: str, title: str, *parts: str) -> str:
    """Return a section with its heading; nothing where it has no parts."""
    inside = "".join(parts)
    return f'<section id="{id_}"><h2>{escape(title)}</h2>{inside}</section>' if inside else ""


def chooser(label: str, group: str, options: Sequence[tuple[str, str]]) -> str:
    """Return a labelled select that shows one of several prepared things (see ``shown_for``); text where one is left.

    Args:
        label: What is chosen.
        group: Name of the things.
        options: Value and words of each option.
    """
    inside = "".join(f'<option value="{escape(value)}">{escape(words)}</option>' for value, words in options)
    hidden = attributes(hidden=len(options) < 2)
    return f'<label{hidden}>{escape(label)}<select data-choose="{group}">{inside}</select></label>'


def shown_for(group: str, value: str, inside: str, tag: str = "div", css: str | None = None) -> str:
    """Return something that shows while its value is chosen; without scripts everything shows."""
    return f"<{tag}{attributes(data_of=group, data_is=value, class_=css)}>{inside}</{tag}>"


def figure(title: str, note: str, inside: str) -> str:
    """Return a picture with its caption above."""
    told = f" {escape(note)}" if note else ""
    return f"<figure><figcaption><b>{escape(title)}</b>{told}</figcaption>{inside}</figure>"


def legend(entries: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Return a legend of (class of the colour, words)."""
    items = "".join(f'<li><span class="key {kind} {css}"></span>{escape(words)}</li>' for css, words in entries)
    return f'<ul class="legend">{items}</ul>'


def json_script(id_: str, data: Any) -> str:
    """Return data as JSON that no ``</script>`` in it can end."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="{id_}">{text}</script>'


def rounded(values: NDArray[np.float64] | Sequence[float], digits: int = 3) -> list[float | None]:
    """Return plain numbers with few digits, None where not finite."""
    return [round(float(value), digits) if math.isfinite(value) else None for value in values]
