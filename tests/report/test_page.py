"""The page in a browser: from disk, without network; sorted, filtered, played, in both themes, on a phone."""

import csv
import re

import numpy as np
import pytest
from scipy.stats import t

from lightning_aqa.cli.main import main
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.runs import find_runs
from lightning_aqa.results.variants import collect
from tests.small_sweep import write_run


@pytest.fixture
def open_page(browser):
    """Open a page; at the end it must have asked for nothing but itself, and have had nothing to complain of."""
    opened = []

    def run(path, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(10_000)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        opened.append((context, path, said, asked))
        return page

    yield run
    for context, path, said, asked in opened:
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        context.close()


def _texts(page, selector):
    return page.locator(selector).all_inner_texts()


def _numbers(page, column):
    return [float(text.replace("\u2212", "-")) for text in _texts(page, f"#browser tbody td:nth-child({column})")]


def test_the_browser_of_errors_sorts_filters_and_plays(report, open_page):
    page = open_page(report / "report.html")
    assert page.locator("#browser tbody tr").count() == 25
    sizes = _numbers(page, 7)
    assert sizes == sorted(sizes, reverse=True)
    page.get_by_role("button", name="Rated", exact=True).click()
    assert page.locator("#browser th[aria-sort]").inner_text().startswith("Rated")
    rated = _numbers(page, 4)
    assert rated == sorted(rated, reverse=True)
    page.get_by_role("button", name="Rated", exact=True).click()
    assert page.locator("#browser th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert _numbers(page, 4) != rated

    page.locator("#browser [name=domain]").select_option("speech")
    page.locator("#browser [name=system]").select_option("S3")
    assert set(_texts(page, "#browser tbody td:nth-child(2)")) == {"S3"}
    assert set(_texts(page, "#browser tbody td:nth-child(3)")) == {"speech"}
    page.locator("#browser [name=search]").fill("nothing like it")
    assert page.locator("#browser .count").inner_text() == "Clips none"
    page.locator("#browser [name=search]").fill("_p003")
    assert page.locator("#browser .count").inner_text() == "Clips 1\u20131 of 1"

    page.locator("#browser [name=search]").fill("")
    page.locator("#browser [name=system]").select_option("")
    page.locator("#browser [name=domain]").select_option("")
    page.get_by_role("button", name="Sound").click()
    page.locator("#browser button.open").first.click()
    assert page.locator("#browser .detail audio").count() == 1
    playable = "audio => new Promise(done => { audio.oncanplay = () => done(audio.duration);"
    playable += " audio.onerror = () => done(-1); audio.load(); })"
    assert page.locator("#browser .detail audio").evaluate(playable) == pytest.approx(0.5, abs=0.05)
    assert page.locator("#browser .detail img").evaluate("image => image.naturalWidth") == 480
    assert page.locator("#browser .detail svg.strip").count() == 2
    assert "A <b>tune</b> & no." in page.locator("#browser blockquote").inner_text()


def test_wrong_pairs_open_to_both_clips(report, open_page):
    page = open_page(report / "report.html")
    page.get_by_role("button", name="Pairs ranked wrongly").click()
    gaps = _numbers(page, 3)
    assert gaps == sorted(gaps, reverse=True)
    page.locator("#browser button.open").first.click()
    assert page.locator("#browser .detail .card").count() == 2
    page.locator("#browser [name=axis]").select_option("1")
    assert page.locator("#browser tbody tr").count() > 0


def test_systems_have_their_means_with_intervals_and_lead_to_their_clips(report, open_page, sweep):
    page = open_page(report / "report.html")
    page.get_by_role("button", name="Systems", exact=True).click()
    evidence = collect(find_runs([sweep])[0], "test")
    rows = [i for i, name in enumerate(evidence.systems) if name == "S3"]
    line = page.locator("#browser tbody tr", has_text="S3")
    rated = evidence.targets[rows, 0]
    half = t.ppf(0.975, len(rated) - 1) * rated.std(ddof=1) / len(rated) ** 0.5
    low, high = max(rated.mean() - half, 1), min(rated.mean() + half, 5)
    assert line.locator("td").all_inner_texts()[:2] == ["8", f"{rated.mean():.2f}\n[{low:.2f}, {high:.2f}]"]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    with open(saved.value.path(), newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["System"] == "S3")
    assert [float(row[name]) for name in ("Rated", "rated low")] == pytest.approx([rated.mean(), low], abs=1e-3)
    line.get_by_role("button").click()
    assert set(_texts(page, "#browser tbody td:nth-child(2)")) == {"S3"}
    assert page.locator("#browser .count").inner_text() == "Clips 1\u20138 of 8"


def test_two_variants_are_set_side_by_side_clip_by_clip(report, open_page):
    page = open_page(report / "report.html")
    page.get_by_role("button", name="Two variants").click()
    rated, a, b, size_a, size_b, gap = (np.array(_numbers(page, column)) for column in range(4, 10))
    assert np.allclose(size_a, abs(a - rated), atol=0.011)
    assert np.allclose(gap, size_a - size_b, atol=0.011)
    assert gap.tolist() == sorted(gap, reverse=True)
    assert not np.allclose(a, b)
    assert page.locator("#browser svg.two path.dots").count() == 1
    wins = int(
        re.search(r"A is nearer to the rating in (\d+) of 40 clips", page.locator("#browser .picture").inner_text())[1]
    )
    page.locator("#browser [name=against]").select_option("0")
    assert set(_numbers(page, 9)) == {0.0}
    page.locator("#browser [name=variant]").select_option("1")
    assert f"in {40 - wins} of 40" in page.locator("#browser .picture").inner_text()


def test_each_variant_is_set_against_each(report, open_page):
    page = open_page(report / "report.html")
    table = page.locator("#pairwise tbody")
    values = [
        [cell.split("\n")[0].rstrip("*") for cell in row.locator("td").all_inner_texts()]
        for row in table.locator("tr").all()
    ]
    turned = str.maketrans("+\u2212", "\u2212+")
    assert [len(row) for row in values] == [4] * 4
    assert all(values[i][j].translate(turned) == values[j][i] for i in range(4) for j in range(i))
    page.locator("#pairwise [name=metric]").select_option("MSE")
    page.locator("#pairwise [name=axis]").select_option("TA")
    assert page.locator("#pairwise tbody td").nth(1).inner_text().split("\n")[0] != values[0][1]


def test_the_headline_is_on_screen_and_a_phone_shows_that_there_is_more(report, open_page):
    for width in (1400, 390):
        page = open_page(report / "report.html", width=width)
        table = page.locator("#results table:visible")
        cell = table.locator("tbody td").first.bounding_box()
        assert cell["x"] + cell["width"] < width
        assert table.locator("thead th").nth(1).inner_text().startswith("Mean over axes")
    hint = page.locator("#results .hint:visible")
    assert hint.count() == 1
    page.locator("#results .box:visible").evaluate("box => box.scrollTo(9999, 0)")
    hint.wait_for(state="hidden")
    name = table.locator("tbody th").first.bounding_box()
    assert 0 <= name["x"] < 40


def test_paper_shows_whole_tables(report, open_page):
    page = open_page(report / "report.html", width=1000)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1047, "height": 740})  # A4, across
    table = page.locator("#results table:visible").first.bounding_box()
    assert table["x"] + table["width"] <= 1047
    assert page.locator("#results .box:visible").first.evaluate("box => getComputedStyle(box).overflowX") == "visible"


def test_the_table_of_results_sorts_and_its_rows_lead_to_config_and_command(report, open_page):
    page = open_page(report / "report.html")
    shown = page.locator("#results table:visible")
    assert shown.count() == 1
    shown.get_by_role("button", name="SRCC").first.click()
    values = (
        shown.locator("tbody")
        .first.locator("tr td:nth-child(2)")
        .evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
    )
    assert values == sorted(values, reverse=True)
    page.locator("select[data-choose=results]").first.select_option("utterance")
    assert "System mean" in page.locator("#results table:visible").inner_text()
    page.locator("#results table:visible a").first.click()
    opened = page.locator("details[open]")
    assert "python -m x" in opened.inner_text()
    assert "seed_everything" in opened.inner_text()


def test_the_theme_follows_the_system_until_the_reader_chooses(report, open_page):
    page = open_page(report / "report.html", scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.get_by_role("button", name="Theme: auto").click()
    light = page.evaluate(colour)
    assert dark != light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(colour) == dark
    assert page.evaluate("getComputedStyle(document.querySelector('svg text')).fill") != light


@pytest.mark.parametrize("width", [375, 800])
def test_nothing_is_wider_than_the_screen(report, open_page, width):
    page = open_page(report / "report.html", width=width)
    page.locator("#browser button.open").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    detail = page.locator("#browser .detail").bounding_box()
    assert detail["x"] >= 0
    assert detail["x"] + detail["width"] <= width


def test_everything_is_reached_by_the_keyboard(report, open_page):
    page = open_page(report / "report.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.locator("#browser button.open").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.detail') !== null")
    header = page.locator("#browser").get_by_role("button", name="Error", exact=True)
    header.focus()
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.textContent") == "Error"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_three_thousand_clips_stay_usable(tmp_path, open_page):
    draw = np.random.default_rng(0)
    ids = [f"clip{i:04d}" for i in range(3000)]
    targets = draw.uniform(1, 5, (3000, 1)).round(1)
    of = Predictions(ids, [""] * 3000, [""] * 3000, targets, targets + draw.normal(0, 0.5, (3000, 1)))
    write_run(tmp_path / "run", of, axes=["</script><b>axis"])
    assert main(["report", str(tmp_path / "run"), "--resamples=100"]) == 0
    page = open_page(tmp_path / "run" / "report" / "report.html")
    assert page.locator("#browser .count").inner_text() == "Clips 1\u201325 of 3000"
    assert page.locator("#browser tbody tr").count() == 25
    page.get_by_role("button", name="Next").click()
    assert page.locator("#browser .count").inner_text() == "Clips 26\u201350 of 3000"
    page.locator("#browser [name=search]").fill("clip2999")
    assert _texts(page, "#browser tbody th") == ["2999"] or "2999" in _texts(page, "#browser tbody th")[0]
    assert page.locator("#browser tbody tr").count() == 1
