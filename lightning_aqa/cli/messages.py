"""One readable line for a mistake, where jsonargparse prints pages; it needs neither torch nor Lightning."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lightning_aqa.results.files import TRACEBACK
from lightning_aqa.utils.text import about_class, did_you_mean

DEBUG = "LIGHTNING_AQA_DEBUG"
"""Environment variable with which errors keep their traceback."""
KINDS = {
    "data.base": "AQADataModule",
    "data.augment": "Augmentation",
    "encoders.base": "Encoder",
    "heads.base": "Head",
    "objectives.base": "Objective",
}
NOISE = ("Does not validate against any", "Subtypes:", "Expected a <class 'NoneType'>", "Errors:", "Given value type:")


def is_debug() -> bool:
    """Tell whether errors are to keep their traceback."""
    return bool(os.environ.get(DEBUG))


def readable(message: str, options: Sequence[str]) -> str:
    """Rewrite jsonargparse's message as one line that ends in the nearest valid name.

    Args:
        message: The message of jsonargparse, over many lines.
        options: Names of the options of this parser.
    """
    core = about_class(message)
    text = _in_one_line(message)
    key = next(iter(re.findall(r'Parser key "([\w.]+)"', text)), "")
    if re.match(r"'\S*' is ", core):
        return f"--{key}: {core}"
    if found := re.search(r"unrecognized arguments: (.*)", text):
        wrong = re.findall(r"--([\w.+-]+)", found[1])
        return f"unknown option {found[1]}.{_hint(wrong[0] if wrong else found[1], options)}"
    if found := re.search(r"class_path '([\w.]+)'.*Option '([\w.]+)' is not accepted", text):
        names = _parameters(found[1])
        return f"{found[1].rsplit('.', 1)[-1]} has no option '{found[2]}'.{_hint(found[2], names)}"
    if found := re.search(r"Option '([\w.]+)' is not accepted.*class_path='([\w.]+)'", text):
        return f"{found[2].rsplit('.', 1)[-1]} has no option '{found[1]}'.{_hint(found[1], _parameters(found[2]))}"
    if found := re.search(r"Expected a dot import path string: (\S+)", text):
        return f"--{key}: there is no class '{found[1]}'.{_hint(found[1], _parts())}"
    if found := re.search(r'^Parser key "[\w.]+": Expected a typing\.Literal\[(.*)\]\. Got value: (\S+)$', text):
        choices = re.findall(r"'([^']*)'", found[1])
        return f"--{key} must be one of {', '.join(choices)}, got '{found[2]}'.{_hint(found[2], choices)}"
    if found := re.search(r"invalid choice: '(\w+)' \(choose from (.*)\)", text):
        return f"{text}.{_hint(found[1], re.findall(r'[a-z]+', found[2]))}"
    text = re.sub(r"Parser key \"[\w.]+\": Problem with given class_path '[\w.]+\.(\w+)': ", r"\1: ", text)
    return re.sub(r'Parser key "([\w.]+)": ', r"\1: ", text)


def _in_one_line(message: str) -> str:
    text = " ".join(line.strip(" -") for line in message.splitlines() if not any(noise in line for noise in NOISE))
    text = re.sub(
        r"((?:Expected a (?:<class '\w+'>|typing\.\w+\[[^\]]*\]) ?)+)Given value: ([\w.+-]+)(?= Given value|$)",
        lambda found: f"{found[1].strip().replace(' Expected a ', ' or ')}. Got value: {found[2]}",
        re.sub(
            r"(Expected a path but \S+ either not accessible or invalid |Type \S*Callable.*? class: )(?=.)",
            "",
            text.strip(),
        ),
    )
    return re.sub(r"\s+", " ", re.sub(r"Given value:.*?(?=Parser key|Problem with|$)", "", text)).strip()


def unexpected(error: BaseException, folder: Path | None = None) -> str:
    """Tell an error that nobody foresaw in one line, with the line of code it comes from; keep its traceback.

    Args:
        error: The error.
        folder: Where to keep the traceback, such as the run folder; None or one that is not there keeps none.
    """
    frames = traceback.extract_tb(error.__traceback__)
    location = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    said = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    told = f"{type(error).__name__}: {said}{location}." if said else f"{type(error).__name__}{location}."
    if folder is not None and folder.is_dir():
        path = folder / TRACEBACK
        with suppress(OSError):
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
            return f"{told} The traceback is in {path}."
    return f"{told} {DEBUG}=1 shows the traceback."


def raised(error: Exception) -> str:
    """Return the message of a part that could not be built, without what jsonargparse wraps around it."""
    text = re.sub(r"^Call to compute_fn of link .*? failed: ", "", str(error).strip(), flags=re.DOTALL)
    if "\nErrors:\n" not in text:
        return text
    inner = text.split("\nErrors:\n", 1)[1].split("\nGiven value", 1)[0].split("\nSubclass types expect", 1)[0]
    lines = [line.strip(" -") for line in inner.splitlines() if not any(noise in line for noise in NOISE)]
    told = [line for line in lines if not re.match("Expected a <class|Not a valid subclass", line)]
    return "\n".join(told or lines)


def _hint(wrong: str, names: Sequence[str]) -> str:
    return did_you_mean(wrong, names, by_last_part=True)


def _parameters(class_path: str) -> list[str]:
    """List the constructor arguments of a class that is already imported, those of its bases included."""
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    bases = inspect.getmro(found) if inspect.isclass(found) else ()
    own = [base for base in bases if base.__module__.startswith("lightning_aqa") or base is found]
    return [name for base in own for name in inspect.signature(base).parameters]


def _parts() -> list[str]:
    """List the parts that can be named: encoders, heads, objectives, corpora and augmentations."""
    from lightning_aqa.utils.components import subclasses

    kinds = [getattr(importlib.import_module(f"lightning_aqa.{module}"), name) for module, name in KINDS.items()]
    found: list[type] = [part for kind in kinds for part in subclasses(kind)]
    return [part.__name__ for part in found if not inspect.isabstract(part)]
