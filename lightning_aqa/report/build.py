"""From run folders to the report: the page and the tables, in one folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.aes_natural import AXES as AES_AXES
from lightning_aqa.data.musiceval_files import AXES as MUSICEVAL_AXES
from lightning_aqa.files import replacing
from lightning_aqa.metrics.levels import higher_is_better
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.report import about, browser, further, gallery, tables
from lightning_aqa.report.clips import Source, read_listeners, read_sources, read_system_scores
from lightning_aqa.report.formats import headline, write_csv, write_latex, write_markdown
from lightning_aqa.report.html import escape, section
from lightning_aqa.report.results import Block, compute_blocks
from lightning_aqa.report.runs import Run, choose_split, find_runs
from lightning_aqa.report.variants import Evidence, collect

KNOWN_AXES = {axis.name: axis for axis in (*MUSICEVAL_AXES, *AES_AXES)}
MIN_SYSTEMS = 10
"""With fewer, a correlation over systems takes few values, and the text speaks of clips instead."""
PAGE, TABLES = "report.html", "tables"


class Options(NamedTuple):
    """What the user may choose.

    Args:
        split: Split to report; None is test, else dev.
        baseline: Variant that the others are compared with; None is the first.
        detailed: Of how many variants, the baseline and the best, single clips and systems are shown.
        unit: What the bootstrap draws as one piece; None is clips at utterance and systems at system level.
        num_resamples: How many resamples.
        audio_root: Folder to look for audio in that the runs do not know of.
        embedding: How much sound goes into the page.
        title: Title of the page; None takes the names of the folders.
    """

    split: str | None = None
    baseline: str | None = None
    detailed: int = 6
    unit: Unit | None = None
    num_resamples: int = 2000
    audio_root: Path | None = None
    embedding: browser.Embedding = browser.Embedding()
    title: str | None = None


def build_report(paths: Sequence[Path], output: Path, options: Options = Options()) -> list[Path]:  # noqa: B008
    """Write ``report.html`` and the tables as CSV, Markdown and LaTeX.

    Args:
        paths: Run folders, and folders of them such as sweeps.
        output: Folder to write to; it is made.
        options: What the user may choose.

    Returns:
        The files.

    Raises:
        ValueError: If there is no run, or these runs cannot be set side by side.
    """
    runs, notes = find_runs(paths)
    evidence = collect(runs, choose_split(runs, options.split), options.baseline)
    known = read_sources(runs, options.audio_root)
    sources = [known.get(id_, Source(None)) for id_ in evidence.ids]
    ratings = read_listeners(runs, evidence.split, evidence.ids, evidence.axes)
    if not any(evidence.prompts):
        evidence = replace(evidence, prompts=[source.prompt for source in sources])
    blocks = compute_blocks(
        evidence,
        ratings,
        read_system_scores(runs, evidence.systems, evidence.axes),
        unit=options.unit,
        num_resamples=options.num_resamples,
    )
    first = "system" if len(set(evidence.systems) - {""}) >= MIN_SYSTEMS else "utterance"
    blocks.sort(key=lambda block: (block.domain != "", block.level == "system_mos", block.level != first))
    output.mkdir(parents=True, exist_ok=True)
    written = [output / f"{TABLES}.{suffix}" for suffix in ("csv", "md", "tex")]
    for write, path in zip((write_csv, write_markdown, write_latex), written, strict=True):
        write(path, evidence, blocks)
    title = options.title or ", ".join(path.resolve().name for path in paths)
    notes += [*evidence.notes, *_missing(runs, sources, ratings)]
    _write_page(output, title, evidence, blocks, sources, ratings, notes, options)
    return [output / PAGE, *written]


def axes_of(evidence: Evidence, ratings: NDArray[np.float64] | None) -> list[Axis]:
    """Return the axes with their titles and scales.

    The scale of an axis that is not a known corpus's is what a config says, or else what its ratings span.
    """
    config = evidence.variants[0].runs[0].config
    axes = []
    for a, name in enumerate(evidence.axes):
        parts = [evidence.targets[:, a], *([] if ratings is None else [ratings[:, a].ravel()])]
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        told = config.get(f"data.axes.{name}")
        scale = (
            told if isinstance(told, list) and len(told) == 2 else [values.min(), values.max()] if len(values) else [0]
        )
        low, high = math.floor(scale[0]), math.ceil(scale[-1])
        axes.append(KNOWN_AXES.get(name, Axis(name, name, low, max(high, low + 1))))
    return axes


def _missing(runs: Sequence[Run], sources: Sequence[Source], ratings: NDArray[np.float64] | None) -> list[str]:
    """Say what would show more, where it is not there."""
    told = []
    if ratings is None:
        told.append(
            "No ratings.csv with the ratings of single listeners: there are no ceilings and no strips of ratings."
        )
    without = sum(source.path is None for source in sources)
    if without:
        what = "any clip" if without == len(sources) else f"{without} of {len(sources)} clips"
        told.append(f"No audio of {what} is known, or there; --audio_root names a folder to look in.")
    if not any(run.history for run in runs):
        told.append("No history.csv: there are no learning curves.")
    if not all(run.config_text for run in runs):
        told.append("No config.yaml in some runs: seeds and settings are told from the names of their folders.")
    return told


def choose_detailed(evidence: Evidence, block: Block, count: int) -> list[int]:
    """Return the variants to show in detail: the best, the baseline, then the next best."""
    column = headline(block)
    sign = 1 if higher_is_better(column[1]) else -1
    values = [sign * row[column].value for row in block.rows]
    order = sorted(range(len(values)), key=lambda v: -values[v] if math.isfinite(values[v]) else math.inf)
    return list(dict.fromkeys([order[0], 0, *order]))[: max(count, 1)]


def _write_page(
    output: Path,
    title: str,
    evidence: Evidence,
    blocks: Sequence[Block],
    sources: Sequence[Source],
    ratings: NDArray[np.float64] | None,
    notes: Sequence[str],
    options: Options,
) -> None:
    axes = axes_of(evidence, ratings)
    titles = {axis.name: axis.title if axis.title == axis.name else f"{axis.title} ({axis.name})" for axis in axes}
    detailed = choose_detailed(evidence, blocks[0], options.detailed)
    data, more = browser.browser_data(evidence, axes, detailed, sources, ratings, output, options.embedding)
    is_simulated = any("Synthetic" in run.config_text for variant in evidence.variants for run in variant.runs)
    warning = ["The corpus is synthesised and its scores are simulated: nothing here says how people hear."]
    published = tables.published(tables.published_rows(evidence.axes), is_simulated)
    left_out = len(evidence.variants) - len(detailed)
    if left_out:
        more.append(
            f"{left_out} variants are in tables and comparisons alone; --detailed shows more of them clip by clip."
        )
    sections = [
        ("answer", "In short", _warning(warning if is_simulated else []) + tables.answer(evidence, blocks[0])),
        ("results", "Results", tables.results(evidence, blocks, titles)),
        ("published", "Published numbers", published),
        ("effects", "Differences from the baseline", gallery.effects(evidence, blocks, titles)),
        ("heat", "Over two settings", gallery.heat_maps(evidence, blocks, titles)),
        ("curves", "Learning curves", gallery.learning_curves(evidence)),
        ("predictions", "Predicted and rated", gallery.predictions(evidence, detailed, blocks, titles)),
        ("pairs", "Pairs in the right order", gallery.pairs_by_gap(evidence, detailed, titles)),
        ("further", "Further numbers", further.further(evidence, detailed, titles)),
        ("maps", "Embedding", gallery.embedding_maps(evidence, detailed, titles)),
        ("errors", "Errors, clip by clip", browser.browser(evidence, axes, detailed, data)),
        ("configs", "Configurations and commands", about.configurations(evidence, output)),
        ("notes", "Notes", about.notes([*notes, *more, *_how(options)])),
    ]
    used = [(id_, heading, inside) for id_, heading, inside in sections if inside]
    with replacing(output / PAGE) as file:
        file.write(
            Template(_asset("page.html")).substitute(
                title=escape(title),
                css=_asset("page.css"),
                script=_asset("page.js") + _asset("browser.js"),
                facts=escape(_facts(evidence)),
                contents="".join(f'<li><a href="#{id_}">{escape(heading)}</a></li>' for id_, heading, _ in used),
                main="\n".join(section(*part) for part in used),
            )
        )


def _warning(lines: Sequence[str]) -> str:
    return "".join(f'<p class="note warn">{escape(line)}</p>' for line in lines)


def _how(options: Options) -> list[str]:
    unit = "clips (utterance level) or systems (system level)" if options.unit is None else f"unit {options.unit}"
    return [
        f"Intervals: bias-corrected and accelerated bootstrap over {unit}, {options.num_resamples} resamples, 95 %; "
        "where there are several seeds, with what other seeds could give.",
        "Everything is computed from predictions.csv; config.yaml, history.csv, clips.csv, ratings.csv, "
        "observations.npz and trial.json add to it where they are there.",
    ]


def _facts(evidence: Evidence) -> str:
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
    return files("lightning_aqa.report").joinpath(name).read_text(encoding="utf-8")
