"""The argument parser: no abbreviations, and one readable message where LightningCLI prints pages of usage."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

from lightning_aqa.data.augment import Augmentation
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.objectives.base import Objective
from lightning_aqa.utils.components import subclasses
from lightning_aqa.utils.distributed import let_speak, speaks_here

DEBUG = "LIGHTNING_AQA_DEBUG"
NOISE = ("Does not validate against any", "Subtypes:", "Expected a <class 'NoneType'>", "Errors:", "Given value type:")

set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


class Parser(LightningArgumentParser):
    """LightningArgumentParser with OmegaConf configs that exits with a message one can act on.

    Args:
        args: Passed on.
        kwargs: Passed on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("parser_mode", "omegaconf+")
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what was wrong and the nearest valid name, and exit with code 2."""
        if os.environ.get(DEBUG) or not self.exit_on_error:
            super().error(message, ex)
        options = [option.lstrip("-") for option in self._option_string_actions]
        if speaks_here():
            sys.stderr.write(f"error: {readable(message, options)}\n")
        else:
            let_speak()
        self.exit(2)


def readable(message: str, options: Sequence[str]) -> str:
    """Rewrite jsonargparse's message as one line that ends in the nearest valid name.

    Args:
        message: What jsonargparse says, over many lines.
        options: Names of the options of this parser.
    """
    text = " ".join(line.strip(" -") for line in message.splitlines() if not any(noise in line for noise in NOISE))
    text = re.sub(
        r"((?:Expected a (?:<class '\w+'>|typing\.\S+) ?)+)Given value: ([\w.+-]+)(?= Given value|$)",
        lambda found: f"{found[1].strip().replace(' Expected a ', ' or ')}. Got value: {found[2]}",
        text.strip(),
    )
    text = re.sub(r"\s+", " ", re.sub(r"Given value:.*?(?=Parser key|Problem with|$)", "", text)).strip()
    key = next(iter(re.findall(r'Parser key "([\w.]+)"', text)), "")
    if found := re.search(r"unrecognized arguments: (.*)", text):
        wrong = re.findall(r"--([\w.+]+)", found[1])
        return f"unknown option {found[1]}.{_hint(wrong[0] if wrong else found[1], options)}"
    if found := re.search(r"class_path '([\w.]+)'.*Option '([\w.]+)' is not accepted", text):
        names = _parameters(found[1])
        return f"{found[1].rsplit('.', 1)[-1]} has no option '{found[2]}'.{_hint(found[2], names)}"
    if found := re.search(r"Option '([\w.]+)' is not accepted.*class_path='([\w.]+)'", text):
        return f"{found[2].rsplit('.', 1)[-1]} has no option '{found[1]}'.{_hint(found[1], _parameters(found[2]))}"
    if found := re.search(r"Expected a dot import path string: (\S+)", text):
        return f"--{key}: there is no class '{found[1]}'.{_hint(found[1], _parts())}"
    if found := re.search(r"invalid choice: '(\w+)' \(choose from (.*)\)", text):
        return f"{text}.{_hint(found[1], re.findall(r'[a-z]+', found[2]))}"
    text = re.sub(r"Parser key \"[\w.]+\": Problem with given class_path '[\w.]+\.(\w+)': ", r"\1: ", text)
    return re.sub(r'Parser key "([\w.]+)": ', r"\1: ", text)


def raised(error: Exception) -> str:
    """Return what a part said when it was built, without what jsonargparse wraps around it."""
    text = re.sub(r"^Call to compute_fn of link .*? failed: ", "", str(error).strip(), flags=re.DOTALL)
    if "\nErrors:\n" not in text:
        return text
    inner = text.split("\nErrors:\n", 1)[1].split("\nGiven value", 1)[0]
    return "\n".join(line.strip(" -") for line in inner.splitlines() if not any(noise in line for noise in NOISE))


def _hint(wrong: str, names: Iterable[str]) -> str:
    """Name the nearest of some names, in a sentence, if one is near."""
    others = sorted((name for name in names if name != wrong), key=len, reverse=True)
    by_last = {name.rsplit(".", 1)[-1].lower(): name for name in others}
    near = difflib.get_close_matches(wrong.rsplit(".", 1)[-1].lower(), by_last, n=1, cutoff=0.6)
    return f" Did you mean '{by_last[near[0]]}'?" if near else ""


def _parameters(class_path: str) -> list[str]:
    """List the constructor arguments of a class that is already imported, those of its bases included."""
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    bases = inspect.getmro(found) if inspect.isclass(found) else ()
    own = [base for base in bases if base.__module__.startswith("lightning_aqa") or base is found]
    return [name for base in own for name in inspect.signature(base).parameters]


def _parts() -> list[str]:
    """List the parts that can be named: encoders, heads, objectives, corpora and augmentations."""
    kinds = (AQADataModule, Augmentation, Encoder, Head, Objective)
    found: list[type] = [part for base in kinds for part in subclasses(base)]
    return [part.__name__ for part in found if not inspect.isabstract(part)]
