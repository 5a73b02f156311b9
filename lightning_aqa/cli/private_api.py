"""The private attributes of Lightning's CLI and of jsonargparse that are used here; no other file of cli/ has any."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.cli import LightningCLI

PRIVATE_NAMES = (
    "jsonargparse.ArgumentParser._option_string_actions",
    "lightning.pytorch.cli.LightningCLI._get",
    "lightning.pytorch.cli.LightningCLI._parse_ckpt_path",
    "lightning.pytorch.cli.LightningCLI._parser",
    "lightning.pytorch.cli.LightningCLI._run_subcommand",
    "lightning.pytorch.cli.LightningCLI._subcommand_parsers",
)
"""Names by their dotted paths; tests/test_private_api.py looks whether they are still there."""


class OpenCLI(LightningCLI):
    """LightningCLI with public names for what is private in it."""

    def _parse_ckpt_path(self) -> None:
        """Leave the config as it is; ``instantiate_classes`` says which of config and checkpoint counts."""

    def _run_subcommand(self, subcommand: str) -> None:
        self.run_subcommand(subcommand)

    def run_subcommand(self, subcommand: str) -> None:
        """Run what the command asks for, once all parts are built."""
        super()._run_subcommand(subcommand)

    @property
    def settings(self) -> Namespace:
        """The config of the subcommand."""
        settings: Namespace = self.config[self.subcommand]
        return settings

    def parser_of(self, subcommand: str) -> ArgumentParser:
        """Return the parser of a subcommand, before anything is parsed."""
        parser: ArgumentParser = self._subcommand_parsers[subcommand]
        return parser

    def settings_text(self) -> str:
        """Return the config of the subcommand as YAML."""
        return str(self._parser(self.subcommand).dump(self.settings, skip_none=False))

    def built(self, key: str) -> Any:
        """Return a built part of the config."""
        return self._get(self.config_init, key)


def option_names(parser: ArgumentParser) -> Sequence[str]:
    """List the names of a parser's options, without dashes."""
    return [option.lstrip("-") for option in parser._option_string_actions]


def options_of(parser: ArgumentParser) -> Mapping[str, argparse.Action]:
    """Return what a parser knows of its options, by their flags."""
    options: Mapping[str, argparse.Action] = parser._option_string_actions
    return options
