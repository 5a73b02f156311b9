"""What is removed from a folder of features, and what never is."""

import os

import pytest
import torch

from lightning_aqa.data.cache.entry import write_entry
from lightning_aqa.data.cache.prune import DAY, HOUR, damaged, files_of, remove, unneeded

NOW = 1e9


@pytest.fixture
def folder(tmp_path):
    """Entries a, b and c, of one size, last used 30, 20 and 10 days ago, and what a killed process left."""
    for name, days in (("a", 30), ("b", 20), ("c", 10)):
        path = tmp_path / "0f" / f"{name}.safetensors"
        write_entry(path, {"x": torch.zeros(10)}, {})
        os.utime(path, (NOW - days * DAY, NOW - 40 * DAY))
    for name, age in (("old", 2 * HOUR), ("new", 60)):
        path = tmp_path / "0f" / f"{name}.part"
        path.write_bytes(b"half")
        os.utime(path, (NOW - age, NOW - age))
    (tmp_path / "index.json").write_text("{}")
    return tmp_path


def _names(files):
    return [file.path.stem for file in files]


def test_without_a_choice_only_what_was_left_behind_goes(folder):
    assert _names(unneeded(folder, now=NOW)) == ["old"]


def test_all_but_what_is_named_goes(folder):
    kept = {folder / "0f" / "b.safetensors"}
    files = unneeded(folder, kept, now=NOW)
    assert _names(files) == ["old", "a", "c"]
    remove([*files, *files])
    assert _names(files_of(folder)) == ["b"]
    assert (folder / "index.json").exists()


def test_age_counts_from_the_last_use(folder):
    assert _names(unneeded(folder, older_than=15, now=NOW)) == ["old", "a", "b"]
    assert _names(unneeded(folder, {folder / "0f" / "a.safetensors"}, older_than=15, now=NOW)) == ["old", "b"]


def test_a_budget_keeps_what_was_used_last(folder):
    size = next(files_of(folder)).size
    assert _names(unneeded(folder, budget=2 * size, now=NOW)) == ["old", "a"]
    assert _names(unneeded(folder, budget=2 * size - 1, now=NOW)) == ["old", "a", "b"]
    assert _names(unneeded(folder, budget=3 * size, now=NOW)) == ["old"]
    kept = {folder / "0f" / "a.safetensors"}
    assert _names(unneeded(folder, kept, budget=0, now=NOW)) == ["old", "b", "c"]


def test_damaged_entries_are_found(folder):
    assert damaged(folder) == []
    path = folder / "0f" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert _names(damaged(folder)) == ["b"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="none: no such folder"):
        damaged(tmp_path / "none")
