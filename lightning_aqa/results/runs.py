"""Read run folders and folders of them: predictions.csv, and beside it what else a run may have left."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.preferences import JudgedPair
from lightning_aqa.results.facts import read_facts
from lightning_aqa.results.files import CONFIG, HELD_OUT, HISTORY, OBSERVATIONS, PAIRS, PREDICTIONS, RESULTS, TRIAL
from lightning_aqa.results.history import read_history
from lightning_aqa.results.naming import is_seed, without_seed_suffix, without_seeds
from lightning_aqa.results.observations import Observed, read_observations
from lightning_aqa.results.pairs import read_judged
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.results.side_files import Numbers, if_whole, read_config, read_results, read_trial
from lightning_aqa.utils.documents import parse_yaml
from lightning_aqa.utils.renamed import with_new_names

TRIED = re.compile(r"^(model|objectives|data|trainer)(\.|$)|^(monitor|patience|folder)$")
"""Settings that say what was tried. All else says where and how a run was made, flags that are added later too."""

CIRCUMSTANCES = re.compile(
    r"^(trainer\.(default_root_dir|logger|enable_.*|devices|accelerator)(\..*)?"
    r"|data\.(cache|num_workers|eval_batch_size|check))$"
)
"""What of these sections does too."""


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        folder: Where it is.
        splits: Predictions per split.
        axes: Names of the axes.
        config_text: Its ``config.yaml``; empty where there is none.
        trial: Its ``trial.json``; empty where it is not a trial of a sweep.
    """

    folder: Path
    splits: Mapping[str, Predictions]
    axes: Sequence[str]
    config_text: str = ""
    trial: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole config under dotted names, without ``class_path`` and ``init_args``."""
        return with_new_names(dict(flat(parse_yaml(self.config_text) or {}))) if self.config_text else {}

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that the sweep set; empty outside of one."""
        return dict(self.trial.get("parameters", {}))

    @property
    def seed(self) -> tuple[tuple[str, str], ...]:
        """Every seed of the run."""
        return tuple((key, str(value)) for key, value in sorted(self._settings.items()) if is_seed(key))

    @property
    def tried(self) -> tuple[tuple[str, str], ...]:
        """Settings that runs of one variant have in common: all settings but seeds and circumstances."""
        kept = {k: v for k, v in without_seeds(self._settings).items() if self._is_tried(k)}
        return tuple((key, str(value)) for key, value in sorted(kept.items()))

    def _is_tried(self, key: str) -> bool:
        """Tell whether a setting says what was tried: of a sweep without configs each parameter does."""
        return not self.config or bool(TRIED.match(key) and not CIRCUMSTANCES.match(key))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts of the run, from ``run.json``; empty for a run of an earlier version."""
        return read_facts(self.folder)

    def folds_of(self, split: str) -> int:
        """Return the number of folds that the predictions of a split come from; 0 without a cross-validation."""
        count, of_folds = self.facts.get("folds", 0), self.facts.get("folds_split", HELD_OUT)
        return count if isinstance(count, int) and count > 1 and split == of_folds else 0

    @property
    def _settings(self) -> dict[str, Any]:
        plain = without_seed_suffix(self.name)
        return self.config or self.parameters or {"folder": plain, "seed": self.name.removeprefix(plain)}

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Values that were logged after each epoch; of cross-validation nothing, since each fold has its own."""
        return if_whole(self.folder / HISTORY, read_history) or []

    @cached_property
    def observed(self) -> Observed | None:
        """Embeddings and frame scores of some clips; None where there are none."""
        return if_whole(self.folder / OBSERVATIONS, read_observations)

    @cached_property
    def results(self) -> Numbers:
        """The recorded numbers by split, level, axis and metric; empty where there are none."""
        return if_whole(self.folder / RESULTS, read_results) or {}

    @cached_property
    def pairs(self) -> dict[str, list[JudgedPair]]:
        """The judged pairs by split, with their scores; empty where there are none."""
        return if_whole(self.folder / PAIRS, read_judged) or {}

    @cached_property
    def fold_results(self) -> list[Mapping[str, Mapping[str, Mapping[str, float]]]]:
        """The recorded numbers of each fold's held-out clips; none of a run that is no cross-validation."""
        paths = sorted(self.folder.glob(f"fold*/{RESULTS}"), key=lambda path: _natural(path.parent.name))
        return [found[HELD_OUT] for path in paths if HELD_OUT in (found := if_whole(path, read_results) or {})]

    @property
    def command(self) -> str:
        """The command that makes the run again."""
        message = self.trial.get("command")
        if message:
            return message if isinstance(message, str) else shlex.join(map(str, message))
        config = shlex.quote(str(self.folder / CONFIG))
        return f"python -m lightning_aqa fit --config {config}" if self.config_text else ""


def flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts under dotted names; a part is named by the last word of its class.

    Example:
        >>> list(flat({"head": {"class_path": "a.MLP", "init_args": {"width": 3}}}))
        [('head', 'MLP'), ('head.width', 3)]
    """
    if not isinstance(tree, dict) or not tree:
        yield name, tree
        return
    for key, value in tree.items():
        if key == "class_path":
            yield name, str(value).rsplit(".", 1)[-1]
        elif key == "init_args":
            yield from flat(value, name) if value else ()
        else:
            yield from flat(value, f"{name}.{key}" if name else str(key))


def find_runs(paths: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Read every run folder that is named, or lies in a folder that is named.

    Args:
        paths: Run folders, and folders of run folders such as sweeps.

    Returns:
        The runs in the order of their paths, each once, and notes on folders that hold no predictions yet.

    Raises:
        ValueError: If a path does not exist or leads to no run.
    """
    folders: dict[Path, Path] = {}
    notes: list[str] = []
    for path in map(Path, paths):
        found, unfinished = _folders(path)
        notes += unfinished
        if not found:
            raise ValueError(
                f"{path}: no {PREDICTIONS} in it, nor in a folder of it; give run folders, or a folder of run folders."
            )
        folders |= {folder.resolve(): folder for folder in found}
    return [read_run(folder) for folder in folders.values()], notes


def finished_runs(folder: Path) -> list[Run]:
    """Read the run folders in a folder that have finished; there may be none yet."""
    return [read_run(found) for found in _folders(folder)[0]] if folder.is_dir() else []


def _folders(path: Path) -> tuple[list[Path], list[str]]:
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; give run folders, or a folder of run folders.")
    if (path / PREDICTIONS).exists():
        return [path], []
    inside = sorted((child for child in path.iterdir() if child.is_dir()), key=lambda child: _natural(child.name))
    found = [child for child in inside if (child / PREDICTIONS).exists() and _state(child) == "finished"]
    begun = [child for child in inside if child not in found and _is_begun(child)]
    names = ", ".join(child.name for child in begun[:8]) + (", …" if len(begun) > 8 else "")
    return found, [f"{path}: {len(begun)} not finished, left out: {names}"] if begun else []


def _is_begun(folder: Path) -> bool:
    return (folder / TRIAL).exists() or (folder / CONFIG).exists()


def _state(folder: Path) -> str:
    """State of a trial, empty where its record is damaged; a run outside of a sweep that has predictions has ended."""
    trial = if_whole(folder / TRIAL, read_trial) if (folder / TRIAL).exists() else {}
    return "" if trial is None else str(trial.get("state", "finished"))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which run-2 comes before run-10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def read_run(folder: Path) -> Run:
    """Read one run folder.

    Raises:
        ValueError: If its predictions cannot be read.
    """
    splits, axes = read_predictions(folder / PREDICTIONS)
    config_text, _ = if_whole(folder / CONFIG, read_config) or ("", {})
    return Run(folder, dict(splits), axes, config_text, (if_whole(folder / TRIAL, read_trial) or {}))


def choose_split(runs: Iterable[Run], wanted: str | None) -> str:
    """Return the split to report: the wanted one, or test, else dev, else the last that is rated in every run.

    Raises:
        ValueError: If no run, or not every run, has such a split.
    """
    runs = list(runs)
    has = [
        [name for name, table in run.splits.items() if (table.targets == table.targets).any() or name in run.pairs]
        for run in runs
    ]
    for run, names in zip(runs, has, strict=True):
        if not names:
            raise ValueError(
                f"{run.folder / PREDICTIONS}: no clip in it is rated, so its scores say nothing of the model."
            )
    common = [name for name in has[0] if all(name in names for names in has)]
    if wanted is not None and wanted not in common:
        raise ValueError(f"--split={wanted}: not rated in every run; splits that are: {', '.join(common) or 'none'}.")
    if not common:
        raise ValueError("no split is rated in every one of these runs; report them one by one.")
    usual = [name for name in ("test", "eval", "dev") if name in common]
    return wanted or (usual[0] if usual else common[-1])
