"""Origin of the numbers: clips, runs, versions, configs and commands; and the tables to take along."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_aqa.report.templating import render
from lightning_aqa.results.files import DISTILLED
from lightning_aqa.results.runs import Run
from lightning_aqa.results.tables import many
from lightning_aqa.results.variants import SharedClips, Variant

MOST_MEGABYTES = 2.0
"""Larger tables are not put into the page; they lie beside it."""
MEDIA_TYPES = {".csv": "text/csv", ".md": "text/markdown", ".tex": "application/x-tex"}
SHORT_COMMIT = 10


def facts(evidence: SharedClips) -> list[str]:
    """Return the lines below the title: what was scored by what, and when the page was written."""
    made = [variant for variant in evidence.variants if not variant.is_fixed]
    runs, others = sum(len(variant.runs) for variant in made), len(evidence.variants) - len(made)
    parts = [f"Split {evidence.split}", many(len(evidence.ids), "clip")]
    parts += [many(len(set(evidence.systems) - {""}), "system")] if evidence.has_systems else []
    parts += [", ".join(evidence.named_domains)] if evidence.named_domains else []
    parts += [f"out of fold, {evidence.folds} folds"] if evidence.folds else []
    counts = {len(variant.runs) for variant in made}
    parts += [many(len(made), "variant"), many(runs, "run")]
    parts += [f"{counts.pop()} seeds each"] if len(counts) == 1 and runs > len(made) else []
    parts += [many(others, "other tool")] if others else []
    written = f"{datetime.now(timezone.utc):%Y-%m-%d} by lightning_aqa {version('lightning_aqa')}"
    dates = sorted({date[:10] for run in _runs(evidence) if (date := _text(run, "date"))})
    of_runs = f"runs of {' to '.join(dict.fromkeys((dates[0], dates[-1])))}" if dates else ""
    return [" · ".join(parts), " · ".join(filter(None, [f"Written {written}", of_runs, _commits(evidence)]))]


def _runs(evidence: SharedClips) -> Iterator[Run]:
    return (run for variant in evidence.variants if not variant.is_fixed for run in variant.runs)


def _text(run: Run, name: str) -> str:
    """Return a fact that is a text; empty where the run does not have it."""
    value = run.facts.get(name)
    return value if isinstance(value, str) else ""


def _commits(evidence: SharedClips) -> str:
    found = list(
        dict.fromkeys(commit[:SHORT_COMMIT] for run in _runs(evidence) if (commit := _text(run, "git_commit")))
    )
    return f"commit{'s' if len(found) > 1 else ''} {', '.join(found)}" if found else ""


def made_with(evidence: SharedClips) -> list[str]:
    """Return a note with the versions that the runs were made with, where they say so."""
    found: dict[str, dict[str, None]] = {}
    for run in _runs(evidence):
        versions = run.facts.get("versions")
        for name, value in versions.items() if isinstance(versions, dict) else ():
            found.setdefault(str(name), {})[str(value)] = None
    told = [f"{name} {' or '.join(values)}" for name, values in found.items()]
    return [f"The runs were made with {', '.join(told)}."] if told else []


def distilled(evidence: SharedClips) -> list[str]:
    """Return a note for each run that stands for an ensemble: how near it comes to it on the clips of the split."""
    told = []
    for run in _runs(evidence):
        for axis, near in run.results.get(evidence.split, {}).get(DISTILLED, {}).items():
            parts = [f"{name} {near[name]:.3f}" for name in ("LCC", "SRCC", "RMSE") if name in near]
            clips = many(int(near.get("n", 0)), "clip")
            told.append(f"{run.name} learned the scores of an ensemble: {axis} on {clips}: {', '.join(parts)} with it.")
    return told


def configurations(evidence: SharedClips) -> str:
    """Return, per variant, its config and its runs, each with the command that makes it again."""
    variants = [
        {
            "name": variant.name,
            "reason": variant.reason,
            "runs": [_described(run, variant.is_fixed) for run in variant.runs],
            "config": _config(variant),
        }
        for variant in evidence.variants
    ]
    return render("configurations", variants=variants)


def _config(variant: Variant) -> str:
    return variant.runs[0].config_text if variant.runs else ""


def _described(run: Run, is_fixed: bool) -> dict[str, Any]:
    parts = [] if is_fixed else [f"{key} {value}" for key, value in run.seed]
    parts += [date[:16].replace("T", " ") + " UTC"] if (date := _text(run, "date")) else []
    parts += [f"commit {commit[:SHORT_COMMIT]}"] if (commit := _text(run, "git_commit")) else []
    link = address if (address := _text(run, "wandb")).startswith("https://") else ""
    return {"name": run.name, "about": ", ".join(parts), "command": run.command, "wandb": link}


def downloads(paths: Sequence[Path]) -> str:
    """Return links to the tables, which lie in the page itself: a page that is mailed still has them."""
    found = []
    for path in paths:
        content = path.read_bytes()
        if len(content) <= MOST_MEGABYTES * 1e6:
            text = base64.b64encode(content).decode("ascii")
            found.append((path.name, f"data:{MEDIA_TYPES[path.suffix]};base64,{text}"))
    return render("downloads", files=found)
