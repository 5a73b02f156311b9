"""From run folders to the report: the page and the tables, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.report import (
    clip_browser,
    figures,
    maps,
    pairwise,
    predicted,
    preferences,
    provenance,
    summary,
    tables,
)
from lightning_aqa.report.context import Material, Options, gather
from lightning_aqa.report.listeners import listeners
from lightning_aqa.report.templating import picture, render
from lightning_aqa.results.latex import write_latex
from lightning_aqa.results.published import published_rows
from lightning_aqa.results.tables import units_of, write_csv, write_markdown
from lightning_aqa.utils.files import replacing

PAGE, TABLES = "report.html", "tables"
SCRIPTS = ("page.js", "pairwise.js", "browser.js")
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
    write_csv(written[0], material.evidence, material.blocks)
    write_markdown(written[1], material.evidence, material.blocks, material.unit)
    write_latex(written[2], material.evidence, material.blocks, material.options.columns, material.unit)
    title = material.options.title or ", ".join(path.resolve().name for path in paths)
    sections = _sections(material, output, written)
    write_page(output / PAGE, title, provenance.facts(material.evidence), sections)
    return [output / PAGE, *written]


def _sections(of: Material, output: Path, written: Sequence[Path]) -> list[PageSection]:
    evidence, blocks, titles = of.evidence, of.blocks, of.titles
    data, notes = clip_browser.browser_data(
        evidence, of.axes, of.detailed, of.sources, of.ratings, output, of.options.inlined_audio
    )
    warning = SIMULATED if of.is_simulated else ""
    others = tables.published(published_rows(evidence.axes), of.is_simulated)
    remarks = [*of.notes, *notes, *_left_out(of), *_how(of), *provenance.distilled(evidence)]
    remarks += provenance.made_with(evidence)
    predicted_ = predicted.predictions(evidence, of.detailed, blocks, of.axes, titles)
    return [
        PageSection("answer", "In short", summary.answer(evidence, blocks, warning)),
        PageSection("preferences", "Pairs that listeners judged", preferences.judged_pairs(evidence, titles)),
        PageSection("effects", "Differences from the baseline", figures.effects(evidence, blocks, titles)),
        PageSection(
            "results", "Results", tables.results(evidence, blocks, titles, of.unit) + provenance.downloads(written)
        ),
        PageSection("folds", "Folds", tables.folds(evidence)),
        PageSection("each", "Each against each", pairwise.each_against_each(evidence, blocks, titles)),
        PageSection("published", "Published numbers", others),
        PageSection("heat", "Over two settings", figures.heat_maps(evidence, blocks, titles)),
        PageSection("predictions", "Predicted and rated", predicted_),
        PageSection("pairs", "Pairs in the right order", predicted.pairs_by_gap(evidence, of.detailed, titles)),
        PageSection("further", "Further numbers", tables.further(evidence, of.detailed, titles)),
        PageSection("costs", "Speed and memory", tables.costs(evidence, blocks[0])),
        PageSection("listeners", "Listeners", listeners(evidence, of.listeners, titles)),
        PageSection("maps", "Embedding", maps.embedding_maps(evidence, of.detailed, titles)),
        PageSection("errors", "Clips, systems, pairs", clip_browser.browser(evidence, of.axes, of.detailed, data)),
        PageSection("curves", "Learning curves", figures.learning_curves(evidence)),
        PageSection("configs", "Configurations and commands", provenance.configurations(evidence)),
        PageSection("notes", "Notes", render("notes", items=remarks)),
    ]


def write_page(path: Path, title: str, facts: Sequence[str], sections: Sequence[PageSection]) -> None:
    """Write a page of sections, with the package's style and scripts in it; those with nothing inside are left out."""
    text = render(
        "page",
        title=title,
        css=asset("page.css"),
        script=picture("\n".join(map(asset, SCRIPTS))),
        facts=facts,
        sections=[part for part in sections if part.inside],
    )
    with replacing(path, errors="backslashreplace") as file:
        file.write(text)


def _left_out(of: Material) -> list[str]:
    count = len(of.evidence.variants) - len(of.detailed)
    message = f"{count} variants are in tables and comparisons alone; --detailed shows more of them clip by clip."
    return [message] if count else []


def _how(of: Material) -> list[str]:
    """Say how intervals and tests were made, and from what."""
    units = units_of([block for block in of.blocks if not block.domain], of.unit)
    return [
        f"Intervals: 95 %, jackknife over {units}, with the spread between seeds where there are several. Tests: 5 %, "
        f"over all variants of a column at once (max-T, {of.options.num_resamples} draws).",
        "Everything is computed from predictions.csv; config.yaml, history.csv, clips.csv, ratings.csv, "
        "observations.npz and trial.json add to it where they are there.",
    ]


def asset(name: str) -> str:
    """Return a script or a style sheet of the package, as text that is not escaped."""
    return picture(files("lightning_aqa.report").joinpath("static", name).read_text(encoding="utf-8"))
