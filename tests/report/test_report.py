"""The verb from end to end: what is on the page, what is told where something is missing, what is refused."""

import base64
import json
import re

import numpy as np
import pytest

from lightning_aqa.cli.main import main
from lightning_aqa.report.context import axes_of
from lightning_aqa.report.maps import agreement, frames_of, map_of, principal_components
from lightning_aqa.results.predictions import read_predictions, write_predictions
from lightning_aqa.results.published import published_rows
from lightning_aqa.results.runs import find_runs, read_run
from lightning_aqa.results.variants import collect
from tests.small_sweep import table, write_run


@pytest.fixture(scope="module")
def page(report):
    return (report / "report.html").read_text(encoding="utf-8")


def _data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_has_every_part_of_a_sweep(page):
    found = re.findall(r'<section id="(\w+)"', page)
    assert found == [
        "answer", "effects", "results", "each", "published", "heat", "predictions", "pairs", "further",
        "listeners", "maps",
        "errors", "curves", "configs", "notes",
    ]  # fmt: skip
    assert page.count('<details class="config"') == 4
    assert "1 not finished, left out: t9" in page
    assert "2000 resamples" not in page


def test_the_page_asks_for_nothing_from_elsewhere(page):
    outside = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", outside)
    assert "@import" not in outside
    assert "url(" not in outside


def test_a_page_that_is_mailed_has_its_tables_and_no_link_that_leads_nowhere(page, report):
    links = re.findall(r"""<a [^>]*href="([^"]*)\"""", page)
    assert {link.partition(":")[0] for link in links if not link.startswith("#")} == {"data"}
    assert all(f'id="{link[1:]}"' in page for link in links if link.startswith("#"))
    found = re.findall(r'<a download="([^"]*)" href="data:[^;]*;base64,([^"]*)"', page)
    assert {name: base64.b64decode(text) for name, text in found} == {
        name: (report / name).read_bytes() for name in ("tables.csv", "tables.md", "tables.tex")
    }


def test_the_page_says_when_and_by_what_it_was_made(tmp_path):
    folder = write_run(tmp_path / "run", table(12))
    facts = {"git_commit": "0123456789abcdef", "date": "2026-11-01T10:00:00+00:00", "versions": {"torch": "2.8.0"}}
    facts["speed"] = {"times_real_time": 43.21, "peak_megabytes": 812, "device": "cpu, 2 threads"}
    facts["wandb"] = "https://example.org/runs/1"
    (folder / "run.json").write_text(json.dumps(facts))
    text = _reported(folder)
    assert '<a href="https://example.org/runs/1" rel="noreferrer">W&amp;B</a>' in text
    assert re.search(r"Written \d{4}-\d\d-\d\d by lightning_aqa \S+ · runs of 2026-11-01 · commit 0123456789<", text)
    assert "The runs were made with torch 2.8.0." in text
    assert re.search("Speed and memory</h2>.*>43.21</td>.*>812</td><td>cpu, 2 threads</td>", text, re.DOTALL)


def test_folds_are_named_with_their_spread(tmp_path):
    folder = write_run(tmp_path / "run", table(12))
    (folder / "run.json").write_text('{"folds": 2}')
    for k, (srcc, mse) in enumerate([(0.5, 0.2), (0.7, 0.1)]):
        (folder / f"fold{k}").mkdir()
        numbers = {"test": {"utterance": {"mean": {"SRCC": srcc, "MSE": mse}}}}
        (folder / f"fold{k}" / "results.json").write_text(json.dumps(numbers))
    assert main(["report", str(folder), "--resamples=100"]) == 0
    text = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "out of fold, 2 folds" in text
    row = re.search(r"<td>SRCC</td>(.*?)</tr>", text)[1]
    assert re.findall(r">([^<]+)</td>", row) == [".500", ".700", ".600 ± .141"]
    assert "Folds</h2>" not in _reported(write_run(tmp_path / "whole", table(12)))


def test_a_tool_on_a_scale_of_its_own_has_a_picture_of_its_own(tmp_path):
    of = table(12, num_axes=1)
    folder = write_run(tmp_path / "run", of, axes=["MI"])
    rows = [f"{id_},{20 * score:.3f}" for id_, score in zip(of.ids, of.targets[:, 0], strict=True)]
    (tmp_path / "loud.csv").write_text("\n".join(["id,score", *rows]) + "\n")
    text = _reported(folder, f"--judge=loud={tmp_path / 'loud.csv'}")
    assert "1 variant · 1 run · 1 other tool" in text
    pictures = dict(re.findall(r'aria-label="Predicted against rated clips, MI, (\w+)"(.*?)</svg>', text))
    assert ["identity" in pictures[name] for name in ("run", "loud")] == [True, False]
    assert 'aria-label="Error by rating, MI, run"' in text
    assert 'aria-label="Error by rating, MI, loud"' not in text


def _reported(folder, *words):
    assert main(["report", str(folder), "--resamples=100", *words]) == 0
    return (folder / "report" / "report.html").read_text(encoding="utf-8")


def test_pictures_of_all_variants_have_the_same_sides(page):
    section = re.search(r'<section id="predictions">(.*?)</section>', page, re.DOTALL)[1]
    for kind in ("clips", "systems"):
        pictures = re.findall(rf'<svg role="img" aria-label="Predicted against rated {kind}, MI, .*?</svg>', section)
        ticks = {tuple(re.findall(r'<text class="tick[^>]*>[^<]*</text>', of)) for of in pictures}
        assert (len(pictures), len(ticks)) == (3, 1)


def test_every_cell_of_a_heat_map_is_the_mean_of_its_variant(page, sweep):
    heat = re.search(r'data-of="heat" data-is="utterance\|MSE" class="grid">(.*?)</div>', page, re.DOTALL)[1]
    cells = re.findall(r"margin_scale (\S+), objectives.qamro.preference_factor (\S+): (\S+)</title>", heat)
    evidence = collect(find_runs([sweep])[0], "test")
    expected = {
        (margin, factor): float(np.mean((variant.scores[:, :, 0] - evidence.targets[:, 0]) ** 2))
        for variant, (margin, factor) in zip(
            evidence.variants, [(m, f) for m in ("0.1", "0.4") for f in ("1", "7")], strict=True
        )
    }
    assert len(cells) == 4 * 3
    assert {(m, f): float(value) for m, f, value in cells[4:8]} == {
        key: pytest.approx(value, abs=1e-4) for key, value in expected.items()
    }  # fmt: skip


def test_the_data_of_the_browser_is_that_of_the_table(page, sweep):
    data = _data(page)
    evidence = collect(find_runs([sweep])[0], "test")
    assert data["ids"] == evidence.ids
    assert np.allclose(np.array(data["targets"]).T, evidence.targets, atol=6e-4)
    assert [len(data["scores"]), len(data["pairs"])] == [3, 3]
    assert len(data["media"]) == 6
    assert all(media["sound"].startswith("data:audio/flac;base64,") for media in data["media"].values())
    assert set(data["frames"]) <= set(data["media"])
    assert np.array(data["ratings"]).shape == (2, 40, 4)
    assert data["prompts"][0] == "A <b>tune</b> & no. 0"


def test_links_to_audio_start_from_the_page(page, report):
    paths = _data(page)["paths"]
    assert len(paths) == 40
    assert all((report / path).is_file() for path in paths)


def test_the_page_is_no_larger_than_it_may_be(sweep, tmp_path):
    words = ["--resamples=100", "--clips=40", "--megabytes=0.05", "--detailed=1", f"--output={tmp_path}"]
    assert main(["report", str(sweep), *words]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    media = _data(text)["media"].values()
    assert 0 < sum(len(of["sound"]) + len(of["picture"]) for of in media) <= 50_000
    assert "did not fit into 0.05 MB" in text
    assert "3 variants are in tables and comparisons alone" in text


def test_predictions_alone_are_enough(tmp_path, capsys):
    of = table(12)._replace(prompts=None)
    folder = write_run(tmp_path / "run", of, axes=["x & <y>", "TA"])
    assert main(["report", str(folder), "--resamples=100"]) == 0
    text = (folder / "report" / "report.html").read_text(encoding="utf-8")
    for told in ("No ratings.csv", "No audio of any clip", "No history.csv", "No config.yaml"):
        assert told in text
    assert "x &amp; &lt;y&gt;" in text
    assert "<y>" not in re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert capsys.readouterr().out.count("MB\n") == 4


WEIRD = {
    "one clip": table(1),
    "two clips": table(2),
    "no systems, no domains": table(12)._replace(systems=[""] * 12, domains=[""] * 12),
    "constant scores": table(12)._replace(scores=np.full((12, 2), 3.0)),
    "an axis without ratings": table(12)._replace(targets=np.where([True, False], table(12).targets, np.nan)),
    "a score that is not finite": table(12)._replace(scores=np.where(np.eye(12, 2), np.nan, table(12).scores)),
    "names that are code": table(6)._replace(systems=["</script>", "$x", "&", "'", '"', "S"], ids=list("<>&'\"/")),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIRD)
def test_a_weird_table_is_reported(tmp_path, name):
    folder = write_run(tmp_path / "run", WEIRD[name])
    assert main(["report", str(folder), "--resamples=100"]) == 0
    text = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert _data(text)["ids"] == sorted(WEIRD[name].ids)
    assert text.count("<script>") == 1
    assert "nan" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL).lower().split(" ")


SIMULATED = "its scores are simulated"
BROKEN = '{"axes": [1], "is_simulated": 0, "speed": {"device": 1, "times_real_time": "x"}}'
NOT_FINITE = (
    '{"date": 1, "versions": [], "folds": -3, "wandb": "javascript:1", "speed": {"peak_megabytes": NaN}, '
    '"axes": [{"name": "MI", "title": null, "low": NaN, "high": 1e999}]}'
)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{}",
        "[]",
        "not json",
        BROKEN,
        '{"axes": null}',
        NOT_FINITE,
    ],
)
def test_a_page_says_that_scores_are_simulated_where_the_run_does_and_damaged_facts_are_none(tmp_path, text):
    folder = write_run(tmp_path / "run", table(12))
    for facts, expected in ((text, False), ('{"is_simulated": true}', True)):
        if facts is not None:
            (folder / "run.json").write_text(facts)
        assert main(["report", str(folder), "--resamples=100"]) == 0
        assert (SIMULATED in (folder / "report" / "report.html").read_text(encoding="utf-8")) is expected


def test_old_run_folders_are_read(tmp_path):
    folder = write_run(tmp_path / "run", table(6))
    splits, axes = read_predictions(folder / "predictions.csv")
    write_predictions(folder / "predictions.csv", splits, axes)
    lines = (folder / "predictions.csv").read_text().splitlines()
    old = [",".join([*row[:4], *row[5:8]]) for row in (line.split(",") for line in lines)]
    (folder / "predictions.csv").write_text("\n".join(old) + "\n")
    assert old[0] == "split,id,system,domain,axis,target,score"
    assert main(["report", str(folder), "--resamples=100"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--split=dev"], "--split=dev: not rated in every run"),
        (["--baseline=x"], "--baseline=x: no such variant; there are: "),
        (["--resamples=3"], "--resamples must be at least 100, got 3."),
        (["--equivalence=0"], "--equivalence must be a difference above 0, such as .01, got 0."),
        (["--columns=SRCC,TB"], "--columns: no metric or axis 'TB'; there are MSE, LCC, SRCC, KTAU, MI, TA, mean."),
        (["--clips=-1"], "--clips must be at least 0, got -1."),
        (["--audio_root=nowhere"], "--audio_root=nowhere: no such folder."),
    ],
)
def test_a_wrong_option_is_told_in_one_line(sweep, tmp_path, fails, words, told):
    said = fails("report", str(sweep), f"--output={tmp_path / 'out'}", *words)
    assert told in said
    assert said.count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_published_numbers_are_those_of_the_corpus():
    rows = published_rows(["MI", "TA"])
    assert {row["corpus"] for row in rows} == {"MusicEval"}
    test = {tuple(row[k] for k in ("system", "axis", "metric")): row["value"] for row in rows if row["n"] == "30"}
    assert (test["DeRA-MOS", "MI", "SRCC"], test["DeRA-MOS", "TA", "SRCC"]) == (".989", ".956")
    assert len([row for row in published_rows(["PQ", "PC", "CE", "CU"]) if row["system"] == "AESA-Net"]) == 16
    assert published_rows(["overall"]) == []


def test_titles_and_scales_of_axes_are_those_of_the_run_or_of_the_config_or_of_the_ratings(tmp_path):
    config = {"data": {"class_path": "a.Table", "init_args": {"axes": {"x": [0, 100]}}}}
    of = table(12)
    told = write_run(tmp_path / "told", of, config, axes=["x", "MI"])
    facts = {"axes": [{"name": "MI", "title": "Musical impression", "low": 1, "high": 5}]}
    (told / "run.json").write_text(json.dumps(facts))
    evidence = collect(find_runs([told])[0], "test")
    axes = axes_of(evidence, None)
    assert [axis[2:] for axis in axes] == [(0, 100), (1, 5)]
    assert axes[1].title == "Musical impression"
    untold = collect(find_runs([write_run(tmp_path / "untold", of, axes=["x", "MI"])])[0], "test")
    assert axes_of(untold, np.full((12, 2, 1), 6.5))[0].high == 7


def test_principal_components_are_the_leading_eigenvectors():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(50, 6)) * [5, 3, 1, 0.5, 0.1, 0.1]
    found, explained = principal_components(points)
    values, vectors = np.linalg.eigh(np.cov(points.T))
    assert explained == pytest.approx(values[::-1][:2] / values.sum())
    expected = (points - points.mean(0)) @ vectors[:, ::-1][:, :2]
    assert np.allclose(np.abs(found), np.abs(expected))
    assert principal_components(np.ones((4, 3)))[1] == (0.0, 0.0)
    assert principal_components(np.arange(4.0)[:, None])[0].shape == (4, 2)


def test_embeddings_that_follow_the_ratings_agree_with_them():
    ratings = np.random.default_rng(0).uniform(1, 5, 60)
    assert agreement(ratings[:, None] * [2.0, 1.0], ratings) == pytest.approx(1)
    assert abs(agreement(np.random.default_rng(1).normal(size=(60, 2)), ratings)) < 0.2


def test_what_a_run_left_of_embeddings_and_frames_is_read(sweep):
    found = map_of(read_run(sweep / "t0"), "test")
    assert (len(found.ids), found.embeddings.shape) == (40, (40, 6))
    assert map_of(read_run(sweep / "t1"), "test") is None
    assert map_of(read_run(sweep / "t0"), "dev") is None
    frames = frames_of(read_run(sweep / "t0"), "test")
    assert {scores.shape for scores in frames.values()} == {(20, 2)}
    assert frames_of(read_run(sweep / "t1"), "test") == {}
