"""The argument parser: no abbreviations, and one readable message where LightningCLI prints pages of usage."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

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
        lines = [line.strip() for line in message.splitlines() if line.strip() and not any(n in line for n in NOISE)]
        text = re.sub(r"\s+", " ", " ".join(dict.fromkeys(line.lstrip("- ") for line in lines)))
        sys.stderr.write(f"error: {text}{did_you_mean(text, self)}\n")
        self.exit(2)


def did_you_mean(message: str, parser: LightningArgumentParser) -> str:
    """Find the valid name nearest to one that a message complains of."""
    options = {option.lstrip("-") for option in parser._option_string_actions}
    for wrong, names in [*_suspects(message, options)]:
        nearest = suggest(wrong, names)
        if nearest:
            return f" Did you mean '{nearest}'?"
    return ""


def suggest(wrong: str, names: Iterable[str]) -> str:
    """Return the nearest of some names, or an empty string if none is near."""
    by_last = {name.rsplit(".", 1)[-1].lower(): name for name in names}
    near = difflib.get_close_matches(wrong.rsplit(".", 1)[-1].lower(), by_last, n=1, cutoff=0.6)
    return by_last[near[0]] if near else ""


def _suspects(message: str, options: set[str]) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield each name that a message calls wrong, beside the names that were possible there."""
    for path in re.findall(r"[\w.]+\.[A-Z]\w+", message):
        for wrong in re.findall(r"'([\w.]+)'", message):
            yield wrong, _parameters(path)
    for wrong in re.findall(r"--([\w.+]+)", message) + re.findall(r"'([\w.]+)'", message):
        yield wrong, options
        yield wrong, _subclasses()


def _parameters(class_path: str) -> list[str]:
    """List the constructor arguments of a class that is already imported."""
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return list(inspect.signature(found).parameters) if inspect.isclass(found) else []


def _subclasses() -> list[str]:
    """List the parts that can be named: encoders, heads, objectives and corpora."""
    from lightning_aqa.data.base import AQADataModule
    from lightning_aqa.encoders.base import Encoder
    from lightning_aqa.heads.base import Head
    from lightning_aqa.objectives.base import Objective

    return [part.__name__ for base in (AQADataModule, Encoder, Head, Objective) for part in base.__subclasses__()]
