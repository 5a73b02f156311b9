"""The files that say what is installed and what is checked agree with each other."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TOML = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings tomli on 3.10
PROJECT = TOML.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def _requirements(lines):
    """Requirements in one spelling."""
    return {str(Requirement(line)) for line in lines}


def _lines(name):
    return [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]


def _tested(python):
    """The one tested version of each distribution on a Python."""
    tested = {}
    for requirement in (Requirement(line) for line in _lines("constraints.txt") if line):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", requirement
            assert canonicalize_name(requirement.name) not in tested, requirement
            tested[canonicalize_name(requirement.name)] = specifier.version
    return tested


def test_conda_users_get_the_packages_of_pip_users():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (of_pip,) = [item["pip"] for item in environment if isinstance(item, dict)]
    extras = [line for name in ("parquet", "lora", "bayes", "wandb-report") for line in EXTRAS[name]]
    assert _requirements(of_pip) == _requirements([*PROJECT["dependencies"], *extras])
    (python,) = [item for item in environment if isinstance(item, str) and item.startswith("python ")]
    assert Requirement(python).specifier == Requirement(f"python{PROJECT['requires-python']}").specifier


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *sorted({*EXTRAS["parquet"], *EXTRAS["dev"]})])
def test_the_tested_version_of_a_requirement_is_in_its_range(line, python):
    requirement = Requirement(line)
    version = _tested(python)[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{version} is not in {requirement}"


def test_all_supported_pythons_are_tested_for():
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [minor for minor in range(6, 20) if f"3.{minor}.0" in supported] == [10, 11, 12, 13]


def test_a_commit_is_checked_by_what_make_check_runs():
    check = (ROOT / "Makefile").read_text().split("\ncheck:")[1].split("\n\n")[0]
    of_make = re.findall(r"^\t\$\(BIN\)/(.+?)(?: \.)?$", check, re.MULTILINE)
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for repository in repositories for hook in repository["hooks"]]
    # --force-exclude concerns files that are named one by one, as pre-commit does.
    of_commits = [entry.removeprefix(".venv/bin/").replace(" --force-exclude", "") for entry in entries]
    assert of_commits == of_make == ["ruff format --check", "ruff check", "mypy"]


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in _lines(".ci/run")
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert "make test" in "".join(blocks).splitlines()


def test_the_pages_are_short_and_the_readme_shows_a_command_at_once():
    assert len(_lines("CONTRIBUTING.md")) < 60
    readme = _lines("README.md")
    assert len(readme) < 150
    assert any(line.startswith("```") for line in readme[:25])
