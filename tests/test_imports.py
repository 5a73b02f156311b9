"""The house: thirteen rooms beside the vocabulary ``batch.py``, five floors, and imports that go down."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lightning_aqa"
FLOORS = (
    {"batch", "utils"},
    {"data", "encoders", "heads", "objectives", "metrics"},
    {"module", "results"},
    {"training", "report", "scoring", "sweep"},
    {"cli"},
)
ROOMS = set().union(*FLOORS)
BESIDE = {("utils", "batch"), ("module", "results"), ("scoring", "training")}
"""The few imports on one floor, (importer, imported): never on floor 1, and with no way back."""
HEAVY = {"transformers", "librosa", "wandb", "matplotlib", "scipy", "pyarrow", "sklearn", "peft", "ray", "optuna"}
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def _imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "lightning_aqa":
            yield from (f"lightning_aqa.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _rooms(path):
    """The rooms that a file imports, wherever in the file."""
    found = {name.split(".")[1] for name in _imports(ast.walk(ast.parse(path.read_text()))) if "lightning_aqa." in name}
    return found & ROOMS


def _floor(room):
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def _tracked():
    """What stands at the top, but for what Python and the user leave there."""
    return {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def test_the_package_has_thirteen_rooms_beside_the_vocabulary():
    assert _tracked() - {"__init__", "__main__"} == ROOMS
    assert len(ROOMS - {"batch"}) == 13


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_down(path):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if room.startswith("__"):
        return  # the front door and the names at the top
    for other in _rooms(path) - {room}:
        is_below = _floor(other) < _floor(room)
        assert is_below or (room, other) in BESIDE, f"{room} imports {other}, which is not below it"


def test_no_two_modules_import_each_other_in_a_circle():
    def module(path):
        return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)

    known = {module(path): path for path in FILES}
    arrows = {name: set(_imports(ast.walk(ast.parse(path.read_text())))) & known.keys() for name, path in known.items()}
    while free := {name for name, to in arrows.items() if not to & arrows.keys()}:
        arrows = {name: to for name, to in arrows.items() if name not in free}
    assert not arrows, f"circles among {sorted(arrows)}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    top = {name.split(".")[0] for name in _imports(ast.parse(path.read_text()).body)}
    assert not top & HEAVY


def test_the_vocabulary_is_at_the_top_and_costs_nothing_until_it_is_used():
    script = "import sys, lightning_aqa as a; assert 'torch' not in sys.modules; [getattr(a, n) for n in a.__all__]"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PACKAGE.parent, timeout=120)
