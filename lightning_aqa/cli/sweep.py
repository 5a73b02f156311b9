"""``lightning-aqa sweep FILE``: run an ablation, here, on a Ray cluster or by W&B, and show its table."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning_aqa.cli.signatures import call, check_at_least
from lightning_aqa.results.files import SWEEP
from lightning_aqa.results.run_folder import DEFAULT_ROOT
from lightning_aqa.results.side_files import read_sweep_record
from lightning_aqa.sweep.config import Sweep, read_sweep
from lightning_aqa.sweep.trial import Trial, read_trials
from lightning_aqa.utils.args import split_extra, split_options
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.forks import WARM, warm_up
from lightning_aqa.utils.signals import Stopped, StopSignals

LAST_LINES = 5
PART = "--part"
"""Switch of the engines that share a sweep: such a one shows no table."""


class _Run(NamedTuple):
    """Settings of the engine; the fields are options of the subcommand."""

    engine: str
    workers: int | None
    num_trials: int | None
    seed: int
    retry: bool


def sweep(
    file: str,
    *,
    engine: Literal["local", "ray", "wandb"] = "local",
    workers: int | None = None,
    count: int | None = None,
    seed: int = 0,
    base: str | None = None,
    name: str | None = None,
    root: str = DEFAULT_ROOT,
    retry: bool = False,
    show: bool = False,
    report: bool = False,
    argv: Sequence[str],
) -> int:
    """Run an ablation: the trials of a W&B sweep file, with or without W&B.

    Arguments after -- are passed on to every trial. Finished trials are not run again, so the same command resumes a
    sweep that was stopped. docs/sweeps.md says more. Exit code: 0, 1 if trials failed or were killed, 130 after Ctrl-C,
    143 after SIGTERM.

    Args:
        file: W&B sweep file, such as experiments/ablations/qamro.yaml.
        engine: Who runs the trials.
        workers: Trials at a time; by default as many as there are GPUs, else cores, at most 8.
        count: How many trials at most, in place of the file's run_cap.
        seed: Seed of the draws of random and bayes.
        base: Config file in place of the one that the file's command starts from.
        name: Name of the sweep and its folder, in place of the file's.
        root: Folder of the sweep folder.
        retry: Run failed trials again too.
        show: Show the table of what has finished, run nothing.
        report: Make the HTML report at the end.
        argv: All arguments after the subcommand.

    Returns:
        The exit code.
    """
    check_at_least({"workers": 1, "count": 1}, locals())
    own, extra_args = split_extra(argv)
    made = read_sweep(file, base=base, name=name, extra_args=extra_args)
    folder = Path(root) / made.name
    if not show:
        _record(made, folder)
        try:
            with StopSignals():
                _run(made, folder, _Run(engine, workers, count, seed, retry), argv)
        except (KeyboardInterrupt, Stopped) as error:
            stop = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
            sys.stderr.write(f"\nstopped by {stop.name}; the same command goes on. {_states(read_trials(folder))}.\n")
            return stop.code
    return 0 if PART in own else _show(made, folder, report, _planned(made, folder, count, seed))


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    own, _ = split_extra(args)
    _, own = split_options(own, (), [PART])
    return call(sweep, own, argv=args)


def _record(sweep: Sweep, folder: Path) -> None:
    """Write what the sweep is; refuse a folder whose trials were run by another command.

    Raises:
        ValueError: If the folder holds another sweep.
    """
    path = folder / SWEEP
    command = {"command": sweep.command, "words": sweep.extra_args}
    before: dict[str, Any] = read_sweep_record(path, list(command)) if path.exists() else {}
    if before and any(before[key] != command[key] for key in command):
        ran, asked = (" ".join([*one["command"], *one["words"]]) for one in (before, command))
        raise ValueError(
            f"{folder} holds trials of another command ({ran}) than is asked for ({asked}); give the same arguments as "
            "before, or another --name."
        )
    folder.mkdir(parents=True, exist_ok=True)
    metric = sweep.metric._asdict() if sweep.metric else None
    described = {"description": str(sweep.text.get("description", "")), "parameters": sweep.text["parameters"]}
    record = {**before, "name": sweep.name, "file": sweep.file, "method": sweep.method, "metric": metric}
    with replacing(path) as file:
        file.write(json.dumps({**record, **described, **command}, indent=1) + "\n")


def _run(sweep: Sweep, folder: Path, options: _Run, args: Sequence[str]) -> None:
    if "early_terminate" in sweep.text and options.engine != "wandb":
        sys.stderr.write(f"{sweep.file}: early_terminate is left to --engine wandb; here trials run to their end.\n")
    devices = _devices()
    workers = options.workers or min(len(devices) or _cores(), 8)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(_cores() // workers, 1)))
    if options.engine == "wandb":
        from lightning_aqa.sweep.wandb_agent import run_by_wandb

        return run_by_wandb(sweep, folder, workers=workers, count=options.num_trials or sweep.run_cap)
    if options.engine == "ray":
        from lightning_aqa.sweep.ray import run_on_ray

        _, rest = split_options(args, ("--engine", "--workers"), ("--report",))
        return run_on_ray(rest, folder, workers=workers)
    return _run_here(sweep, folder, options, workers, devices)


def _run_here(sweep: Sweep, folder: Path, options: _Run, workers: int, devices: list[str]) -> None:
    from lightning_aqa.cli.main import main as run_fit
    from lightning_aqa.sweep.plan import make_plan
    from lightning_aqa.sweep.process import Program
    from lightning_aqa.sweep.progress import Progress
    from lightning_aqa.sweep.runner import LocalEngine

    plan = make_plan(sweep, folder, count=options.num_trials, seed=options.seed)
    program = Program(run_fit, _warm_up)
    engine = LocalEngine(sweep, plan, folder, program, workers=workers, retry=options.retry, devices=devices)
    print(f"{sweep.name}: {plan.total} trials, {workers} at a time, in {folder}", flush=True)
    engine.run(Progress(plan.total, workers))


def _warm_up() -> None:
    """Import what every trial needs, so that a fork has it: seconds of processor time per trial."""
    warm_up([*WARM, "lightning_aqa.cli.lightning_cli"])
    importlib.import_module("lightning_aqa.utils.components").import_parts()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """List the GPUs without starting CUDA, after which a process could not fork."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def _planned(sweep: Sweep, folder: Path, count: int | None, seed: int) -> list[Trial]:
    """List the trials that are known from the start, run or not; of draws without an end there are none."""
    from lightning_aqa.sweep.plan import make_plan

    is_known = sweep.method == "grid" or (sweep.method == "random" and (count or sweep.run_cap) is not None)
    return make_plan(sweep, folder, count=count, seed=seed).trials() if is_known else []


def _show(sweep: Sweep, folder: Path, has_report: bool, planned: Sequence[Trial]) -> int:
    """Print the table, what it lacks, what failed and why; make the report where it is asked for."""
    from lightning_aqa.results.runs import finished_runs
    from lightning_aqa.results.summary_tables import print_tables
    from lightning_aqa.sweep.progress import named_missing

    trials = read_trials(folder)
    failed = [t for t in trials if t.state == "failed" or (t.state == "killed" and t.exit_code is not None)]
    for trial in failed:
        ended = "failed" if trial.state == "failed" else "was killed" if trial.exit_code else "left no results"
        said = f", log in {trial.log}; it ended with:\n{last_lines(trial)}" if trial.log.exists() else "; see above\n"
        sys.stderr.write(f"{trial.id} {ended} ({trial.variant}){said}")
    finished = {trial.folder.name for trial in trials if trial.state == "finished"}
    runs = [run for run in finished_runs(folder) if run.name in finished]
    ran = [trial.parameters for trial in trials]  # W&B gives its trials ids of its own
    left = [trial for trial in planned if trial.parameters not in ran]
    print_tables(sweep.name, runs, folder, named_missing([*trials, *left]))
    if any(trial.state != "finished" for trial in trials):
        again = (
            " --retry runs the failed ones again."
            if any(trial.state == "failed" for trial in failed)
            else " The same command goes on."
        )
        print(f"{_states(trials)}.{again}")
    if has_report:
        from lightning_aqa.cli.report import report

        return report([str(folder)]) or int(bool(failed))
    return int(bool(failed))


def last_lines(trial: Trial) -> str:
    """Return the end of what a trial printed, indented."""
    lines = trial.log.read_text(encoding="utf-8", errors="replace").splitlines() if trial.log.exists() else []
    return "".join(f"    {line}\n" for line in lines[-LAST_LINES:])


def _states(trials: Sequence[Trial]) -> str:
    counts = {state: sum(trial.state == state for trial in trials) for state in ("finished", "failed", "killed")}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "nothing has finished"
