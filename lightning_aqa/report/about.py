"""What a reader needs to check the report: each variant's config and command, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_aqa.report.html import escape
from lightning_aqa.results.files import CONFIG
from lightning_aqa.results.variants import SharedClips, Variant


def configurations(evidence: SharedClips, output: Path) -> str:
    """Return, per variant, its runs with a link to each config and the command that makes it again."""
    return "".join(_configuration(v, variant, output) for v, variant in enumerate(evidence.variants))


def _configuration(v: int, variant: Variant, output: Path) -> str:
    reason = f"<p>{escape(variant.reason)}</p>" if variant.reason else ""
    runs = "".join(_run(variant, i, output) for i in range(len(variant.runs)))
    config = variant.runs[0].config_text
    text = f"<p class=note>config.yaml of {escape(variant.runs[0].name)}:</p><pre tabindex=0>{escape(config)}</pre>"
    return (
        f'<details class="config" id="config-{v}"><summary>{escape(variant.name)}</summary>'
        f"<div>{reason}{runs}{text if config else ''}</div></details>"
    )


def _run(variant: Variant, number: int, output: Path) -> str:
    run = variant.runs[number]
    config = run.folder / CONFIG
    link = escape(Path(os.path.relpath(config, output)).as_posix())
    name = f'<a href="{link}">{escape(run.name)}</a>' if config.exists() else escape(run.name)
    seeds = ", ".join(f"{key} {value}" for key, value in run.seed)
    told = f"<p class=note>{name}{f' ({escape(seeds)})' if seeds else ''}</p>"
    return told + (f"<pre tabindex=0>{escape(run.command)}</pre>" if run.command else "")


def notes(items: Sequence[str]) -> str:
    """Return a list of notes."""
    return f'<ul class="plain note">{"".join(f"<li>{escape(item)}</li>" for item in items)}</ul>' if items else ""
