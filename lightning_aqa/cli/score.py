"""``python -m lightning_aqa score``: score any amount of audio by a trained model, stop and go on as one likes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from lightning_aqa.cli.subcommands import VERBS
from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import check_inputs, count_items, read_items
from lightning_aqa.scoring.load import fingerprint, load
from lightning_aqa.scoring.ray_engine import score_on_ray
from lightning_aqa.scoring.scorer import BATCH_SECONDS, DTYPES, NUM_WORKERS
from lightning_aqa.scoring.shards import SHARD_CLIPS, Numbered
from lightning_aqa.scoring.writer import ScoreWriter, Stamp
from lightning_aqa.utils.ray import import_ray

NOTE = (
    "Run the same command again to go on where it was stopped. Exit code: 0 if every row has scores, 1 if some have an "
    "error, 2 for a mistake in the command."
)
SETTINGS = ("device", "dtype", "batch_seconds", "num_workers", "window_seconds", "resampler", "level")
"""Options that are arguments of ``Scorer``."""


class _Parser(argparse.ArgumentParser):
    """Tell a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m lightning_aqa score", description=VERBS["score"].help, epilog=NOTE, allow_abbrev=False)
    add = parser.add_argument
    add("checkpoint", help="RUN_FOLDER/checkpoints/best.ckpt, or a config whose parts bring their own weights.")
    add("inputs", nargs="+", metavar="INPUT", help=_HELP["inputs"])
    add("--output", required=True, help="Table to write: a row per clip, in the order of the inputs.")
    add("--format", choices=("csv", "jsonl"), help="Of the table; by default what its name says, else csv.")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps. Default: %(default)s.")
    add("--dtype", default="float32", choices=list(DTYPES), help="Type of the encoder's weights. Default: %(default)s.")
    add("--batch_seconds", type=float, help=_HELP["batch_seconds"])
    add("--num_workers", type=int, default=NUM_WORKERS, help="Threads that decode ahead. Default: %(default)s.")
    add("--window_seconds", type=float, help="Longest window; by default as in training.")
    add("--resampler", choices=("soxr", "sinc"), help="By default as in training.")
    add("--level", choices=("keep", "rms"), help="By default as in training.")
    add("--engine", default="local", choices=("local", "ray"), help="Where to compute. Default: %(default)s.")
    add("--num_actors", type=int, help="Workers of the engine ray, each with a copy of the model.")
    add("--shard_clips", type=int, default=SHARD_CLIPS, help=_HELP["shard_clips"])
    add("--retry", action="store_true", help="Score the clips of rows with an error again, after the others.")
    add("--model.NAME", dest="unused", metavar="VALUE", help="Changes a config, as for fit: --model.head.checkpoint=X.")
    return parser


_HELP = {
    "inputs": "Audio file, folder (with sub-folders), JSON lines (path; start, end, prompt, id where wanted), or - for "
    "standard input, with a path or a JSON object per line.",
    "batch_seconds": f"Most seconds of padded audio at once; 0 takes each window alone. Default: "
    f"{BATCH_SECONDS['cpu']:g} on a CPU, else {BATCH_SECONDS['other']:g}.",
    "shard_clips": "Clips that are handed out together by the engine ray. Default: %(default)s.",
}


def main(args: Sequence[str] | None = None) -> int:
    """Score the inputs.

    Args:
        args: Command-line words from ``score`` on; None takes those of the process.

    Returns:
        Exit code: 0, or 1 if some rows have an error; 130 after Ctrl-C.
    """
    options, model = _options(list(args)[1:] if args is not None else sys.argv[2:])
    check_inputs(options.inputs)
    settings = {name: getattr(options, name) for name in SETTINGS}
    scorer = load(options.checkpoint, model, **settings)
    shown = {name: getattr(scorer.reading, name) for name in ("resampler", "level", "window_seconds")}
    stamp = Stamp(" ".join([options.checkpoint, *model]), {"dtype": scorer.dtype} | shown, fingerprint(scorer))
    axes = [axis.name for axis in scorer.axes]
    output = ScoreWriter(options.output, axes, stamp, options.format, retries=options.retry)
    numbered = Numbered(read_items(options.inputs), output, options.shard_clips)
    groups = scorer.score_items(numbered)
    if options.engine == "ray":
        del scorer
        groups = score_on_ray(numbered, options.checkpoint, model, settings, options.num_actors)
    start = time.monotonic()
    num_new = _write(groups, output, numbered, options.inputs)
    return _summary(output, numbered, num_new, time.monotonic() - start)


def _options(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the words; those that change the model of a config are apart."""
    model = [word for word in words if word.startswith("--model.")]
    options = _parser().parse_intermixed_args([word for word in words if word not in model])
    for name in ("shard_clips", "num_actors"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if options.engine == "ray":
        import_ray()
    return options, model


def _write(
    groups: Iterator[list[ScoredClip]], output: ScoreWriter, numbered: Numbered, inputs: Sequence[str]
) -> int | None:
    """Write what comes; return the number of rows, or None where the user stops it."""
    num_new = 0
    try:
        with _progress(inputs) as show:
            for rows in groups:
                output.write(rows)
                num_new += len(rows)
                show(num_new, numbered.num_known + numbered.num_repeated)
    except KeyboardInterrupt:
        return None
    finally:
        output.close()
    return num_new


def _summary(output: ScoreWriter, numbered: Numbered, num_new: int | None, seconds: float) -> int:
    """Say what was done; return the exit code."""
    if num_new is None:
        sys.stderr.write(f"stopped; the rows in {output.path} are kept, and the same command goes on from there.\n")
        return 130
    parts = [f"{num_new} clip{'' if num_new == 1 else 's'} done at {num_new / seconds:.1f} clips/s"]
    parts += [f"{numbered.num_known} were there before"] if numbered.num_known else []
    parts += [f"{numbered.num_repeated} came twice and were scored once"] if numbered.num_repeated else []
    parts += [f"{output.num_errors} row{' has' if output.num_errors == 1 else 's have'} an error"] * bool(
        output.num_errors
    )
    print(f"{output.path}: {'; '.join(parts)}.")
    return int(output.num_errors > 0)


class _Speed(ProgressColumn):
    """Clips per second since the start."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:.1f} clips/s" if task.elapsed else "")


@contextmanager
def _progress(inputs: Sequence[str]) -> Iterator[Callable[[int, int], None]]:
    """Show progress on a terminal; what is given takes the rows so far and the clips that need none."""
    if not sys.stderr.isatty():
        yield lambda num_done, num_skipped: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn(elapsed_when_finished=True))
    total = count_items(inputs)
    with (
        Progress(TextColumn("scoring"), *columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("scoring", total=total)

        def show(num_done: int, num_skipped: int) -> None:
            progress.update(task, completed=num_done, total=None if total is None else total - num_skipped)

        yield show
