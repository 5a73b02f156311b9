"""Installed packages, compared with those that this one asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

OPTIONAL = {
    "mlflow-skinny": "runs that log to MLflow",
    "onnxruntime": "ONNX models as encoders",
    "optuna": "sweeps whose method is bayes",
    "peft": "adapters (LoRA) in an encoder",
    "pyarrow": "MusicEval as parquet shards",
    "ray": "sweeps and scoring on a cluster",
    "speechbrain": "the benchmark of BEATs",
    "tensorboard": "runs that log to TensorBoard",
    "wandb-workspaces": "reports on W&B",
}
"""Packages that one part needs, and which."""

MALICIOUS = {"lightning": (SpecifierSet("==2.6.2"), SpecifierSet("==2.6.3"))}
"""Releases that stole credentials (GHSA-w37p-236h-pfx3); pyproject.toml excludes them too."""


class Package(NamedTuple):
    """A package, what is installed and what is asked for.

    Args:
        name: Name of the distribution.
        installed: Its version; empty where there is none.
        required: Range that its version has to be in; empty takes any.
        purpose: What an optional package is for; empty for a required one.
    """

    name: str
    installed: str
    required: str
    purpose: str = ""

    @property
    def state(self) -> str:
        """Say in a word or two whether it will do.

        Example:
            >>> [Package("rich", found, ">=13").state for found in ("13.1", "12.0", "")]
            ['ok', 'wrong version', 'missing']
        """
        if not self.installed:
            return "not installed" if self.purpose else "missing"
        if self.is_malicious:
            return "MALICIOUS"
        is_in_range = SpecifierSet(self.required).contains(self.installed, prereleases=True)
        return "ok" if is_in_range else "wrong version"

    @property
    def is_malicious(self) -> bool:
        """Whether the release that is installed is known to steal credentials."""
        return any(releases.contains(self.installed) for releases in MALICIOUS.get(self.name, ()))

    @property
    def is_problem(self) -> bool:
        """Whether nothing works properly before this is put right."""
        return not self.purpose and self.state != "ok"


def find_packages(name: str = "lightning_aqa") -> list[Package]:
    """List Python, this package, what it requires and what single parts need; its own metadata have the ranges."""
    own = _installed(name)
    if not own:
        return [Package(name, "", ""), *_optional([])]
    asked = [Requirement(line) for line in distribution(name).requires or []]
    required = [item for item in asked if item.marker is None or item.marker.evaluate({"extra": ""})]
    return [
        Package("Python", platform.python_version(), distribution(name).metadata["Requires-Python"] or ""),
        Package(name, own, ""),
        *(Package(item.name, _installed(item.name), str(item.specifier)) for item in required),
        *_optional(asked),
    ]


def _optional(asked: list[Requirement]) -> Iterator[Package]:
    """Yield the optional packages; their ranges are those of an extra, where one has them."""
    ranges = {canonicalize_name(item.name): str(item.specifier) for item in asked}
    for name, purpose in OPTIONAL.items():
        yield Package(name, _installed(name), ranges.get(canonicalize_name(name), ""), purpose)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
