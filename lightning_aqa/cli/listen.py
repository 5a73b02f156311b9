"""``lightning-aqa listen``: a listening test as one page, its answers as a table, and what to ask next."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_aqa.cli.signatures import call, check_at_least
from lightning_aqa.utils.text import shortened

if TYPE_CHECKING:
    from lightning_aqa.batch import Axis
    from lightning_aqa.report.listening_design import Kind, ListeningTest

SCALES = {"mos": "1-5", "pairs": "1-5", "mushra": "0-100"}
MOST_NEXT = 20
"""Trials that --next asks for, unless --trials says otherwise."""


def listen(
    clips: str,
    *,
    kind: Literal["mos", "pairs", "mushra"] | None = None,
    output: str | None = None,
    axis: list[str] | None = None,
    scale: str | None = None,
    title: str | None = None,
    reference: str | None = None,
    anchors: Literal["auto", "none"] = "auto",
    training: int = 2,
    trials: int | None = None,
    no_ties: bool = False,
    seed: int = 0,
    megabytes: float = 40.0,
    serve: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    collect: bool = False,
    next: bool = False,
    ratings: str | None = None,
    predictions: str | None = None,
    listener: str | None = None,
) -> int:
    """Make a listening test: one page that works from disk, or served; its answers are a table to train on.

    With --next it says what tells most, as JSON lines, and with --output makes a page of these trials in this order.

    Args:
        clips: Folder of clips (SYSTEM/ITEM.wav), or a list with a column path; or the folder of a test that is there,
            to serve it or to collect its answers.
        kind: Rate single clips (mos), choose of two (pairs), or rate all systems of an item beside its reference
            (mushra).
        output: Folder to write the test to; the default is listening.
        axis: What is judged, such as overall; may be given several times.
        scale: Lowest and highest score; the default is 1-5, and 0-100 for mushra.
        title: Heading of the page.
        reference: System (folder) that is the reference of mushra; the default is the one called reference.
        anchors: Make low-passed anchors (3.5 and 7 kHz) of the reference for mushra, where no system is called
            anchor...; none makes none.
        training: Trials of the training round, whose answers do not count.
        trials: Most trials per listener; the default is all, and 20 with --next.
        no_ties: Do not let two clips be equal.
        seed: Of the orders that listeners get.
        megabytes: Most that sounds may take inside the page; above it they lie beside it.
        serve: Serve the test until Ctrl-C, and keep the answers in its folder.
        host: Address to serve at; the default is this machine alone.
        port: Port to serve at; 0 takes a free one.
        collect: Write the table of the answers that are in the folder of a test.
        next: Ask for what tells most, from --ratings and --predictions, either of which may be missing.
        ratings: Table of the ratings or pairs so far.
        predictions: Scores of a model, with their intervals where it has such.
        listener: Who is asked next: what this listener has judged is not asked again.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If the clips, or an option, are wrong.
    """
    given = dict(locals())
    check_at_least({"training": 0, "trials": 1, "megabytes": 0, "port": 0}, given)
    from lightning_aqa.report.listening_page import is_test

    for name in ("ratings", "predictions", "listener"):
        if given[name] is not None and not next:
            raise ValueError(f"--{name} is about what to ask next; give --next too.")
    folder = Path(output or "listening")
    if is_test(Path(clips)):
        folder = Path(clips)
        _check_existing(given)
    else:
        test, paths = make_test(given)
        if next:
            test, paths = _next(test, paths, given)
        if output or not next:
            _write(folder, test, paths, megabytes)
        elif serve or collect:
            raise ValueError("--next without --output makes no page; name a folder by --output.")
    if collect:
        _collect(folder)
    return _serve(folder, host, port) if serve else 0


def _check_existing(given: dict[str, Any]) -> None:
    """Refuse what is about making a test, where there is one already."""
    if given["kind"] or not (given["serve"] or given["collect"]):
        raise ValueError(f"{given['clips']}: a listening test that is there; --serve it, or --collect its answers.")


def make_test(given: dict[str, Any]) -> tuple[ListeningTest, list[Path]]:
    """Return the test that the options of ``listen`` ask for, and the file of each of its sounds."""
    from lightning_aqa.report import listening_trials as made
    from lightning_aqa.report.listening_design import ListeningTest

    kind: Kind | None = given["kind"]
    if kind is None:
        raise ValueError("--kind is missing: mos, pairs or mushra.")
    axes, sounds = _axes(given), made.Sounds(Path(given["clips"]))
    stimuli, paths = sounds.stimuli, sounds.paths
    if kind == "mos":
        trials = made.single_trials(sounds)
    elif kind == "pairs":
        trials = made.pair_trials(sounds, given["seed"])
    else:
        chosen, own = made.find_roles(sounds, given["reference"])
        is_made = given["anchors"] == "auto" and not own
        stimuli, paths, trials = made.mushra_trials(sounds, chosen, own, made=is_made)
    made.check_size(kind, trials)
    title = given["title"] or ("Which sounds better?" if kind == "pairs" else "Listening test")
    test = ListeningTest(
        kind, title, axes, tuple(stimuli), tuple(trials), given["training"], given["trials"] or 0, given["seed"],
        ties=not given["no_ties"],
    )  # fmt: skip
    return test, paths


def _axes(given: dict[str, Any]) -> tuple[Axis, ...]:
    """Return the axes that are judged."""
    from lightning_aqa.batch import make_axes
    from lightning_aqa.report.listening_answers import PAIR_COLUMNS, RATING_COLUMNS

    scale = given["scale"] or SCALES[given["kind"]]
    low, _, high = scale.rpartition("-")
    try:
        ends = [float(low), float(high)]
    except ValueError:
        what = "expected the lowest and the highest score, such as 1-5."
        raise ValueError(f"--scale={shortened(scale)}: {what}") from None
    names = list(dict.fromkeys(given["axis"] or ["overall"]))
    for name in names:
        if name.lower() in {*RATING_COLUMNS, *PAIR_COLUMNS, "id", "score"}:
            raise ValueError(f"--axis={name}: a column of the table is called so; name the axis otherwise.")
    return make_axes({name: ends for name in names})


def _next(test: ListeningTest, paths: list[Path], given: dict[str, Any]) -> tuple[ListeningTest, list[Path]]:
    """Print what tells most, as JSON lines; return the test of these trials in this order."""
    from lightning_aqa.report.listening_next import choose_next
    from lightning_aqa.report.listening_trials import with_trials

    tables = [None if given[name] is None else Path(given[name]) for name in ("ratings", "predictions")]
    chosen = choose_next(test, tables[0], tables[1], given["listener"], given["trials"] or MOST_NEXT)
    if not chosen:
        raise ValueError("nothing is left to ask this listener.")
    for of in chosen:
        print(json.dumps({"files": of.files, "gain": round(of.gain, 6)}))
    return with_trials(test, paths, [of.trial for of in chosen])


def _write(folder: Path, test: ListeningTest, paths: list[Path], megabytes: float) -> None:
    """Write the folder of the test, and say what is in it."""
    from lightning_aqa.report.listening_page import size_of, write_folder

    page, is_inside = write_folder(folder, test, paths, megabytes)
    where = "sounds inside" if is_inside else "sounds in the folder beside it, which goes along with the page"
    sys.stderr.write(f"{page}  {size_of(test)}, {where}; {page.stat().st_size / 1e6:.2f} MB\n")


def _collect(folder: Path) -> None:
    from lightning_aqa.report.listening_answers import collect
    from lightning_aqa.report.listening_design import read_test

    path, count = collect(folder, read_test(folder))
    print(f"{path}  {count} listener{'s' if count > 1 else ''}")


def _serve(folder: Path, host: str, port: int) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code."""
    from lightning_aqa.report.listening_design import read_test
    from lightning_aqa.report.listening_server import ListeningServer
    from lightning_aqa.report.local_server import opened_at, reach_of
    from lightning_aqa.utils.signals import Stopped, StopSignals

    test = read_test(folder)
    try:
        with StopSignals(), opened_at(partial(ListeningServer, folder, test), host, port) as server:
            print(f"{server.address}  {reach_of(host)}; answers go to {folder}; Ctrl-C ends it.", flush=True)
            server.serve_forever()
    except Stopped as stop:
        sys.stderr.write(f"stopped by {stop.name}; the answers in {folder} are whole.\n")
        return stop.code
    return 0


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(listen, args)
