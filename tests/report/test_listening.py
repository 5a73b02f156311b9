"""A listening test, answered in a browser as a listener would, and read by the tables that train the next predictor."""

import csv
import io
import json
import signal
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.data.pair_table import PairTable
from lightning_aqa.data.table import Table, read_table
from lightning_aqa.report.listening_answers import check_sheet, collect
from lightning_aqa.report.listening_design import read_test
from lightning_aqa.report.listening_server import ListeningServer

RATE = 16_000
ODD = "=1+1 & 'ü'"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three items by a reference and two systems; one of the systems has a name that a spreadsheet would run."""
    root = tmp_path_factory.mktemp("made") / "clips"
    time = np.arange(RATE // 2) / RATE
    for system, noise in {"reference": 0.0, ODD: 0.05, "b": 0.2}.items():
        (root / system).mkdir(parents=True)
        for item in range(3):
            tone = 0.2 * np.sin(2 * np.pi * 300 * (item + 1) * time) + noise * np.cos(2 * np.pi * 7800 * time)
            soundfile.write(root / system / f"{item}.wav", np.stack([tone, -tone], 1), RATE)
    return root


@pytest.fixture(scope="module")
def tests(clips):
    """A test of each kind."""
    for kind in ("mos", "pairs", "mushra"):
        assert main(["listen", str(clips), f"--kind={kind}", f"--output={clips.parent / kind}", "--training=1"]) == 0
    return clips.parent


@pytest.fixture
def open_test(browser):
    """Open a page as a listener; at the end it must have complained of nothing, and asked nobody else."""
    opened = []

    def run(address, listener="Ann", scheme="light", context=None):
        context = context or browser.new_context(color_scheme=scheme, accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(10_000)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        opened.append((context, address, said, asked))
        page.get_by_label("Your name").fill(listener)
        page.keyboard.press("Enter")
        page.locator("#trial:not([hidden])").wait_for()
        return page

    yield run
    for context, address, said, asked in opened:
        assert said == []
        assert [url for url in asked if not url.startswith(("data:", "blob:", address.rsplit("/", 1)[0]))] == []
        context.close()


def _hear(page, keys):
    """Play sounds by the keyboard until each has been heard."""
    for count, key in enumerate(keys, start=1):
        page.keyboard.press(key)
        page.wait_for_function("count => document.querySelectorAll('button.heard').length >= count", arg=count)


ANSWER = {"mos": ([" "], ["4"]), "pairs": (["a", "b"], ["ArrowLeft"]), "mushra": (["r", "1", "2", "3", "4", "5"], [])}


def _answer(page, kind):
    """Answer a trial by the keyboard alone."""
    played, pressed = ANSWER[kind]
    _hear(page, played)
    for key in pressed:
        page.keyboard.press(key)
    if kind == "mushra":
        for number in range(1, 6):
            page.get_by_role("slider", name=f"Sound {number}").focus()
            for _ in range(number):
                page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")


def _answer_all(page, kind):
    while not page.locator("#end").is_visible():
        heading = page.locator("#heading").inner_text()
        _answer(page, kind)
        page.wait_for_function(
            "text => document.querySelector('#trial').hidden || document.querySelector('#heading').innerText !== text",
            arg=heading,
        )


def _saved(page, name):
    with page.expect_download() as found:
        page.get_by_role("button", name=name).click()
    with open(found.value.path(), encoding="utf-8", newline="") as file:
        return file.read()


@pytest.mark.parametrize("kind", ["mos", "pairs", "mushra"])
def test_what_a_listener_saves_is_what_collect_writes_and_what_the_tables_read(tests, clips, open_test, kind):
    folder = tests / kind
    page = open_test((folder / "listening.html").as_uri(), listener="=Ann, 'ü'")
    assert page.locator("#heading").inner_text() == "Training 1 of 1"
    assert page.locator("#next").is_disabled()
    _answer_all(page, kind)
    (folder / "answers" / "ann.json").write_text(_saved(page, "JSON"), encoding="utf-8")
    assert main(["listen", str(folder), "--collect"]) == 0
    path = folder / ("pairs.csv" if kind == "pairs" else "ratings.csv")
    assert path.read_bytes().decode() == _saved(page, "CSV")
    if kind == "pairs":
        manifest = PairTable(str(path), audio_root=str(clips), axes={"overall": [1, 5]}, split_by="clip").read_lists()
        assert manifest.problems == ()
        assert len(manifest.pairs) == 9
        assert {pair.winner for pair in manifest.pairs} == {"a"}
        assert {clip.system for clip in manifest} == {"reference", f"'{ODD}", "b"}
        firsts = {frozenset((pair.clip_a, pair.clip_b)): pair.clip_a for pair in manifest.pairs}
        assert any(first != min(pair) for pair, first in firsts.items())  # the sides are drawn
        assert any(first == min(pair) for pair, first in firsts.items())
        return
    manifest = Table(str(path), audio_root=str(clips)).read_lists()
    assert manifest.problems == ()
    assert sorted(clip.id for clip in manifest) == sorted(
        path.relative_to(clips).as_posix() for path in clips.rglob("*.wav")
    )
    assert {name for clip in manifest for name in clip.ratings} == {"'=Ann, 'ü'"}
    scores = sorted(clip.scores["overall"] for clip in manifest)
    if kind == "mos":
        assert scores == [4.0] * 9
    else:  # five sliders are moved by one to five steps; the two of the anchors are in no table
        assert len(scores) == 9
        assert set(scores) <= {51.0, 52.0, 53.0, 54.0, 55.0}
        assert len(set(scores)) > 2


def test_each_listener_has_an_order_of_his_own_and_the_same_one_again(tests, open_test):
    address = (tests / "pairs" / "listening.html").as_uri()
    seen = []
    for listener in ("Ann", "Ann", "Bob"):
        page = open_test(address, listener=listener)
        page.evaluate("""() => { window.heard = []; HTMLMediaElement.prototype.play = function () {
            window.heard.push(this.src.slice(-400)); this.dispatchEvent(new Event('playing'));
            return Promise.resolve(); }; }""")
        for _ in range(4):
            page.keyboard.press("a")
            page.keyboard.press("b")
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
        found = page.evaluate("window.heard")
        assert len(found) == 8
        seen.append(found)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_progress_is_kept_and_answers_can_be_changed(tests, open_test):
    address = (tests / "mos" / "listening.html").as_uri()
    page = open_test(address, listener="Cleo")
    _answer(page, "mos")
    for _ in range(2):
        _answer(page, "mos")
    page.wait_for_function("document.querySelector('#heading').innerText === 'Trial 3 of 9'")
    again = open_test(address, listener="Cleo", context=page.context)
    assert again.locator("#heading").inner_text() == "Trial 3 of 9"
    again.keyboard.press("Backspace")
    assert again.locator("#heading").inner_text() == "Trial 2 of 9"
    assert again.get_by_label("4 Good").is_checked()
    again.keyboard.press("2")
    again.keyboard.press("Enter")
    _answer_all(again, "mos")
    scores = sorted(answer["scores"][0][0] for answer in json.loads(_saved(again, "JSON"))["answers"])
    assert scores == [2] + [4] * 8


def test_the_page_is_told_to_those_who_do_not_see_it(tests, open_test):
    page = open_test((tests / "mushra" / "listening.html").as_uri(), scheme="dark")
    unnamed = """[...document.querySelectorAll('button, input, progress')].filter(e => e.offsetParent !== null)
        .filter(e => !(e.ariaLabel || e.labels?.length || e.innerText.trim())).length"""
    assert page.evaluate(unnamed) == 0
    assert page.evaluate("document.activeElement.id") == "heading"
    page.get_by_role("slider", name="Sound 2: Overall").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("slider", name="Sound 2: Overall").get_attribute("aria-valuetext") == "51, Fair"
    contrast = """() => { const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
        const [x, y] = [getComputedStyle(document.querySelector('#lacking')).color,
        getComputedStyle(document.body).backgroundColor].map(light).sort(); return (y + .05) / (x + .05); }"""
    assert page.evaluate(contrast) > 4.5
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 375


@pytest.fixture
def server(clips, tmp_path):
    words = ["--kind=mos", "--training=0", "--trials=2", f"--output={tmp_path / 'served'}"]
    assert main(["listen", str(clips), *words]) == 0
    with ListeningServer(tmp_path / "served", read_test(tmp_path / "served"), port=0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_served_test_sends_its_answers_and_names_no_file(server, clips, open_test):
    page = open_test(server.address, listener="Ann")
    assert "1+1" not in page.content()
    assert '"names":null' in page.content()
    _answer_all(page, "mos")
    page.get_by_text("2 trials answered and sent").wait_for()
    manifest = read_table(server.folder / "ratings.csv", audio_root=clips)
    assert [clip.ratings for clip in manifest] == [{"Ann": {"overall": 4.0}}] * 2
    assert len(list((server.folder / "answers").iterdir())) == 1


def _sheet(of, session="0" * 32, **changes):
    answers = [{"trial": trial, "scores": [[3]]} for trial in range(2)]
    return {"test": of.id, "session": session, "listener": "Bob", "answers": answers} | changes


def _ask(server, path="answers", content=None, **headers):
    """Return status and text of a reply."""
    data = content if isinstance(content, bytes | None) else json.dumps(content).encode()
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(server.address + path, data, sent)) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"test": "another"}, "no answers to this test"),
        ({"session": "../../etc/passwd"}, "session is not 32 digits"),
        ({"listener": "a" * 81}, "listener is no name"),
        ({"listener": "a\nb"}, "listener is no name"),
        ({"answers": [{"trial": 99, "scores": [[3]]}]}, "no trial of the test"),
        ({"answers": [{"trial": True, "scores": [[3]]}]}, "no trial of the test"),
        ({"answers": [{"trial": 0, "scores": [[6]]}]}, "trial 0: a score of overall is not from 1 to 5"),
        ({"answers": [{"trial": 0, "scores": [["3"]]}]}, "trial 0: a score of overall"),
        ({"answers": [{"trial": 0, "scores": []}]}, "trial 0: expected the scores"),
        ({"answers": [{"trial": 0, "scores": [[3, 3]]}]}, "trial 0: expected a score per axis"),
        ({"answers": [{"trial": 0, "scores": [[3]]}] * 2}, "a trial has two answers"),
        ({"answers": "many"}, "answers is no list"),
    ],
)
def test_answers_that_no_page_sends_are_refused_and_nothing_is_written(tests, changes, told):
    test = read_test(tests / "mos")
    with pytest.raises(ValueError, match=told):
        check_sheet(_sheet(test) | changes, test)


def test_the_server_gives_nothing_but_the_test_and_takes_nothing_but_answers(server):
    own = f"127.0.0.1:{server.server_port}"
    inside = [b"test.json", b"listening.html", b"ratings.csv", str(server.folder).encode()]
    replies = {
        "../test.json": _ask(server, "../test.json"),
        "sound/../test.json": _ask(server, "sound/../test.json"),
        "sound/9999.wav": _ask(server, "sound/9999.wav"),
        "%2e%2e/test.json": _ask(server, "%2e%2e/test.json"),
        "another host": _ask(server, "", Host="evil.example"),
        "another page": _ask(server, content=_sheet(server.test), Origin="http://evil.example"),
        "a form": _ask(server, content=_sheet(server.test), Content_Type="text/plain"),
        "too long": _ask(server, content=b"{}", Content_Length=str(2**23)),
        "no JSON": _ask(server, content=b"[" * 100_000),
        "no text": _ask(server, content=b"\xff"),
        "no sheet": _ask(server, content={"test": 1}),
    }
    assert {name: code for name, (code, _) in replies.items()} == {
        **dict.fromkeys(["../test.json", "sound/../test.json", "sound/9999.wav", "%2e%2e/test.json"], 404),
        **dict.fromkeys(["another host", "another page"], 403),
        **{"a form": 415, "too long": 413, "no JSON": 400, "no text": 400, "no sheet": 400},
    }
    assert not any(name in text for _, text in replies.values() for name in inside)
    assert list((server.folder / "answers").iterdir()) == []
    assert _ask(server, content=_sheet(server.test), Origin=f"http://{own}") == (200, b'{"saved": 2}')
    assert _ask(server, content=_sheet(server.test, answers=[]))[0] == 400  # fewer than are there
    code, part = _ask(server, "sound/0000.wav", Range="bytes=0-3")
    assert (code, part) == (206, b"RIFF")


def test_listeners_of_one_name_stay_apart_and_a_bad_file_is_named(tests):
    folder = tests / "mos"
    test = read_test(folder)
    before = set((folder / "answers").iterdir())
    for digit in "01":
        (folder / "answers" / f"{digit}.json").write_text(json.dumps(_sheet(test, session=digit * 32)))
    path, _ = collect(folder, test)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert {"Bob", "Bob (2)"} <= {row["listener"] for row in rows}
    (folder / "answers" / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad.json: not JSON.*; move it away, or mend it"):
        collect(folder, test)
    for new in set((folder / "answers").iterdir()) - before:
        new.unlink()


def test_sounds_are_lossless_and_anchors_are_the_reference_below_their_frequency(tests, clips):
    test = read_test(tests / "mushra")
    known = {of.file: of for of in test.stimuli if not of.low_pass}
    assert len(known) == 9
    for number, of in enumerate(test.stimuli):
        heard, rate = soundfile.read(tests / "mushra" / "sound" / f"{number:04d}.wav")
        original, _ = soundfile.read(clips / of.file)
        assert (rate, heard.shape) == (RATE, original.shape)  # both channels
        spectrum = np.abs(np.fft.rfft(heard[:, 0] - original[:, 0]))
        if of.low_pass:
            assert of.system in ("anchor35", "anchor70")
            assert np.abs(heard[1000:-1000] - original[1000:-1000]).max() < 2e-3  # tones of 300 to 900 Hz pass, in time
        else:
            assert spectrum.max() < 0.5


def test_an_anchor_is_without_what_lies_above():
    from lightning_aqa.report.listening_sound import low_pass

    time = np.arange(RATE) / RATE
    for hz, kept in ((3300, 1.0), (3700, 0.0)):
        tone = np.sin(2 * np.pi * hz * time).astype(np.float32)[:, None]
        left = low_pass(tone, RATE, 3500.0, None)[2000:-2000]
        assert np.abs(left).max() == pytest.approx(kept, abs=2e-3)


def test_what_cannot_be_a_test_is_said_in_a_line(clips, tmp_path, fails):
    out = f"--output={tmp_path / 'out'}"
    assert "--kind is missing: mos, pairs or mushra" in fails("listen", str(clips), out)
    assert "no system is called 'gold'" in fails("listen", str(clips), "--kind=mushra", "--reference=gold", out)
    assert "--scale=5: expected the lowest and the highest" in fails(
        "listen", str(clips), "--kind=mos", "--scale=5", out
    )
    assert "a column of the table is called so" in fails("listen", str(clips), "--kind=mos", "--axis=file", out)
    assert "no audio found" in fails("listen", str(tmp_path), "--kind=mos", out)
    (tmp_path / "clips" / "reference").mkdir(parents=True)
    (tmp_path / "clips" / "a").mkdir()
    soundfile.write(tmp_path / "clips" / "reference" / "0.wav", np.zeros(4000), 8000)
    assert "item '0': no system beside it" in fails("listen", str(tmp_path / "clips"), "--kind=mushra", out)
    soundfile.write(tmp_path / "clips" / "a" / "0.wav", np.zeros(4000), 8000)
    assert "8000 Hz leave nothing above 7000 Hz to cut" in fails(
        "listen", str(tmp_path / "clips"), "--kind=mushra", out
    )
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips"]


def test_a_folder_that_is_there_is_kept_unless_it_is_the_same_test(clips, tmp_path, fails):
    words = ["listen", str(clips), "--kind=mos", f"--output={tmp_path / 'out'}"]
    assert main(words) == 0
    (tmp_path / "out" / "answers" / "kept.json").write_text("{}")
    assert main([*words, "--title=A </script> title", "--megabytes=0"]) == 0
    page = (tmp_path / "out" / "listening.html").read_text()
    assert "A &lt;/script&gt; title" in page
    assert "data:audio" not in page
    assert (tmp_path / "out" / "answers" / "kept.json").exists()
    assert "another listening test in it" in fails(*words, "--axis=other")
    assert "--ratings is about what to ask next; give --next too" in fails(*words, "--ratings=ratings.csv")
    (tmp_path / "out" / "answers" / "kept.json").unlink()
    assert "cannot be served at" in fails("listen", str(tmp_path / "out"), "--serve", "--port=70000")
    assert "no answers; put there the JSON files" in fails("listen", str(tmp_path / "out"), "--collect")
    for change in ({"kind": "x"}, {"trials": [{"stimuli": [99], "reference": -1}]}, {"stimuli": 3}, {"seed": "0"}):
        plain = json.loads((tmp_path / "out" / "test.json").read_text()) | change
        (tmp_path / "changed").mkdir(exist_ok=True)
        (tmp_path / "changed" / "test.json").write_text(json.dumps(plain))
        with pytest.raises(ValueError, match=r"test.json: no listening test \(.*\); expected what listen wrote"):
            read_test(tmp_path / "changed")
    assert "that is there; --serve it, or --collect" in fails("listen", str(tmp_path / "out"))


def _asked(capfd, *words):
    capfd.readouterr()
    assert main(["listen", *words]) == 0
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_next_asks_what_tells_most_and_makes_the_page_of_it(clips, tmp_path, capfd, fails):
    rows = [
        f"{system}/{item}.wav,{system},L{turn},3" for system in ("reference", "b") for item in range(3) for turn in "12"
    ]
    (tmp_path / "ratings.csv").write_text(
        "\n".join(["file,system,listener,overall", *rows, f"./{ODD}/0.wav,{ODD},L1,2"])
    )
    given = [str(clips), "--next", f"--ratings={tmp_path / 'ratings.csv'}"]
    found = _asked(capfd, *given, "--kind=mos", "--trials=3")
    assert {of["files"][0] for of in found[:2]} == {f"{ODD}/1.wav", f"{ODD}/2.wav"}
    gains = [of["gain"] for of in found]
    assert gains == sorted(gains, reverse=True)
    own = _asked(capfd, *given, "--kind=mos", "--listener=L1", f"--output={tmp_path / 'out'}")
    assert [of["files"][0] for of in own] == [of["files"][0] for of in found[:2]]  # L1 has rated all others
    test = read_test(tmp_path / "out")
    assert [test.stimuli[of.stimuli[0]].file.removeprefix("./") for of in test.trials] == [of["files"][0] for of in own]
    assert test.ordered
    assert len(test.stimuli) == 2
    (tmp_path / "all.csv").write_text(
        "\n".join(["file,system,listener,overall", *(f"b/{i}.wav,b,L1,3" for i in range(3))])
    )
    items = _asked(capfd, str(clips), "--next", f"--ratings={tmp_path / 'all.csv'}", "--kind=mushra", "--scale=1-5")
    assert sorted(of["files"][0].split("/")[1] for of in items) == ["0.wav", "1.wav", "2.wav"]
    (tmp_path / "else.csv").write_text("file,listener,overall\nx.wav,L1,3\n")
    told = fails("listen", str(clips), "--next", f"--ratings={tmp_path / 'else.csv'}", "--kind=mos")
    assert "none of its clips is one to ask about" in told


def test_next_pairs_are_those_of_systems_that_are_not_told_apart(clips, tmp_path, capfd):
    rows = [f"b/{item}.wav,reference/{item}.wav,b,L{turn}" for item in range(3) for turn in "123456"]
    (tmp_path / "pairs.csv").write_text("\n".join(["clip_a,clip_b,winner,listener", *rows]))
    lines = [
        f"{path.relative_to(clips).as_posix()},{3 + (path.parent.name == ODD)},2,4" for path in clips.rglob("*.wav")
    ]
    (tmp_path / "scores.csv").write_text("\n".join(["path,overall,low,high", *lines]))
    words = [str(clips), "--next", "--kind=pairs", f"--ratings={tmp_path / 'pairs.csv'}"]
    for more in ([], [f"--predictions={tmp_path / 'scores.csv'}"]):
        asked = _asked(capfd, *words, *more, "--trials=4", "--listener=L1")
        assert len(asked) == 4
        assert all(ODD in " ".join(of["files"]) for of in asked)  # L1 has judged the others


def test_a_served_test_ends_with_a_line_when_it_is_asked_to(tests, capfd, monkeypatch):
    monkeypatch.setattr(ListeningServer, "serve_forever", lambda server: signal.raise_signal(signal.SIGTERM))
    assert main(["listen", str(tests / "mos"), "--serve", "--port=0"]) == 128 + signal.SIGTERM
    said = capfd.readouterr()
    assert said.out.startswith("http://127.0.0.1:")
    assert said.err.endswith(f"stopped by SIGTERM; the answers in {tests / 'mos'} are whole.\n")
