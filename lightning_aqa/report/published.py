"""What others published on the same corpus, in a block that says so."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.resources import files

from lightning_aqa.report.html import escape
from lightning_aqa.results.tables import DASH, LEVELS, capital

CORPORA = {"MusicEval": ("MI", "TA"), "AES-Natural": ("PQ", "PC", "CE", "CU")}
PUBLISHED_NOTES = {
    "AES-Natural": "An MSE over all systems lies between those of the domains. By Table I of the paper, AESA-Net's MSE "
    "of CE and CU in its Table II cannot come from the same predictions."
}


def published_rows(axes: Sequence[str]) -> list[dict[str, str]]:
    """Return the published numbers of the corpus that has these axes; none for another corpus."""
    corpus = next((name for name, its in CORPORA.items() if set(axes) & set(its)), "")
    lines = files("lightning_aqa.report").joinpath("published.csv").read_text(encoding="utf-8").splitlines()
    return [row for row in csv.DictReader(lines) if row["corpus"] == corpus and row["axis"] in axes]


def published(rows: Sequence[Mapping[str, str]], is_simulated: bool) -> str:
    """Return the published numbers, one table per split and level, saying whose they are."""
    if not rows:
        return ""
    corpus = rows[0]["corpus"]
    told = f"Published by others, on {corpus}; none of these numbers was measured here."
    if is_simulated:
        told += " The scores of this report's own corpus are simulated: nothing here can be set beside them."
    blocks = list(dict.fromkeys((row["split"], row["level"]) for row in rows))
    tables = "".join(
        f"<h3>{escape(capital(split))}, {LEVELS[level]}</h3>"
        + _published_table([row for row in rows if (row["split"], row["level"]) == (split, level)])
        for split, level in blocks
    )
    note = PUBLISHED_NOTES.get(corpus, "")
    return f'<p class="note warn">{escape(told)}</p>{tables}' + (f'<p class="note">{escape(note)}</p>' if note else "")


def _published_table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys((row["axis"], row["metric"]) for row in rows))
    systems = list(dict.fromkeys((row["system"], row["source"]) for row in rows))
    values = {(row["system"], row["axis"], row["metric"]): row["value"] for row in rows}
    heads = "".join(f'<th scope="col" class="n">{escape(axis)} {metric}</th>' for axis, metric in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(system)}</th>'
        + "".join(f'<td class="n">{values.get((system, *column), DASH)}</td>' for column in columns)
        + f"<td>{escape(source)}</td></tr>"
        for system, source in systems
    )
    head = f'<thead><tr><th scope="col">Published</th>{heads}<th scope="col">Source</th></tr></thead>'
    return (
        '<div class="box" tabindex="0" role="region" aria-label="Published numbers"><table>'
        f"{head}<tbody>{body}</tbody></table></div>"
    )
