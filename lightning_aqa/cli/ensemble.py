"""``lightning-aqa ensemble``: several runs as one predictor, and what it gains over each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning_aqa.cli.signatures import call

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_aqa.metrics.resampling import Unit
    from lightning_aqa.results.comparison import ComparisonTable
    from lightning_aqa.results.runs import Run
    from lightning_aqa.training.ensemble_folder import Stacked


def ensemble(
    runs: list[str],
    *,
    output: str = "runs/ensemble",
    weights: Literal["mean", "ridge"] = "mean",
    split: str | None = None,
    unit: Literal["clip", "system", "prompt", "system+prompt"] | None = None,
    distill: bool = False,
    student: str | None = None,
    command: Sequence[str],
) -> int:
    """Make one predictor of several runs: their mean, and what it gains.

    The folder that it writes is taken by score and load as a checkpoint is, and by report as a run. Cross-validated
    runs are compared out of fold; the weights of a ridge are chosen anew for each fold, without its clips.

    Args:
        runs: Run folders, and folders of run folders.
        output: Folder to write, which must not be there.
        weights: Equal weights, or those of a ridge regression on predictions out of fold, pulled towards equal ones.
        split: Split to compare on; by default test, else dev.
        unit: What varies as one piece in intervals; by default as in the runs.
        distill: Also train one model on the scores of the ensemble, in ``distilled`` inside of the folder.
        student: Run whose encoder, head and settings that model takes; by default the one with the lowest MSE.
        command: Arguments of the command line, for the record.

    Returns:
        Exit code: 0, or that of the training of the one model.

    Raises:
        ValueError: If the runs have too little in common, or the folder is there.
    """
    folder = Path(output)
    if not output.strip() or folder.exists():
        raise ValueError(f"--output={output}: there is such a folder; name another, or move it away.")
    if student is not None and not distill:
        raise ValueError("--student is about the one model that --distill trains; give both, or none.")
    from lightning_aqa.results.comparison import compare_variants
    from lightning_aqa.results.console import make_console, next_command, print_results
    from lightning_aqa.results.files import DISTILLED
    from lightning_aqa.results.runs import find_runs
    from lightning_aqa.training.distillation import choose_student, compared, taught
    from lightning_aqa.training.ensemble_folder import stack, write_ensemble

    found, notes = find_runs(runs)
    stacked = stack(found, weights, split)
    chosen: Unit | None = unit or stacked.evidence.unit
    lesson = (choose_student(stacked, student), taught(stacked, weights)) if distill else None
    results = write_ensemble(folder, stacked, weights, command, chosen)
    told: list[str] = []
    if lesson:
        if code := _distill(folder, *lesson):
            return code
        stacked, near = compared(folder / DISTILLED, stacked)
        told = [
            f"distilled: one model, as {lesson[0].folder}; on {of.n} clips that it has not seen its {axis} has LCC "
            f"{of.LCC:.3f}, SRCC {of.SRCC:.3f} and RMSE {of.RMSE:.3g} with the ensemble."
            for axis, of in near.items()
        ]
    blocks = compare_variants(stacked.evidence, unit=chosen, most_clips_for_ktau=0, domains=[""])
    console = make_console()
    for line in [*notes, *stacked.notes]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    print_results(results, folder, [], len(stacked.table.ids), f"the {weights} of {len(found)} runs")
    for block in blocks:
        console.print(gains(block, stacked))
    console.print(
        "gain: ensemble minus run, with its 95 % interval, which holds for all of these at once; paired by "
        f"{chosen or 'clips, systems at system level'}.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for line in [*told, next_command(folder / DISTILLED if lesson else folder)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _distill(folder: Path, student: Run, rows: Sequence[tuple[str, str, str, float]]) -> int:
    """Train one model by the config of a run, on the scores of the ensemble; return the exit code."""
    from lightning_aqa.cli import lightning_cli
    from lightning_aqa.data.taught import write_teacher
    from lightning_aqa.results.files import CONFIG, DISTILLED
    from lightning_aqa.training.distillation import TEACHER

    teacher = folder / TEACHER
    write_teacher(teacher, rows)
    words = ["fit", "--config", str(student.folder / CONFIG), f"--data.teacher={teacher}", "--ckpt_path=null"]
    words += [f"--trainer.default_root_dir={folder}", f"--name={DISTILLED}"]
    has_folds = any(row[0] for row in rows)
    words += ["--refit=false"] if has_folds and not any(row[0] == "all" for row in rows) else []
    return lightning_cli.main(words)


def gains(block: ComparisonTable, stacked: Stacked) -> Table:
    """Lay out the metrics of each run and what the ensemble has more, per axis.

    Args:
        block: The comparison, the ensemble first.
        stacked: The ensemble.
    """
    from rich.markup import escape
    from rich.table import Table

    axes = list(dict.fromkeys(axis for axis, _ in block.columns))
    table = Table("level", "axis", "run", "weight", "SRCC", "gain", "MSE", "gain", box=None, pad_edge=False)
    for axis in axes:
        for v, variant in enumerate(stacked.evidence.variants):
            known = list(stacked.evidence.axes)
            is_member = 0 < v <= len(stacked.weights) and axis in known
            weight = f"{stacked.weights[v - 1, known.index(axis)]:.2f}" if is_member else ""
            cells = [part for metric in ("SRCC", "MSE") for part in _cells(block, v, (axis, metric))]
            table.add_row(block.level, escape(axis), escape(variant.name), weight, *cells)
    return table


def _cells(block: ComparisonTable, v: int, column: tuple[str, str]) -> tuple[str, str]:
    cell = block.rows[v][column]
    value = "-" if math.isnan(cell.value) else f"{cell.value:.3f}"
    if cell.difference is None:
        return value, ""
    gain = cell.difference.turned()
    ends = "" if math.isnan(gain.interval.low) else f" [{gain.interval.low:+.3f}, {gain.interval.high:+.3f}]"
    return value, "" if math.isnan(gain.value) else f"{gain.value + 0.0:+.3f}{ends}"


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(ensemble, args, command=["ensemble", *args])
