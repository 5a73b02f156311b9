"""What is private in Lightning, jsonargparse and torch stands in six files, and is still there."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
import torch

from lightning_aqa.cli import private_api
from lightning_aqa.data import own_loaders
from lightning_aqa.encoders import cpu
from lightning_aqa.training import flops, lightning_private
from lightning_aqa.utils import class_paths

OWNERS = (private_api, cpu, own_loaders, flops, lightning_private, class_paths)
LIBRARIES = {"jsonargparse": "jsonargparse", "lightning": "Lightning", "torch": "torch"}
PUBLIC = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Names that are documented all the same: those of a NamedTuple, and os._exit."""
PACKAGE = Path(cpu.__file__).resolve().parent.parent
TREES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
ELSEWHERE = sorted(TREES.keys() - {str(Path(owner.__file__).resolve().relative_to(PACKAGE)) for owner in OWNERS})


def _find(path):
    """The object at a dotted path, of which the longest part that can be imported is a module."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AttributeError(path)


def _has(path):
    """Whether something has a name: as an attribute, or as one that its class or a base of it sets on itself."""
    owner, name = path.rsplit(".", 1)
    try:
        found = _find(owner)
    except AttributeError:
        return False
    bases = inspect.getmro(found) if inspect.isclass(found) else ()
    return hasattr(found, name) or any(f"self.{name}" in _source(base) for base in bases)


def _source(owner):
    try:
        return inspect.getsource(owner)
    except (OSError, TypeError):  # it is not written in Python
        return ""


NAMES = [(owner, name) for owner in OWNERS for name in owner.PRIVATE_NAMES]


@pytest.mark.parametrize(("owner", "name"), NAMES, ids=[name for _, name in NAMES])
def test_what_is_private_is_still_there(owner, name):
    if "mkldnn" in name and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    library = LIBRARIES[name.split(".")[0]]
    assert _has(name), f"{library} changed: there is no {name}; see {owner.__name__}"


@pytest.mark.parametrize("name", ["torch.Tensor._gone", "torch.Gone._version", "lightning.pytorch.Trainer._gone"])
def test_what_is_gone_is_found_out(name):
    assert not _has(name)


def _is_private(name):
    return name.startswith("_") and not name.startswith("__")


def _attributes(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_private(node.attr)]


def _is_self(node):
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def _defined(tree):
    """The private names that a file gives: functions, classes, variables, and what an object sets on itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr


def _foreign(tree, own):
    """The lines of a file that use a private name of another library."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            paths = [f"{module}.{alias.name}".strip(".") for alias in node.names]
            found = [path for path in paths if any(map(_is_private, path.split(".")))]
            yield from (f"{node.lineno}: {path}" for path in found if path.split(".")[0] in LIBRARIES)
    for node in _attributes(tree):
        if node.attr not in own:
            yield f"{node.lineno}: {ast.unparse(node)}"


OWN = PUBLIC.union(*(_defined(TREES[name]) for name in ELSEWHERE))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_other_file_uses_what_is_private(name):
    found = list(_foreign(TREES[name], OWN))
    assert not found, f"{name} uses what is private in a library; put it into one of the six files: {found}"


@pytest.mark.parametrize(
    "text",
    [
        "from torch._dynamo import config",
        "import lightning.fabric._x",
        "from jsonargparse import _core",
        "trainer.fit_loop._data_fetcher",
        "self._should_skip_saving_checkpoint(trainer)",
    ],
)
def test_a_use_is_found(text):
    assert list(_foreign(ast.parse(text), OWN))


def test_each_name_that_a_file_uses_is_in_its_list():
    for owner in OWNERS:
        tree = ast.parse(Path(owner.__file__).read_text())
        listed = {name.rsplit(".", 1)[1] for name in owner.PRIVATE_NAMES}
        own = set(_defined(tree)) - listed
        assert {node.attr for node in _attributes(tree)} - own - PUBLIC <= listed
