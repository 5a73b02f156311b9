"""``lightning-aqa score``: score any amount of audio by a trained model, stop and resume as one likes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lightning_aqa.cli.signatures import call_with_model, check_at_least
from lightning_aqa.utils.ray import import_ray
from lightning_aqa.utils.signals import Stopped, StopSignals

if TYPE_CHECKING:
    from lightning_aqa.batch import Axis
    from lightning_aqa.scoring.batching import ScoredClip
    from lightning_aqa.scoring.scorer import Scorer
    from lightning_aqa.scoring.shards import Numbered, Shard
    from lightning_aqa.scoring.writer import ScoreWriter, Stamp


class Written(NamedTuple):
    """Rows that were written, those of them with a note, and the signal that stopped it."""

    num_new: int
    num_notes: int
    stop: Stopped | None = None


SETTINGS = ("device", "dtype", "batch_seconds", "num_workers", "window_seconds", "resampler", "normalise", "level",
            "interval")  # fmt: skip
"""Options that are arguments of ``Scorer``."""


def score(
    checkpoint: str,
    inputs: list[str],
    *,
    output: str = "scores.csv",
    format: Literal["csv", "jsonl"] | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float64"] = "float32",
    batch_seconds: float | None = None,
    num_workers: int = 2,
    window_seconds: float | None = None,
    resampler: Literal["soxr", "sinc"] | None = None,
    normalise: Literal["keep", "rms"] | None = None,
    engine: Literal["local", "ray"] = "local",
    num_actors: int | None = None,
    shard_clips: int = 64,
    shard: str | None = None,
    retry: bool = False,
    level: Literal["keep", "rms"] | None = None,
    clip_to_scale: bool = False,
    ensemble: bool = False,
    interval: float | None = None,
    pairs: str | None = None,
    best_of: Literal["prompt", "folder"] | None = None,
    model_args: Sequence[str],
) -> int:
    """Score any amount of audio by a trained model, into one table.

    Run the same command again to resume where it was stopped. Options --model.NAME=VALUE change a config, as for fit,
    such as --model.head.checkpoint=X. Exit code: 0 if every row has scores, 1 if some have an error, 2 for a mistake in
    the command, 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        checkpoint: Run folder, checkpoint, published model (its folder, or ORG/MODEL of the hub, where wanted with @
            and a revision), or a config whose parts bring their own weights.
        inputs: Audio file, folder (with sub-folders), JSON lines (path; start, end, prompt, id where wanted), or - for
            standard input, with a path or a JSON object per line.
        output: Table to write, with a row per clip in the order of the inputs.
        format: Format of the table; by default what its name says, else csv.
        device: One of auto, cpu, cuda, cuda:1, mps.
        dtype: Type of the encoder's weights.
        batch_seconds: Most seconds of padded audio at once; 0 takes each window alone. By default 40 on a
            CPU, else 320.
        num_workers: Threads that decode ahead.
        window_seconds: Longest window; by default as in training.
        resampler: How audio is resampled; by default as in training.
        normalise: Whether audio is left as it is or divided by its root mean square; by default as in training.
        engine: Where to compute.
        num_actors: Workers of the engine ray, each with a copy of the model.
        shard_clips: Clips that are handed out together by the engine ray, and that --shard keeps together.
        shard: Shard of the input to score, k/n with k from 1 to n. Each part has a table of its own: that of 2/4 is
            scores.2-of-4.csv for --output=scores.csv; {shard} in the name puts 2-of-4 elsewhere.
        retry: Score the clips of rows with an error again, after the others.
        level: Old name of --normalise.
        clip_to_scale: Write scores beyond an end of their scale as that end; by default they are what the model says.
        ensemble: Take the mean of the models of a cross-validation's folds, in place of its refit.
        interval: Share of clips whose rating is to lie between low and high, .9 unless it is given; 0 leaves these out.
        pairs: Table of pairs (clip_a, clip_b, where wanted axis) whose clips are scored, of a model that was trained on
            pairs; the input is the folder that its paths start from. OUTPUT.pairs.csv has the probability of each
            winner.
        best_of: Also name the best clip of each prompt (of JSON lines) or folder, by the lower ends of its intervals:
            OUTPUT.best.csv, and OUTPUT.pairs.jsonl with a better and a worse clip of each, for preference optimisation.
        model_args: Options that change the model of a config.

    Returns:
        The exit code.
    """
    check_at_least({"shard_clips": 1, "num_actors": 1}, locals())
    _check_named(checkpoint, inputs, output)
    settings = {name: value for name, value in locals().items() if name in SETTINGS}
    if engine == "ray":
        import_ray()
    from lightning_aqa.data.pairs import NamedPair
    from lightning_aqa.scoring.best_of import write_best
    from lightning_aqa.scoring.inputs import STDIN, Item, check_inputs, read_items
    from lightning_aqa.scoring.load import load
    from lightning_aqa.scoring.pairs import check_link, read_pairs_to_score, write_probabilities
    from lightning_aqa.scoring.ray import score_on_ray
    from lightning_aqa.scoring.shards import Numbered, Shard
    from lightning_aqa.scoring.writer import ScoreWriter

    if pairs is not None and shard is not None:
        raise ValueError("--shard does not go with --pairs, whose clips may be in different parts; leave one out.")
    check_inputs(inputs)
    if best_of is not None:
        _check_best_of(best_of, inputs, {"pairs": pairs, "shard": shard})
    part = None if shard is None else Shard.parse(shard)
    positions = None if part is None else _positions(part, inputs, shard_clips)
    scorer = load(checkpoint, list(model_args), ensemble=ensemble, **settings)
    link, named, items = scorer.module.pair_link, list[NamedPair](), list[Item]()
    if pairs is not None:
        link = check_link(link, checkpoint)
        named, items = read_pairs_to_score(pairs, inputs, scorer.axes)
    stamp = _stamp(scorer, [checkpoint, *model_args, *["--ensemble"] * ensemble], positions, is_clipped=clip_to_scale)
    path = output if part is None else part.file(output)
    why_none = f"no intervals{' on some axes' * scorer.trust.has_ends}: {scorer.trust.why_none}."
    table = ScoreWriter(path, scorer.trust, stamp, format, retries=retry)
    numbered = Numbered(read_items(inputs) if pairs is None else items, table, shard_clips, positions)
    groups = scorer.score_items(numbered)
    if engine == "ray":
        groups = score_on_ray(numbered, checkpoint, list(model_args), settings | {"ensemble": ensemble}, num_actors)
    axes, has_all = scorer.axes, not scorer.trust.why_none
    del scorer
    start = time.monotonic()
    written = _write(groups, table, numbered, inputs if pairs is None else [STDIN], axes if clip_to_scale else None)
    code = _summary(table, numbered, written, time.monotonic() - start)
    if not has_all:
        print(why_none)
    if best_of is not None and written.stop is None:
        best, num_best, chosen, num_pairs, lost = write_best(table, read_items(inputs), best_of, axes)
        print(f"{best}: the best of {num_best} {best_of}s; {chosen}: {num_pairs} pairs of a better and a worse one.")
        if lost:
            more = f" and {len(lost) - 1} more" if lost[1:] else ""
            print(f"no best of {lost[0]}{more}: none of its clips has a score; the column error says why.")
    if link is not None and named and written.stop is None:
        found, count = write_probabilities(table, named, axes, link)
        print(f"{found}: {count} pair{'' if count == 1 else 's'} with the probability of each winner.")
    if part is not None and written.stop is None:
        print(f"once all {part.total} parts are done: {part.join_command(output, is_json=table.is_json)}")
    return code


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call_with_model(score, args)


def _positions(part: Shard, inputs: Sequence[str], shard_clips: int) -> range:
    """Return the positions of the clips of a part."""
    from lightning_aqa.scoring.inputs import count_items

    total = count_items(inputs)
    if total is None:
        raise ValueError("--shard cannot divide standard input, whose length is not known; give a list as JSON lines.")
    return part.positions(total, shard_clips)


def _stamp(scorer: Scorer, source: Sequence[str], positions: range | None, *, is_clipped: bool) -> Stamp:
    """Say what the scores of a table come from."""
    from lightning_aqa.scoring.load import fingerprint
    from lightning_aqa.scoring.writer import Stamp

    reading = scorer.reading
    shown = {"resampler": reading.resampler, "level": reading.normalise, "window_seconds": reading.window_seconds}
    part = {} if positions is None else {"clips": f"{positions.start}-{positions.stop}"}
    changed: dict[str, Any] = {"clip_to_scale": True} if is_clipped else {}
    changed |= {"interval": scorer.trust.share} if scorer.trust.has_ends else {}
    return Stamp(" ".join(source), {"dtype": scorer.dtype} | shown | part | changed, fingerprint(scorer))


def _check_best_of(best_of: Literal["prompt", "folder"], inputs: Sequence[str], beside: dict[str, str | None]) -> None:
    """Refuse what does not go with the best of each prompt, and inputs without any, before anything is scored."""
    from lightning_aqa.scoring.best_of import group_items
    from lightning_aqa.scoring.inputs import STDIN, read_items

    other = next((name for name, value in beside.items() if value is not None), None)
    if other is not None or STDIN in inputs:
        told = f"--{other}" if other else "standard input"
        raise ValueError(f"--best_of does not go with {told}: it reads all clips of the inputs again. Leave one out.")
    group_items(read_items(inputs), best_of)


def _check_named(checkpoint: str, inputs: Sequence[str], output: str) -> None:
    """Refuse empty texts, which a shell makes of a variable that is not set, and which would mean this folder."""
    for name, value in (("the checkpoint", checkpoint), ("--output", output), *(("an input", text) for text in inputs)):
        if not value.strip():
            raise ValueError(f"{name} is empty; name a file.")


def _write(
    groups: Iterator[list[ScoredClip]],
    output: ScoreWriter,
    numbered: Numbered,
    inputs: Sequence[str],
    axes: Sequence[Axis] | None,
) -> Written:
    """Write what comes, clipped to the scale of the axes that are given."""
    num_new = num_notes = 0
    try:
        with StopSignals(), _progress(inputs, numbered.positions) as show:
            for rows in groups:
                output.write(rows if axes is None else [_clipped(row, axes) for row in rows])
                num_new += len(rows)
                num_notes += sum(bool(row.note) for row in rows)
                show(num_new, numbered.num_known + numbered.num_repeated)
    except (Stopped, KeyboardInterrupt) as stop:
        return Written(num_new, num_notes, stop if isinstance(stop, Stopped) else Stopped(signal.SIGINT))
    finally:
        output.close()
    return Written(num_new, num_notes)


def _clipped(row: ScoredClip, axes: Sequence[Axis]) -> ScoredClip:
    from lightning_aqa.results.notes import clipped_to_scale

    return row._replace(scores=clipped_to_scale(row.scores, axes)) if row.scores else row


def _summary(output: ScoreWriter, numbered: Numbered, written: Written, seconds: float) -> int:
    """Say what was done; return the exit code."""
    if written.stop is not None:
        kept = f"the rows in {output.path} are kept, and the same command goes on from there"
        sys.stderr.write(f"stopped by {written.stop.name}; {kept}.\n")
        return written.stop.code
    num_new = written.num_new
    parts = [f"{num_new} clip{'' if num_new == 1 else 's'} done at {num_new / seconds:.1f} clips/s"]
    parts += [f"{numbered.num_known} were there before"] if numbered.num_known else []
    parts += [f"{numbered.num_repeated} came twice and were scored once"] if numbered.num_repeated else []
    parts += [f"{written.num_notes} {'has' if written.num_notes == 1 else 'have'} a note"] * bool(written.num_notes)
    parts += [f"{output.num_errors} row{' has' if output.num_errors == 1 else 's have'} an error"] * bool(
        output.num_errors
    )
    print(f"{output.path}: {'; '.join(parts)}.")
    return int(output.num_errors > 0)


@contextmanager
def _progress(inputs: Sequence[str], positions: range | None) -> Iterator[Callable[[int, int], None]]:
    """Show progress on a terminal; what is given takes the rows so far and the clips that need none."""
    if not sys.stderr.isatty():
        yield lambda num_done, num_skipped: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lightning_aqa.scoring.inputs import count_items

    speed = TextColumn("{task.fields[speed]}")
    columns = (BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn(elapsed_when_finished=True))
    total = count_items(inputs) if positions is None else len(positions)
    with Progress(TextColumn("scoring"), *columns, console=Console(stderr=True), transient=True) as progress:
        start = time.monotonic()
        task = progress.add_task("scoring", total=total, speed="")

        def show(num_done: int, num_skipped: int) -> None:
            left = None if total is None else total - num_skipped
            speed = f"{num_done / (time.monotonic() - start):.1f} clips/s"
            progress.update(task, completed=num_done, total=left, speed=speed)

        yield show
