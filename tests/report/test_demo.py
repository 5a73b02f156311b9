"""A page that scores clips: uploaded and recorded in a browser as a person would, and attacked as others would."""

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lightning_aqa.cli.main import main
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.module import AQAModule
from lightning_aqa.report import demo_server, local_server
from lightning_aqa.report.demo_server import DemoServer
from lightning_aqa.report.local_server import LocalServer
from lightning_aqa.scoring.clip_view import ClipView, outline
from lightning_aqa.scoring.load import load
from lightning_aqa.scoring.scorer import Scorer

RATE = 16_000
LIMIT = 3.0
AXES = [("PQ", "Production </script> quality", 0.0, 10.0), ("CE", "Content enjoyment", 0.0, 10.0)]


@contextmanager
def _serving(server, serve=LocalServer.serve_forever):
    """Serve in a thread, which ends however the test does."""
    thread = threading.Thread(target=serve, args=(server, 0.01))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def running(checkpoint):
    """A server of a trained model without scores of frames."""
    view = ClipView(load(checkpoint, num_workers=0, device="cpu"), LIMIT)
    with DemoServer(view, view.about(), "Score </title> a clip", 1.0, port=0) as server, _serving(server):
        yield server
    assert not Path(server._folder.name).exists()


@pytest.fixture
def folder(running):
    """Its temporary folder, which holds nothing once an answer is there."""
    yield Path(running._folder.name)
    assert list(Path(running._folder.name).iterdir()) == []


def _ask(server, content, name="a.wav", path="score", prompt="", **headers):
    """Return status and what a reply says."""
    sent = {"Content-Type": "application/octet-stream"}
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    address = f"{server.address}{path}?{urllib.parse.urlencode({'name': name, 'prompt': prompt})}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, content, sent), timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def _tone(path, seconds, channels=1, **how):
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(path, np.stack([wave] * channels, 1), RATE, **how)
    return path


@pytest.fixture
def page(running, browser):
    """The page, which at the end must have complained of nothing and asked nobody else."""
    with browser.new_context(permissions=["microphone"]) as context:
        opened, said, asked = context.new_page(), [], []
        opened.set_default_timeout(20_000)
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(running.address)
        yield opened
        assert [text for text in said if "status of 4" not in text] == []
        assert [url for url in asked if not url.startswith(("data:", "blob:", running.address))] == []


def _shown(page):
    """Return the scores that the newest result shows, and its interval's ends."""
    rows = page.locator("article").first.locator("tbody tr")
    return {row.locator("th").inner_text(): re.findall(r"-?\d+\.\d\d", row.inner_text())[:3] for row in rows.all()}


def test_the_page_shows_what_score_writes(page, clips, score):
    _, rows, _ = score(clips / "b.flac", clips / "more" / "f.wav")
    titles = {"Musical impression": "MI", "Textual alignment": "TA"}
    for row in rows:
        page.get_by_label("Choose a clip").set_input_files(row["path"])
        page.get_by_role("button", name="Score").click()
        page.get_by_role("heading", name=Path(row["path"]).name).wait_for()
        found = _shown(page)
        assert found.keys() == titles.keys()
        for title, axis in titles.items():
            values = [row[name] for name in (axis, f"{axis} low", f"{axis} high") if row.get(name)]
            assert found[title][: len(values)] == [f"{float(value):.2f}" for value in values]
            exact = page.locator("article").first.locator("data").nth(list(titles).index(title)).get_attribute("value")
            assert float(exact) == float(row[axis])
        shown = page.locator("article").first.inner_text()
        assert row["note"] in shown
        assert ("Unlike the training clips" in shown) == bool(row.get("unlike"))
    assert page.locator("article").count() == 2
    assert page.locator("article .wave").first.get_attribute("d").count("Z") > 100
    assert page.locator("article .frames").first.get_attribute("d") is None
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    unnamed = """[...document.querySelectorAll('button, input, audio, meter')].filter(e => e.offsetParent !== null)
        .filter(e => !(e.ariaLabel || e.labels?.length || e.innerText.trim() || e.id === 'preview')).length"""
    assert page.evaluate(unnamed) == 0


def test_a_recording_is_scored_and_what_is_no_audio_is_said(page, folder, tmp_path):
    page.get_by_role("button", name="Record").click()
    page.wait_for_function("() => parseFloat(document.querySelector('#clock').innerText) >= 0.6")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("recording-1.wav").wait_for()
    page.get_by_role("button", name="Score").click()
    page.get_by_role("heading", name="recording-1.wav").wait_for()
    assert all(len(values) for values in _shown(page).values())
    assert page.evaluate("document.querySelector('article audio').error") is None
    (tmp_path / "x.wav").write_bytes(b"no audio at all" * 100)
    page.get_by_label("Choose a clip").set_input_files(tmp_path / "x.wav")
    page.get_by_role("button", name="Score").click()
    page.get_by_role("alert").wait_for()
    assert "x.wav: cannot be read as audio" in page.get_by_role("alert").inner_text()
    (tmp_path / "big.wav").write_bytes(bytes(2**20 + 1))
    page.get_by_label("Choose a clip").set_input_files(tmp_path / "big.wav")
    assert "expected at most 1." in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Score", exact=True).is_disabled()


def test_elsewhere_the_page_says_why_it_cannot_record(browser):
    text = demo_server.page_of("T", {"reads_text": True, "seconds": 9, "share": None, "why_none": "", "megabytes": 1,
                                     "most_prompt": 10})  # fmt: skip
    with browser.new_context() as context:
        page = context.new_page()
        page.route("http://demo.example/", lambda route: route.fulfill(body=text, content_type="text/html"))
        page.goto("http://demo.example/")
        assert "needs https or this machine's own address" in page.locator("#microphone").inner_text()
        assert page.get_by_role("button", name="Record").is_disabled()
        assert page.get_by_label("Prompt").get_attribute("maxlength") == "10"


def test_scores_of_frames_are_drawn_over_the_waveform(browser, tmp_path):
    torch.manual_seed(0)
    encoder = MelSpectrogram(width=8, depth=1, num_heads=1, window_seconds=0.5)
    module = AQAModule(AXES, encoder, lambda *sizes: AESANet(*sizes, adapter_width=8, lstm_width=8, shared_width=8))
    with torch.no_grad():
        for parameter in module.head.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, round(1.6 * RATE)) * (np.arange(1.6 * RATE) > 0.5 * RATE)
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    view = ClipView(Scorer(module, device="cpu", num_workers=0), LIMIT)
    server = DemoServer(view, view.about(), "T", 1.0, port=0)
    with server, _serving(server), browser.new_context() as context:
        page = context.new_page()
        page.goto(server.address)
        page.get_by_label("Choose a clip").set_input_files(tmp_path / "a.flac")
        page.get_by_role("button", name="Score").click()
        page.get_by_role("heading", name="a.flac").wait_for()
        first = page.locator(".frames").get_attribute("d")
        steps = [float(end) for end in re.findall(r"H([\d.]+)", first)]
        assert steps == sorted(steps)
        assert steps[-1] == pytest.approx(600 * 1.5 / 1.6)  # a tail of 0.1 s is too short for a window
        page.get_by_role("button", name="Content enjoyment").click()
        assert page.locator(".frames").get_attribute("d") != first
        label = page.get_by_role("img").get_attribute("aria-label")
        low, high = map(float, re.search(r"Content enjoyment by frame, from (\d+\.\d+) to (\d+\.\d+)", label).groups())
        ends = [float(text) for text in page.locator(".chart .scale span").all_inner_texts()]
        assert ends[0] - ends[1] > 1.95  # a fifth of the scale, in one digit
        assert ends[1] - 0.05 <= low < high <= ends[0] + 0.05
        page.set_viewport_size({"width": 375, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_hostile_uploads_get_a_line_and_no_path(running, folder, tmp_path, capfd):
    whole = _tone(tmp_path / "a.wav", 1.0).read_bytes()
    _tone(tmp_path / "short.wav", 0.0)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    replies = {
        "not audio": _ask(running, os.urandom(5000)),
        "truncated": _ask(running, whole[: len(whole) // 2]),
        "empty": _ask(running, b""),
        "no samples": _ask(running, (tmp_path / "short.wav").read_bytes()),
        "not finite": _ask(running, (tmp_path / "nan.wav").read_bytes()),
        "a list": _ask(running, b"/etc/passwd", "a.jsonl"),
        "no suffix": _ask(running, whole, "a"),
        "a playlist": _ask(running, b"#EXTM3U\nfile:///etc/passwd", "a.m4a"),
        "too large": _ask(running, bytes(2**20 + 1)),
        "a form": _ask(running, whole, Content_Type="multipart/form-data"),
        "no length": _ask(running, whole, Transfer_Encoding="chunked"),
        "a long prompt": _ask(running, whole, prompt="x" * 2001),
        "another page": _ask(running, whole, Origin="http://evil.example"),
        "another host": _ask(running, whole, Host="evil.example"),
        "another path": _ask(running, whole, path="../score.wav"),
    }
    codes = {"too large": 413, "a form": 415, "no length": 411, "a list": 415, "no suffix": 415, "another path": 404}
    codes |= {"another page": 403, "another host": 403}
    assert {name: code for name, (code, _) in replies.items()} == {name: codes.get(name, 400) for name in replies}
    said = {name: text for name, (_, text) in replies.items()}
    assert "header promises" in said["truncated"]
    assert "not finite" in said["not finite"]
    assert "at most 1 MiB" in said["too large"]
    names = [str(tmp_path.parent), running._folder.name, "/tmp", os.getcwd(), "0x", "Traceback"]
    assert [text for text in said.values() if any(name in text for name in names) or "\n" in text] == []
    assert capfd.readouterr().err == ""
    code, good = _ask(running, whole, "../../../etc/cron.d/x.MP3")  # what is in it counts
    assert code == 200
    assert good["seconds"] == pytest.approx(1.0)


def test_a_tiny_file_of_hours_costs_what_the_limit_costs(running, folder, tmp_path):
    with soundfile.SoundFile(tmp_path / "a.flac", "w", RATE, 1) as file:
        for _ in range(40):
            file.write(np.zeros(RATE * 180, np.int16))
    content = (tmp_path / "a.flac").read_bytes()
    assert len(content) < 2**20  # two hours
    code, found = _ask(running, content, "a.flac")
    assert code == 200
    assert (found["seconds"], found["goes_on"]) == (LIMIT, True)
    assert found["note"].startswith("silence")
    drawn = outline(_tone(tmp_path / "b.wav", LIMIT, channels=2), LIMIT)
    assert (drawn.seconds, drawn.goes_on, drawn.columns.shape) == (LIMIT, False, (600, 2))
    assert np.abs(drawn.columns).max() == pytest.approx(0.3, abs=1e-3)


def _raw(server, *parts, head="POST /score?name=a.wav HTTP/1.1", length=1000):
    """Send a request piece by piece; return all that comes back."""
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        lines = [head, f"Host: 127.0.0.1:{server.server_port}", "Content-Type: application/octet-stream"]
        connection.sendall("\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode())
        for part in parts:
            connection.sendall(part)
        if not parts:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def test_slow_and_lying_clients_are_let_go(running, folder, monkeypatch):
    assert b"the upload ends after 0 of its 1000 bytes" in _raw(running)
    assert b"a request that is not understood" in _raw(running, head="GET" * 30_000)
    monkeypatch.setattr(local_server, "LONGEST_REQUEST", 0.2)
    reply = _raw(running, b"drip")
    assert reply.startswith(b"HTTP/1.1 408")
    assert b"the upload takes too long" in reply


def test_one_clip_at_a_time_and_few_may_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_server, "QUEUE", 1)
    began, goes_on, now = threading.Event(), threading.Event(), []

    def judge(path, prompt):
        now.append(path)
        assert len(now) == 1
        began.set()
        assert goes_on.wait(20)
        now.remove(path)
        return {"prompt": prompt}

    about = {"reads_text": True, "seconds": 1.0, "share": None, "why_none": ""}
    with DemoServer(judge, about, "T", 1.0, port=0) as server, _serving(server):
        replies = []
        ask = lambda: replies.append(_ask(server, b"RIFF"))  # noqa: E731
        asking = [threading.Thread(target=ask) for _ in range(2)]
        for one in asking:
            one.start()
            assert began.wait(20)
        while len(list(Path(server._folder.name).iterdir())) < 2:
            time.sleep(0.01)
        assert _ask(server, b"RIFF") == (503, "others wait for their scores already; try again in a minute")
        goes_on.set()
        for one in asking:
            one.join()
        assert replies == [(200, {"prompt": ""})] * 2
        server.judge = lambda path, prompt: 1 / 0
        assert _ask(server, b"RIFF") == (500, "the model fails at this clip; the console of the server says how")


def test_too_many_connections_are_closed(running, monkeypatch):
    monkeypatch.setattr(local_server, "MOST_CONNECTIONS", 0)
    lost = pytest.raises((urllib.error.URLError, ConnectionError))
    with LocalServer(local_server.LocalHandler, "127.0.0.1", 0) as server, _serving(server), lost:
        urllib.request.urlopen(server.address, timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_it_is_and_ends_when_it_is_asked_to(checkpoint, tmp_path, capfd, monkeypatch, number):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scored = []

    def ask_and_end(server):
        with _serving(server, usual):
            scored.append(_ask(server, clip))
            assert len(list(tmp_path.iterdir())) == 1
            signal.raise_signal(number)

    usual, clip = DemoServer.serve_forever, _tone(tmp_path.parent / "end.wav", 0.5).read_bytes()
    monkeypatch.setattr(DemoServer, "serve_forever", ask_and_end)
    assert main(["serve", checkpoint, "--port=0", "--device=cpu"]) == 128 + number
    said = capfd.readouterr()
    assert re.match(r"http://127\.0\.0\.1:\d+/  for this machine alone; Ctrl-C ends it\.\n", said.out)
    assert said.err.endswith(f"stopped by {signal.Signals(number).name}; no clip is kept.\n")
    assert scored[0][0] == 200
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_served_is_said_in_a_line(checkpoint, fails):
    assert "--megabytes must be above 0" in fails("serve", checkpoint, "--megabytes=0")
    assert "--seconds above 0, at most 3600; got 32 and 1e+09" in fails("serve", checkpoint, "--seconds=1e9")
    assert "--port=70000: cannot be served at" in fails("serve", checkpoint, "--port=70000")
    assert "nowhere" in fails("serve", "nowhere")
