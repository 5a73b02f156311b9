"""``python -m lightning_aqa sweep FILE``: run an ablation, here, on a Ray cluster or by W&B, and show its table."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning_aqa.cli.subcommands import VERBS
from lightning_aqa.results.run_folder import DEFAULT_ROOT
from lightning_aqa.sweep.config import Sweep, read_sweep
from lightning_aqa.sweep.trial import SWEEP, Trial, read_trials
from lightning_aqa.utils.files import replacing

LAST_LINES = 5
STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Arguments(argparse.ArgumentParser):
    """argparse with one line for a mistake."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise ValueError(f"sweep: {message}.")


def parser() -> argparse.ArgumentParser:
    """Make the parser of the verb."""
    made = Arguments(
        "python -m lightning_aqa sweep",
        description=VERBS["sweep"].help,
        epilog="Words after -- are passed on to every trial. docs/sweeps.md says more.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("file", help="a W&B sweep file, such as experiments/ablations/qamro.yaml")
    add("--engine", choices=("local", "ray", "wandb"), default="local", help="who runs the trials (local)")
    add("--workers", type=_number, help="trials at a time; as many as there are GPUs, else cores, at most 8")
    add("--count", type=_number, help="how many trials at most, in place of the file's run_cap")
    add("--seed", type=int, default=0, help="seed of the draws of random and bayes (0)")
    add("--base", metavar="CONFIG", help="config file in place of the one that the file's command starts from")
    add("--name", help="name of the sweep and its folder, in place of the file's")
    add("--root", default=DEFAULT_ROOT, help=f"where the sweep folder is ({DEFAULT_ROOT})")
    add("--retry", action="store_true", help="run failed trials again too")
    add("--show", action="store_true", help="show the table of what has finished, run nothing")
    add("--report", action="store_true", help="make the HTML report at the end")
    add("--part", action="store_true", help=argparse.SUPPRESS)  # one of several engines: it shows no table
    return made


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, got {text!r}")
    return int(text)


def main(args: Sequence[str] | None = None) -> int:
    """Run a sweep, or what is left of it, and show its table.

    Args:
        args: Command-line words from ``sweep`` on; None takes those of the process.

    Returns:
        Exit code: 0, 1 if trials failed or were killed from outside, 130 after Ctrl-C.
    """
    words = list(args if args is not None else sys.argv[1:])[1:]
    own, _, passed = _divide(words)
    options = parser().parse_args(own)
    sweep = read_sweep(options.file, base=options.base, name=options.name, words=passed)
    folder = Path(options.root) / sweep.name
    if not options.show:
        _record(sweep, folder)
        try:
            _run(sweep, folder, options, words)
        except KeyboardInterrupt:
            sys.stderr.write(f"\nstopped; the same command goes on. {_states(read_trials(folder))}\n")
            return STOPPED
    return 0 if options.part else _show(sweep, folder, options)


def _divide(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Divide words at the first ``--``."""
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), "--", list(words[at + 1 :])


def _record(sweep: Sweep, folder: Path) -> None:
    """Write what the sweep is; refuse a folder whose trials were run by another command.

    Raises:
        ValueError: If the folder holds another sweep.
    """
    path = folder / SWEEP
    command = {"command": sweep.command, "words": sweep.words}
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if before and any(before[key] != command[key] for key in command):
        ran, asked = (" ".join([*one["command"], *one["words"]]) for one in (before, command))
        raise ValueError(
            f"{folder} holds trials of another command ({ran}) than is asked for ({asked}); give the same words as "
            "before, or another --name."
        )
    folder.mkdir(parents=True, exist_ok=True)
    metric = sweep.metric._asdict() if sweep.metric else None
    described = {"description": str(sweep.text.get("description", "")), "parameters": sweep.text["parameters"]}
    record = {**before, "name": sweep.name, "file": sweep.file, "method": sweep.method, "metric": metric}
    with replacing(path) as file:
        file.write(json.dumps({**record, **described, **command}, indent=1) + "\n")


def _run(sweep: Sweep, folder: Path, options: argparse.Namespace, words: Sequence[str]) -> None:
    if "early_terminate" in sweep.text and options.engine != "wandb":
        sys.stderr.write(f"{sweep.file}: early_terminate is left to --engine wandb; here trials run to their end.\n")
    devices = _devices()
    workers = options.workers or min(len(devices) or _cores(), 8)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(_cores() // workers, 1)))
    signal.signal(signal.SIGTERM, _interrupt)
    if options.engine == "wandb":
        from lightning_aqa.sweep.wandb_agent import run_by_wandb

        return run_by_wandb(sweep, folder, workers=workers, count=options.count or sweep.run_cap)
    if options.engine == "ray":
        from lightning_aqa.sweep.ray import run_on_ray

        return run_on_ray(without(words, ("--engine", "--workers"), ("--report",)), folder, workers=workers)
    return _run_here(sweep, folder, options, workers, devices)


def _run_here(sweep: Sweep, folder: Path, options: argparse.Namespace, workers: int, devices: list[str]) -> None:
    from lightning_aqa.sweep.plan import make_plan
    from lightning_aqa.sweep.progress import Progress
    from lightning_aqa.sweep.runner import LocalEngine

    plan = make_plan(sweep, folder, count=options.count, seed=options.seed)
    engine = LocalEngine(sweep, plan, folder, workers=workers, retry=options.retry, devices=devices)
    print(f"{sweep.name}: {plan.total} trials, {workers} at a time, in {folder}", flush=True)
    engine.run(Progress(plan.total, workers))


def without(words: Sequence[str], valued: Sequence[str], plain: Sequence[str]) -> list[str]:
    """Leave options out of words, up to ``--``; those that take a value with it.

    Example:
        >>> without(["a.yaml", "--engine", "ray", "--retry", "--", "--engine"], ["--engine"], [])
        ['a.yaml', '--retry', '--', '--engine']
    """
    own, dashes, passed = _divide(words)
    kept: list[str] = []
    for number, word in enumerate(own):
        is_value = number > 0 and own[number - 1] in valued
        if not is_value and word.split("=")[0] not in (*valued, *plain):
            kept.append(word)
    return [*kept, dashes, *passed] if passed else kept


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """List the GPUs without starting CUDA, after which a process could not fork."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def _show(sweep: Sweep, folder: Path, options: argparse.Namespace) -> int:
    """Print the table, what failed and why; make the report where it is asked for."""
    from lightning_aqa.sweep.tables import print_tables

    trials = read_trials(folder)
    failed = [t for t in trials if t.state == "failed" or (t.state == "killed" and (t.exit_code or 0) < 0)]
    for trial in failed:
        ended = "failed" if trial.state == "failed" else "was killed"
        told = f"{trial.id} {ended} ({trial.variant}), log in {trial.log}; it ended with:\n{last_lines(trial)}"
        sys.stderr.write(told)
    print_tables(sweep.name, trials, folder)
    unfinished = [trial for trial in trials if trial.state != "finished"]
    if unfinished:
        again = (
            " --retry runs the failed ones again."
            if any(trial.state == "failed" for trial in failed)
            else " The same command goes on."
        )
        print(f"{_states(trials)}.{again}")
    if options.report:
        from lightning_aqa.cli import subcommands

        return subcommands.main(["report", str(folder)]) or int(bool(failed))
    return int(bool(failed))


def last_lines(trial: Trial) -> str:
    """Return the end of what a trial printed, indented."""
    lines = trial.log.read_text(encoding="utf-8", errors="replace").splitlines() if trial.log.exists() else []
    return "".join(f"    {line}\n" for line in lines[-LAST_LINES:])


def _states(trials: Sequence[Trial]) -> str:
    counts = {state: sum(trial.state == state for trial in trials) for state in ("finished", "failed", "killed")}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "nothing has finished"
