"""Words of messages: the nearest of some names, and the core of what a parser says about a class."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def nearest(wrong: str, known: Iterable[str], *, by_last_part: bool = False, cutoff: float = 0.6) -> str:
    """Find the known name that is most like a wrong one, whatever its capitals.

    Args:
        wrong: The name that was given.
        known: Valid names; of two that are equally near, the shorter one is found.
        by_last_part: Whether dotted names are compared by what follows their last dot.
        cutoff: Likeness that a name must reach, from 0 (any will do) to 1.

    Returns:
        The nearest name; empty where none is near enough.

    Example:
        >>> nearest("max_epoch", ["data.batch_size", "trainer.max_epochs"], by_last_part=True)
        'trainer.max_epochs'
    """

    def compared(name: str) -> str:
        return (name.rsplit(".", 1)[-1] if by_last_part else name).lower()

    names = {compared(name): name for name in sorted(known, key=len, reverse=True) if name != wrong}
    found = difflib.get_close_matches(compared(wrong), names, n=1, cutoff=cutoff)
    return names[found[0]] if found else ""


def did_you_mean(wrong: str, known: Iterable[str], *, by_last_part: bool = False) -> str:
    """Return a sentence with the nearest known name, after a space; empty where none is near.

    Example:
        >>> did_you_mean("Libritts", ["LibriTTS", "EARS"])
        " Did you mean 'LibriTTS'?"
    """
    name = nearest(wrong, known, by_last_part=by_last_part)
    return f" Did you mean {name!r}?" if name else ""


def about_class(message: str) -> str:
    """Return what a message of jsonargparse says about a class that was named, in one line.

    Example:
        >>> about_class("Type Callable[[int], a.Head]: Expected 'b.C' to be a subclass of <class 'Head'>.")
        "'b.C' is no Head."
    """
    text = " ".join(message.split())
    if found := re.search(r"'[^']*' is refused.*?\.MLP", text):
        return f"{found[0]}."
    if found := re.search(r"Expected ('[^']*') to be a subclass of .*?(\w+)(?:'>)?\.", text):
        return f"{found[1]} is no {found[2]}."
    for named in (r"Import path", r"Expected a path but", r"class_path"):
        if found := re.search(rf"{named} '?([\w.]+\.\w+)'?.*does not correspond to a subclass of (\w+)", text):
            return f"'{found[1]}' is no {found[2]}."
    if found := re.search(r"Import path does not correspond to a subclass of (\w+) .*Given value: (\S+)$", text):
        return f"'{found[2]}' is no {found[1]}."
    return _without_types(text)


def _without_types(text: str) -> str:
    """Drop what jsonargparse says of the types that a value could have had, and of the whole value."""
    text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: - ", "", text)
    text = re.sub(r"Expected a path but \S+ either not accessible or invalid (- )?(?=.)", "", text)
    text = re.sub(r"Type \S*Callable.*? class: ", "", text)
    text = re.split(r" - Expected a <class 'NoneType'>| ?Given value| ?Got value:", text)[0]
    return re.sub(r'Parser key "([\w.]+)": ', r"\1: ", text)


def shortened(text: str, length: int = 80) -> str:
    """Cut a text that goes into a message, however long a file makes it.

    Example:
        >>> shortened("x" * 1000, 5)
        'xxxxx…'
    """
    return text if len(text) <= length else f"{text[:length]}…"


def duration(seconds: float) -> str:
    """Write a time as people say it.

    Example:
        >>> [duration(s) for s in (4.2, 75, 7300)]
        ['4 s', '1 min 15 s', '2 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
