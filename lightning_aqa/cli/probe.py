"""``lightning-aqa probe``: what raises a predictor's score without quality, before anything is optimised for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_aqa.cli.signatures import call, check_at_least

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_aqa.scoring.probing import EditEffect

MOST_ROWS = 10
"""Edits per axis on the screen."""
COLUMNS = ("edit", "heard", "axis", "clips", "change", "low", "high", "share_up", "share_noted")


def probe(
    checkpoint: str,
    inputs: list[str],
    *,
    output: str = "probe",
    clips: int = 20,
    seconds: float = 10.0,
    decibel: float = -40.0,
    steps: int = 20,
    device: str = "auto",
) -> int:
    """Probe a predictor by forty edits of clips, and by a change along its gradient: what buys score without quality.

    No edit makes a clip better. One that raises scores for sure is what an optimiser would find: do not reward this
    score without looking at it.

    Args:
        checkpoint: Run folder, checkpoint, or a config whose parts bring their own weights.
        inputs: Audio file, folder, or JSON lines with path and, where wanted, prompt.
        output: Folder to write to: probe.csv, scores.csv and probe.png.
        clips: Most clips, spread evenly over the inputs.
        seconds: Most of each clip, from its start.
        decibel: Level of the change along the gradient against that of the clip; it is inaudible below about -40.
        steps: Steps of that change; 0 leaves it out.
        device: One of auto, cpu, cuda, cuda:1, mps.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If there is no clip, one cannot be scored, or an option is out of range.
    """
    check_at_least({"clips": 1, "steps": 0}, locals())
    if not seconds > 0 or not decibel < 0:
        raise ValueError(f"--seconds must be above 0 and --decibel below it, got {seconds:g} and {decibel:g}.")
    folder = Path(output)
    if not output.strip() or (folder.exists() and any(folder.iterdir())):
        raise ValueError(f"--output={output}: there is something in it; name another folder, or move it away.")
    from lightning_aqa.results.console import make_console
    from lightning_aqa.results.plots import draw_edits
    from lightning_aqa.scoring.inputs import check_inputs, read_items
    from lightning_aqa.scoring.load import load
    from lightning_aqa.scoring.probing import effects, has_gradient, probe_clips
    from lightning_aqa.utils.records import write_records

    check_inputs(inputs)
    scorer = load(checkpoint, device=device)
    items = list(read_items(inputs))
    if not items:
        raise ValueError(f"{' '.join(inputs)}: no clip to probe with; name a file, a folder or JSON lines.")
    chosen = [items[k * len(items) // min(clips, len(items))] for k in range(min(clips, len(items)))]
    console, names = make_console(), [axis.name for axis in scorer.axes]
    follows = steps > 0 and has_gradient(scorer)
    rows = list(probe_clips(scorer, chosen, seconds=seconds, decibel=decibel if follows else None, steps=steps))
    found = effects(rows, names)
    folder.mkdir(parents=True, exist_ok=True)
    versions = ((row.clip, row.edit, *row.scores, row.note) for row in rows)
    write_records(folder / "scores.csv", ("clip", "edit", *names, "note"), map(_cells, versions))
    write_records(folder / "probe.csv", COLUMNS, map(_cells, found))
    draw_edits(folder / "probe.png", found, len(chosen))
    for name in names:
        console.print(edits_table([effect for effect in found if effect.axis == name], name))
    for line in _said(found, len(chosen), has_gradient=follows or steps == 0):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"in {folder}: probe.csv, scores.csv, probe.png", highlight=False, markup=False, soft_wrap=True)
    return 0


def _said(found: Sequence[EditEffect], clips: int, *, has_gradient: bool) -> list[str]:
    """Return what the table means, in a line each."""
    edits = len({effect.edit for effect in found})
    bought = [f"{effect.edit} ({effect.axis} {effect.mean:+.2f})" for effect in found if effect.buys]
    lines = [
        f"{clips} clip{'' if clips == 1 else 's'}, {edits} edits, those that raise scores most first; change: mean "
        "over clips, with a 95 % interval that holds for all edits of an axis at once; noted: with a note on the score",
        f"raises the score without quality, for sure: {', '.join(bought) or 'none of them'}.",
    ]
    if clips == 1:
        lines.append("one clip gives no interval: name more to be sure of anything.")
    if not has_gradient:
        lines.append("no gradient: this encoder gives the waveform none, so that edits alone were tried.")
    return lines


def _cells(row: Sequence[object]) -> list[object]:
    """Round numbers, and leave those that there are none of empty."""
    return [("" if math.isnan(cell) else round(cell, 6)) if isinstance(cell, float) else cell for cell in row]


def edits_table(found: Sequence[EditEffect], axis: str) -> Table:
    """Lay out the edits that raise one axis most, all that raise it for sure, and the ascent; the file has the rest.

    Args:
        found: Effects on the axis, largest change first.
        axis: Its name.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table("axis", "edit", "heard as", "change", "95 %", "up", "noted", box=None, pad_edge=False)
    for effect in (effect for k, effect in enumerate(found) if k < MOST_ROWS or effect.buys or effect.is_ascent):
        ends = "" if math.isnan(effect.low) else f"[{effect.low:+.2f}, {effect.high:+.2f}]"
        numbers = f"{effect.mean:+.2f}", escape(ends), f"{100 * effect.up:.0f} %", f"{100 * effect.noted:.0f} %"
        table.add_row(escape(axis), effect.edit, effect.heard, *numbers, style="bold" if effect.buys else None)
    return table


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(probe, args)
