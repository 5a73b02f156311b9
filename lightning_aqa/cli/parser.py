"""The parser of fit, validate, test and predict: no abbreviations, OmegaConf's references, one line for a mistake."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader, set_parsing_settings
from jsonargparse.typing import register_type
from lightning_utilities.core.enums import StrEnum

from lightning_aqa.cli import dumping
from lightning_aqa.cli.messages import is_debug, readable
from lightning_aqa.cli.private_api import option_names
from lightning_aqa.utils.class_paths import CheckedParser
from lightning_aqa.utils.distributed import is_local_rank_zero, wait_for_launcher_exit
from lightning_aqa.utils.references import bounded_references
from lightning_aqa.utils.yaml_text import check_yaml

set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
dumping.install()  # references are resolved in a config that is written and read again
# Lightning's Timer has an enum among its defaults, which the YAML of a saved config cannot hold.
yaml.SafeDumper.add_multi_representer(StrEnum, lambda dumper, value: dumper.represent_str(value.value))
# Lightning's averages of weights have devices among their settings, which a saved config could not hold either.
register_type(torch.device, deserializer_exceptions=(RuntimeError, ValueError, TypeError))


class Parser(CheckedParser):
    """CheckedParser with OmegaConf configs that exits with a message one can act on.

    Args:
        args: Passed on.
        kwargs: Passed on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("parser_mode", "omegaconf+")
        super().__init__(*args, **kwargs)
        _check_configs(str(self.parser_mode))

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]  # its overloads are two
        """Parse arguments, whatever the references of their configs make of them."""
        with bounded_references():
            parsed: Namespace = super().parse_args(*args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what was wrong and the nearest valid name, and exit with code 2."""
        if is_debug() or not self.exit_on_error:
            super().error(message, ex)
        if is_local_rank_zero():
            sys.stderr.write(f"error: {readable(message, option_names(self))}\n")
        else:
            wait_for_launcher_exit()
        self.exit(2)


def _check_configs(mode: str) -> None:
    """Let parsers of a mode look at the size of a text before they read it."""
    if mode in _checked:
        return
    _checked.add(mode)
    probe = ArgumentParser(exit_on_error=False, parser_mode=mode)
    probe.add_argument("--numbers", type=list[int])
    probe.parse_args(["--numbers=[1]"])  # jsonargparse makes a loader at its first use
    load = get_loader(mode)

    def checked(text: str) -> Any:
        check_yaml(text)
        return load(text)

    set_loader(mode, checked, exceptions=(yaml.YAMLError, RecursionError))


_checked: set[str] = set()
