"""``lightning-aqa inspect``: look at a table of ratings and its audio before training; nothing is written."""

from __future__ import annotations

import inspect as signatures
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from lightning_aqa.cli.signatures import call
from lightning_aqa.utils.text import did_you_mean, shortened

if TYPE_CHECKING:
    from lightning_aqa.data.guesses import GuessedAxis
    from lightning_aqa.data.inspection import Inspection, SplitPlan, TableColumns
    from lightning_aqa.data.manifest import Problem

OWN = ("audio_root", "columns", "axes", "layout", "on_bad_clip", "check", "folds", "split_by")
"""Options of ``fit`` under ``--data.`` that change what is looked at."""
WORDS = {"file": "audio file", "id": "clip id", "start": "start in the file, s", "end": "end in the file, s",
         "axis": "name of the axis", "score": "score on that axis", "split": "split or fold"}  # fmt: skip
MOST_PROBLEMS = 3


def inspect(
    table: str,
    root: list[str] = [],  # noqa: B006  # as jsonargparse wants a positional argument that may be absent
    *,
    audio_root: str | None = None,
    columns: dict[str, str] | None = None,
    axes: dict[str, list[float]] | None = None,
    layout: Literal["auto", "long", "wide"] = "auto",
    on_bad_clip: Literal["error", "skip"] = "error",
    check: Literal["full", "header"] = "full",
    folds: int | None = None,
    split_by: Literal["clip", "system", "prompt"] = "clip",
    fit_args: Sequence[str],
) -> int:
    """Look at a table of ratings and its audio before training: columns, axes, splits, files; nothing is written.

    Options are spelled as in fit, with or without data: --data.audio_root=clips or --audio_root=clips. Exit code: 0 if
    a fit would run, 1 if something has to be mended first, 2 for a mistake in the command.

    Args:
        table: Table of ratings: CSV, TSV, JSON lines or JSON array, with a row per clip or per rating.
        root: Folder that relative paths start from, as --data.audio_root.
        audio_root: Folder that relative paths start from; by default the table's.
        columns: Column per role or axis, such as '{file: stimulus}'.
        axes: Lowest and highest score per axis, such as '{overall: [1, 5]}'; by default a guess.
        layout: Whether a row is a clip (wide) or a rating (long); auto looks.
        on_bad_clip: Whether a fit is to stop where something is wrong with a clip, or to leave it out.
        check: Whether to decode all audio or to read headers alone.
        folds: Folds of the cross-validation of a table without splits; by default five.
        split_by: What the folds keep together.
        fit_args: Other options of fit, for the command to type.

    Returns:
        The exit code.
    """
    if len(root) > 1 or (root and audio_root is not None):
        given = " and ".join([*root, *([audio_root] if audio_root is not None else [])])
        raise ValueError(f"inspect takes a table and one folder of audio, got {given}.")
    from lightning_aqa.batch import make_axes
    from lightning_aqa.data.columns import check_roles, check_root
    from lightning_aqa.data.inspection import inspect_table, plan_splits, read_columns
    from lightning_aqa.data.validation import CorpusError

    path, folder, named = Path(table), (root[0] if root else audio_root), columns or {}
    if axes is not None:
        check_roles(named, make_axes(axes))
    check_root(folder, table)
    notes: list[Problem] = []
    try:
        found = read_columns(path, axes, named, notes)
    except CorpusError as error:
        if not path.is_file() or not _print_bare(path, named):
            raise
        print(f"\nto mend first\n  {error}")
        return 1
    facts = inspect_table(path, found, audio_root=folder, columns=named, layout=layout, decode=check == "full")
    plan = plan_splits(facts.rated(), found.chosen.get("split", ""), folds or 5, split_by)
    command = ["lightning-aqa", "fit", table, *([folder] if folder is not None else []), *fit_args]
    for line in _report(path, facts, plan):
        _print(line)
    return _end(path, facts, plan, command, skips=on_bad_clip == "skip")


def _print(line: str) -> None:
    print(line.encode("utf-8", "backslashreplace").decode("utf-8"))


def _print_bare(path: Path, columns: Mapping[str, str]) -> bool:
    """Print the columns of a table without one for the audio file; tell whether that is what it lacks."""
    from lightning_aqa.data.guesses import written_name
    from lightning_aqa.data.inspection import file_columns
    from lightning_aqa.data.table import table_rows

    rows = table_rows(path, [])
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    if any(column and column not in names for column in columns.values()):
        return False
    print(f"{path}: {len(rows)} rows\n\ncolumns")
    likely = file_columns(rows)
    for name in names:
        hint = "not used; may be the audio file: --data.columns=" + shlex.quote(f"{{file: {written_name(name)}}}")
        _print(f"  {name}  {hint if name in likely else 'not used'}")
    return True


def _report(path: Path, facts: Inspection, plan: SplitPlan) -> Iterator[str]:
    """Yield the lines of the report, but for its end."""
    layout = "long: a row is a rating" if facts.is_long else "wide: a row is a clip"
    yield f"{path}: {len(facts.columns.rows)} rows, {len(facts.clips)} clips ({layout})"
    yield from ["", "columns", *_table(_roles(facts.columns))]
    yield from ["", "axes", *(line for axis in facts.axes for line in _axis(axis, facts.columns))]
    yield from ["", "splits", f"  {plan.told}"]
    left = facts.left()
    for name, count in plan.counts.items():
        kept = len(left.split(name))
        yield f"  {name or '(none)'}: {count} rated clip{'' if count == 1 else 's'}" + (
            f", {kept} that can be used" if kept < count else ""
        )
    yield from ["", "clips", *_table(_clips(facts))]
    yield from ["", "audio", *_table(_audio(facts))]
    yield from _missing(path, facts)


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{width}}  {text}" for name, text in rows]


def _roles(found: TableColumns) -> list[tuple[str, str]]:
    """Say what each column is taken for."""
    roles = {column: role for role, column in found.chosen.items()}
    verb = "axis (guessed)" if found.is_guessed else "axis"
    is_tidy = "axis" in found.chosen
    told = {name: verb if role in found.scales else WORDS.get(role, role) for name, role in roles.items()}
    unused = {name for name, role in roles.items() if role == "score" and not is_tidy and name not in found.scales}
    return [(name, told[name] if name in told and name not in unused else "not used") for name in found.names]


def _axis(axis: GuessedAxis, found: TableColumns) -> Iterator[str]:
    """Say where the scores of an axis lie, and its scale with the option that fixes it."""
    from lightning_aqa.data.guesses import axes_option

    scale = found.scales[axis.name]
    how = "scale guessed" if found.is_guessed else "scale"
    yield (
        f"  {axis.name}: scores from {axis.low:g} to {axis.high:g}, {how} {scale[0]:g} to {scale[1]:g}: "
        f"{axes_option({axis.name: scale})}"
    )


def _clips(facts: Inspection) -> list[tuple[str, str]]:
    """Count the clips, and what they are of."""
    from lightning_aqa.data.inspection import ratings_per_clip

    rated = facts.rated()
    rows = [("rated", f"{len(rated)} of {len(facts.clips)}")]
    for name in ("system", "prompt", "domain"):
        kinds = sorted({getattr(clip, name) for clip in rated} - {""})
        if kinds:
            rows.append((f"{name}s", f"{len(kinds)} ({shortened(', '.join(kinds), 60)})"))
    listeners = {name for clip in rated for name in clip.ratings}
    if "listener" in facts.columns.chosen:
        rows.append(("listeners", str(len(listeners))))
    if len(rated):
        rows.append(("ratings per clip", _spread(ratings_per_clip(rated))))
    return rows


def _spread(values: Sequence[float], unit: str = "") -> str:
    found = f"{min(values):.3g} / {median(values):.3g} / {max(values):.3g}{unit}"
    return f"{found} (min / median / max)"


def _audio(facts: Inspection) -> list[tuple[str, str]]:
    """Say what the files are like."""
    audio = facts.audio
    rows = [("usable", f"{len(audio.seconds)} of {len(facts.clips)} clips")]
    if audio.completed:
        rows.append(
            ("without extension", f"{audio.completed} names, each taken as the one audio file that is called so")
        )
    if audio.seconds:
        total = sum(audio.seconds.values())
        shown = (
            f"{total / 3600:.1f} h" if total >= 3600 else f"{total / 60:.1f} min" if total >= 60 else f"{total:.1f} s"
        )
        rows.append(("durations", f"{_spread(list(audio.seconds.values()), ' s')}, {shown} in all"))
    if audio.rates:
        rows.append(("sample rates", ", ".join(f"{rate} Hz: {count}" for rate, count in sorted(audio.rates.items()))))
    if audio.channels:
        rows.append(("channels", ", ".join(f"{one}: {count}" for one, count in sorted(audio.channels.items()))))
    if audio.silent:
        rows.append(("silent", f"{len(audio.silent)}, such as {audio.silent[0]}"))
    return rows


def _missing(path: Path, facts: Inspection) -> Iterator[str]:
    """Say which files are not there, by kind, with the line that mends it."""
    from lightning_aqa.data.missing import mended

    missing = facts.audio.missing
    if missing:
        yield from ["", f"missing files: {len(missing)}"]
    for kind in dict.fromkeys(file.kind for file in missing):
        files = [file for file in missing if file.kind == kind]
        there = "" if files[0].found is None else f", there is {files[0].found}"
        yield f"  {kind}: {len(files)}, such as {shortened(files[0].written, 200)}{there}"
        yield f"    to mend: {mended(files, path)}"


def _end(path: Path, facts: Inspection, plan: SplitPlan, command: Sequence[str], *, skips: bool) -> int:
    """Print what has to be mended and the command to type; return the exit code."""
    problems, left = facts.problems(), facts.left()
    stops = [plan.problem] * bool(plan.problem) + ["no clip has a rating"] * (len(facts.rated()) == 0)
    stops += ["no clip is left that can be used; mend the problems above, and look again"] * (
        bool(problems) and len(left) == 0
    )
    for line in _kinds(problems):
        print(line)
    if problems and len(left):
        print(f"\n--data.on_bad_clip=skip would leave {len(left)} of {len(facts.rated())} clips.")
    if facts.columns.doubt:
        stops.insert(0, facts.columns.doubt.removeprefix(f"{path}: "))
    if problems and not skips and not stops:
        stops = ["mend the problems above, or leave these clips out: "
                 + shlex.join([*command, "--data.on_bad_clip=skip"])]  # fmt: skip
    if stops:
        print("\nto mend first\n" + "\n".join(f"  {stop}" for stop in stops))
        return 1
    print(f"\nready\n  {shlex.join(command)}")
    return 0


def _kinds(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the problems that are not told elsewhere, by kind."""
    from lightning_aqa.data.inspection import MISSING

    others = [problem for problem in problems if problem.kind != MISSING]
    if others:
        yield f"\nother problems: {len(others)}"
    for kind in dict.fromkeys(problem.kind for problem in others):
        chosen = [problem for problem in others if problem.kind == kind]
        yield f"  {kind}: {len(chosen)}"
        for problem in chosen[:MOST_PROBLEMS]:
            yield f"    {shortened(problem.where, 200)}: {shortened(problem.what, 200)}"


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments; options that it has no use for go into the command to type."""
    own, passed = [], []
    for arg in args:
        name, is_joined, value = arg.removeprefix("--data.").partition("=")
        if is_joined and name.removeprefix("--") in OWN:
            arg = f"--data.{arg.removeprefix('--data.').removeprefix('--')}"
            name = name.removeprefix("--")
        if not arg.startswith("--data.") or name in OWN:
            own.append(arg.replace("--data.", "--", 1) if arg.startswith("--data.") else arg)
            passed += [arg] * (arg.startswith("--data.") and name not in ("audio_root", "check"))
        elif name == "path":
            own.insert(0, value)
        else:
            _check_known(arg, name.split(".")[0], is_value=bool(is_joined))
            passed.append(arg)
    return call(inspect, own, fit_args=passed)


def _check_known(arg: str, name: str, *, is_value: bool) -> None:
    """Refuse an option that ``fit`` would not take for a table."""
    from lightning_aqa.data.base import AQADataModule
    from lightning_aqa.data.table import Table

    known = [*signatures.signature(Table).parameters, *signatures.signature(AQADataModule).parameters]
    if name not in known:
        raise ValueError(f"unknown option {arg}.{did_you_mean(name, known)}")
    if not is_value:
        raise ValueError(f"{arg} needs its value after =, as in {arg}=VALUE.")
