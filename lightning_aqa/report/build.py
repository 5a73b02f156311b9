"""From run folders to the report: the page and the tables, in one folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.report import clip_browser, figures, maps, summary, tables
from lightning_aqa.report.context import Material, Options, gather
from lightning_aqa.report.listeners import listeners
from lightning_aqa.report.templating import picture, render
from lightning_aqa.results.files import CONFIG
from lightning_aqa.results.tables import write_csv, write_latex, write_markdown
from lightning_aqa.results.variants import SharedClips, Variant
from lightning_aqa.utils.files import replacing

PAGE, TABLES = "report.html", "tables"
SIMULATED = "The corpus is synthesised and its scores are simulated: nothing here says how people hear."


class PageSection(NamedTuple):
    """A part of the page: its id, its heading and its HTML; empty where there is nothing to show."""

    id: str
    heading: str
    inside: str


def build_report(paths: Sequence[Path], output: Path, options: Options | None = None) -> list[Path]:
    """Write ``report.html`` and the tables as CSV, Markdown and LaTeX.

    Args:
        paths: Run folders, and folders of them such as sweeps.
        output: Folder to write to; it is made.
        options: What the user may choose; None is the defaults.

    Returns:
        The files.

    Raises:
        ValueError: If there is no run, or these runs cannot be set side by side.
    """
    material = gather(paths, options or Options())
    output.mkdir(parents=True, exist_ok=True)
    written = [output / f"{TABLES}.{suffix}" for suffix in ("csv", "md", "tex")]
    for write, path in zip((write_csv, write_markdown, write_latex), written, strict=True):
        write(path, material.evidence, material.blocks)
    title = material.options.title or ", ".join(path.resolve().name for path in paths)
    _write_page(output / PAGE, title, material.evidence, _sections(material, output))
    return [output / PAGE, *written]


def _sections(of: Material, output: Path) -> list[PageSection]:
    evidence, blocks, titles = of.evidence, of.blocks, of.titles
    data, notes = clip_browser.browser_data(
        evidence, of.axes, of.detailed, of.sources, of.ratings, output, of.options.inlined_audio
    )
    warning = SIMULATED if of.is_simulated else ""
    others = tables.published(tables.published_rows(evidence.axes), of.is_simulated)
    remarks = [*of.notes, *notes, *_left_out(of), *_how(of.options)]
    return [
        PageSection("answer", "In short", summary.answer(evidence, blocks[0], warning)),
        PageSection("results", "Results", tables.results(evidence, blocks, titles)),
        PageSection("published", "Published numbers", others),
        PageSection("effects", "Differences from the baseline", figures.effects(evidence, blocks, titles)),
        PageSection("heat", "Over two settings", figures.heat_maps(evidence, blocks, titles)),
        PageSection("curves", "Learning curves", figures.learning_curves(evidence)),
        PageSection("predictions", "Predicted and rated", figures.predictions(evidence, of.detailed, blocks, titles)),
        PageSection("pairs", "Pairs in the right order", figures.pairs_by_gap(evidence, of.detailed, titles)),
        PageSection("further", "Further numbers", tables.further(evidence, of.detailed, titles)),
        PageSection("listeners", "Listeners", listeners(evidence, titles)),
        PageSection("maps", "Embedding", maps.embedding_maps(evidence, of.detailed, titles)),
        PageSection("errors", "Errors, clip by clip", clip_browser.browser(evidence, of.axes, of.detailed, data)),
        PageSection("configs", "Configurations and commands", _configurations(evidence, output)),
        PageSection("notes", "Notes", render("notes", items=remarks)),
    ]


def _write_page(path: Path, title: str, evidence: SharedClips, sections: Sequence[PageSection]) -> None:
    text = render(
        "page",
        title=title,
        css=_asset("page.css"),
        script=_asset("page.js") + _asset("browser.js"),
        facts=_facts(evidence),
        sections=[part for part in sections if part.inside],
    )
    with replacing(path, errors="backslashreplace") as file:
        file.write(text)


def _configurations(evidence: SharedClips, output: Path) -> str:
    """Return, per variant, its runs with a link to each config and the command that makes it again."""
    variants = [
        {
            "name": variant.name,
            "reason": variant.reason,
            "runs": [_described(variant, i, output) for i in range(len(variant.runs))],
            "config": variant.runs[0].config_text,
        }
        for variant in evidence.variants
    ]
    return render("configurations", variants=variants)


def _described(variant: Variant, number: int, output: Path) -> dict[str, Any]:
    run = variant.runs[number]
    config = run.folder / CONFIG
    link = Path(os.path.relpath(config, output)).as_posix() if config.exists() else ""
    seeds = ", ".join(f"{key} {value}" for key, value in run.seed)
    return {"name": run.name, "link": link, "seeds": seeds, "command": run.command}


def _left_out(of: Material) -> list[str]:
    count = len(of.evidence.variants) - len(of.detailed)
    message = f"{count} variants are in tables and comparisons alone; --detailed shows more of them clip by clip."
    return [message] if count else []


def _how(options: Options) -> list[str]:
    unit = "clips (utterance level) or systems (system level)" if options.unit is None else f"unit {options.unit}"
    return [
        f"Intervals: bias-corrected and accelerated bootstrap over {unit}, {options.num_resamples} resamples, 95 %; "
        "where there are several seeds, with what other seeds could give.",
        "Everything is computed from predictions.csv; config.yaml, history.csv, clips.csv, ratings.csv, "
        "observations.npz and trial.json add to it where they are there.",
    ]


def _facts(evidence: SharedClips) -> str:
    def many(count: int, word: str) -> str:
        return f"{count:,} {word}{'' if count == 1 else 's'}".replace(",", "\u202f")

    runs = sum(len(variant.runs) for variant in evidence.variants)
    parts = [f"Split {evidence.split}", many(len(evidence.ids), "clip")]
    parts += [many(len(set(evidence.systems) - {""}), "system")] if evidence.has_systems else []
    parts += [", ".join(evidence.named_domains)] if evidence.named_domains else []
    counts = {len(variant.runs) for variant in evidence.variants}
    parts += [many(len(evidence.variants), "variant"), many(runs, "run")]
    return " · ".join(
        [*parts, f"{counts.pop()} seeds each"] if len(counts) == 1 and runs > len(evidence.variants) else parts
    )


def _asset(name: str) -> str:
    return picture(files("lightning_aqa.report").joinpath("static", name).read_text(encoding="utf-8"))
