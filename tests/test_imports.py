"""Imports go down only: the floors of docs/extending.md, held here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lightning_aqa"
FLOOR_0 = {"batch", "weights", "audiobox_weights"}
FLOOR_1 = {"data", "encoders", "heads", "objectives", "metrics"}
FLOOR_3 = {"cli", "__main__", "parser", "run", "crossvalidation", "doctor", "swap", "verbs"}
FLOOR_3 |= {"cache_command", "score", "sweep", "report_command"}
HEAVY = {"transformers", "librosa", "wandb", "matplotlib", "scipy", "pyarrow", "sklearn", "peft", "ray", "optuna"}
FILES = sorted(PACKAGE.rglob("*.py"))


def _unit(dotted):
    return dotted.split(".")[1] if dotted.count(".") else ""


def _floor(unit):
    return 0 if unit in FLOOR_0 else 1 if unit in FLOOR_1 else 3 if unit in FLOOR_3 else 2


def _imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_go_down_only(path):
    unit = path.relative_to(PACKAGE.parent).with_suffix("").parts[1]
    for name in _imports(ast.walk(ast.parse(path.read_text()))):
        if name.startswith("lightning_aqa."):
            other = _unit(name)
            assert _floor(other) <= _floor(unit), f"{unit} imports {name}, which is above it"
            assert _floor(unit) != 1 or other in {unit, *FLOOR_0}, f"{unit} imports {name}, which is beside it"


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_heavy_libraries_are_imported_where_they_are_used(path):
    top = {name.split(".")[0] for name in _imports(ast.parse(path.read_text()).body)}
    assert not top & HEAVY


def test_the_vocabulary_is_at_the_top_and_costs_nothing_until_it_is_used():
    script = "import sys, lightning_aqa as a; assert 'torch' not in sys.modules; [getattr(a, n) for n in a.__all__]"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PACKAGE.parent, timeout=120)
