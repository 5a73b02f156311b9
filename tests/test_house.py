"""House rules that a machine can hold: one name for one thing, facts in one place, how docstrings open, sizes."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lightning_aqa"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
LONGEST = 340
RUN_FILES = {
    "config.yaml", "run.json", "predictions.csv", "results.json", "history.csv", "ratings.csv", "clips.csv",
    "systems.csv", "observations.npz", "skipped.csv", "best.ckpt", "last.ckpt", "trial.json", "trial.log", "sweep.json",
    "summary.csv", "summary.md", "traceback.txt", "intervals.json", "trained.npz",
    "ensemble.json",
}  # fmt: skip


def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_two_classes_have_one_name():
    homes = defaultdict(list)
    for path in FILES:
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_names_of_files_in_a_run_folder_stand_in_one_module(path):
    if path == PACKAGE / "results" / "files.py":
        assert {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)} >= RUN_FILES
        return
    literals = {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)}
    assert not {value for value in literals if isinstance(value, str)} & RUN_FILES


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_docstrings_open_with_a_noun_phrase_or_an_imperative(path):
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            assert not re.match(r"(What|How|Which|Where|When|Why|Who)\b", text), text.splitlines()[0]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_training_step_is_read_at_a_glance():
    (module,) = (node for node in _tree(PACKAGE / "module.py").body if getattr(node, "name", "") == "AQAModule")
    (step,) = (node for node in module.body if getattr(node, "name", "") == "training_step")
    assert step.end_lineno - step.body[0].end_lineno <= 10


def test_the_significance_level_stands_once():
    found = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and node.value.value == 0.05
        and re.search("SIGNIF|ALPHA", ast.unparse(node.targets[0]))
    ]
    assert found == ["metrics/power.py"]
