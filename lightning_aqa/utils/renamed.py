"""Old dotted names of modules with parts, which configs and checkpoints of earlier versions hold."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

RENAMED = {
    "lightning_aqa.encoders.freezing": "lightning_aqa.encoders.finetuning",
    "lightning_aqa.encoders.hub": "lightning_aqa.encoders.huggingface",
    "lightning_aqa.heads.linear": "lightning_aqa.heads.musiceval_baseline",
}
"""Today's module for each old name."""

REMOVAL = "0.3"
"""The version in which old names go."""


class OldNames(MetaPathFinder, Loader):
    """Import today's module under an old name, with one warning."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to import an old name; None for all others."""
        return ModuleSpec(name, self) if name in RENAMED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return today's module."""
        new = RENAMED[spec.name]
        warnings.warn(f"{spec.name} is now {new}; the old name will go in {REMOVAL}.", FutureWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own specification back, which the import under the old name has replaced."""
        module.__spec__ = self._spec


def install() -> None:
    """Let old names be imported; once in a process."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
