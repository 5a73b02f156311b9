"""The parser of fit, validate, test and predict: no abbreviations, OmegaConf's references, one line for a mistake."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings

from lightning_aqa.cli.messages import is_debug, readable
from lightning_aqa.cli.private_api import option_names
from lightning_aqa.utils.class_paths import CheckedParser
from lightning_aqa.utils.distributed import is_local_rank_zero, wait_for_launcher_exit

set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


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

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what was wrong and the nearest valid name, and exit with code 2."""
        if is_debug() or not self.exit_on_error:
            super().error(message, ex)
        if is_local_rank_zero():
            sys.stderr.write(f"error: {readable(message, option_names(self))}\n")
        else:
            wait_for_launcher_exit()
        self.exit(2)
