"""A trial: its parameters, the name that follows from them, and the record in its run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.results.files import TRIAL, TRIAL_LOG
from lightning_aqa.results.naming import is_seed, short_names, tell_apart, without_seeds
from lightning_aqa.results.run_folder import has_results
from lightning_aqa.results.side_files import if_whole, read_trial
from lightning_aqa.utils.files import DISK_FULL, replacing
from lightning_aqa.utils.signals import SIGNALS, exit_code

OWN = ["python", "-m", "lightning_aqa"]
"""Our own program, as it stands in records."""

Parameters = dict[str, Any]


class Trial(NamedTuple):
    """The record of a trial, ``trial.json`` in its run folder.

    Args:
        folder: The run folder.
        id: Name that follows from the sweep's name and the parameters; name of the folder and of the W&B run.
        sweep: Name of the sweep.
        number: Place in the expansion of the sweep.
        parameters: Its parameters.
        variant: Readable name of the parameters that vary, seeds left out; the same for all seeds of a variant.
        state: ``running``, ``finished``, ``failed`` or ``killed``; empty for one that never ran.
        start: When it started, in ISO 8601.
        end: When it ended; None while it runs.
        seconds: How long its last attempt took.
        exit_code: Exit code of its command; None while it runs.
        command: The command as one could type it.
        attempts: How often it was started.
        host: Name of the machine.
        pid: Number of the process.
    """

    folder: Path
    id: str
    sweep: str
    number: int
    parameters: Parameters
    variant: str
    state: str = ""
    start: str | None = None
    end: str | None = None
    seconds: float | None = None
    exit_code: int | None = None
    command: Sequence[str] = ()
    attempts: int = 0
    host: str = ""
    pid: int | None = None

    @property
    def log(self) -> Path:
        """File with all that the trial printed."""
        return self.folder / TRIAL_LOG

    def write(self) -> None:
        """Write the record, all at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / TRIAL) as file:
            file.write(json.dumps({k: v for k, v in self._asdict().items() if k != "folder"}, indent=1) + "\n")

    def read(self) -> Trial:
        """Return the trial as its folder records it; itself where nothing is, or it is damaged."""
        try:
            recorded = read_trial(self.folder / TRIAL)
        except ValueError:
            return self
        # Place and name are those of the sweep that is run now.
        known = {"folder", "id", "sweep", "number", "parameters", "variant"}
        return self._replace(**{k: v for k, v in recorded.items() if k in self._fields and k not in known})._as_is()

    def ended(self, code: int) -> Trial:
        """Return the trial as it ended with an exit code: killed where a signal or a full disk has stopped it."""
        stopped = {*map(exit_code, SIGNALS), DISK_FULL}
        state = "finished" if code == 0 else "killed" if code < 0 or code in stopped else "failed"
        return self._replace(state=state, exit_code=code)._as_is()

    def _as_is(self) -> Trial:
        """Call it killed where it is said to be finished and its results are not there, so that it is run again."""
        is_without = self.state == "finished" and leaves_results(self.command) and not has_results(self.folder)
        return self._replace(state="killed") if is_without else self


def leaves_results(command: Sequence[str]) -> bool:
    """Tell whether the recorded command of a trial is one of ours that ends with results; others are not known.

    Example:
        >>> leaves_results(["python", "-m", "lightning_aqa", "fit"]), leaves_results(["sh", "run.sh"])
        (True, False)
    """
    is_own = list(command[:3]) == OWN and not any("fast_dev_run" in arg for arg in command)  # which evaluates nothing
    return is_own and bool({"fit", "validate", "test"} & set(command[3:]))


def read_trials(folder: str | Path) -> list[Trial]:
    """Read the trials that a sweep folder holds, by their place in the expansion.

    Variants of one name with other parameters, such as a constant that was edited in between, are told apart.
    """
    found = []
    for path in Path(folder).glob(f"*/{TRIAL}"):
        trial = if_whole(path, _read)
        if trial is not None:
            found.append(trial)
    return told_apart(sorted(found, key=lambda trial: (trial.number, trial.id)))


def _read(path: Path) -> Trial:
    recorded = read_trial(path, needed=("id", "sweep", "number", "parameters", "variant"))
    return Trial(path.parent, **{k: v for k, v in recorded.items() if k in Trial._fields and k != "folder"})._as_is()


def told_apart(trials: Sequence[Trial]) -> list[Trial]:
    """Add to the names of variants what tells those of one name apart; seeds do not.

    Example:
        >>> one, two = (Trial(Path(), "", "", 0, {"epochs": n, "seed_everything": n}, "base") for n in (5, 50))
        >>> [trial.variant for trial in told_apart([one, two])]
        ['base (epochs=5)', 'base (epochs=50)']
    """
    names = tell_apart([trial.variant for trial in trials], [without_seeds(trial.parameters) for trial in trials])
    return [trial._replace(variant=name) for trial, name in zip(trials, names, strict=True)]


def trial_id(sweep: str, parameters: Mapping[str, Any]) -> str:
    """Name a trial by the sweep and its parameters, whatever their order.

    Example:
        >>> trial_id("qamro", {"a": 1, "b": 2}) == trial_id("qamro", {"b": 2, "a": 1})
        True
    """
    text = json.dumps([sweep, parameters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def variant_name(parameters: Mapping[str, Any], varying: Sequence[str]) -> str:
    """Name a trial by the parameters that vary in its sweep, seeds left out.

    Config files go by their stem, other parameters by as much of the dotted key as tells them apart.

    Args:
        parameters: Parameters of the trial.
        varying: Keys of those that vary.

    Example:
        >>> variant_name({"variant": "a/b.yaml", "seed_everything": 0}, ["variant", "seed_everything"])
        'b'
        >>> variant_name({"objectives.qamro.margin_scale": 0.1, "x.lr": 1}, ["objectives.qamro.margin_scale"])
        'margin_scale=0.1'
    """
    names = [name for name in varying if not is_seed(name)]
    short = short_names(names)
    return ", ".join(_shown(short[name], parameters[name]) for name in names if name in parameters) or "base"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return Path(value).stem
    if isinstance(value, float):
        return f"{name}={value:.6g}"
    return f"{name}={value.rsplit('.', 1)[-1] if isinstance(value, str) else json.dumps(value)}"
