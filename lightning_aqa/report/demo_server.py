"""A small server that scores a clip: a page to upload or record one, and one model call at a time."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore, Lock
from typing import Any
from urllib.parse import parse_qs

from lightning_aqa.data.decoding import AUDIO
from lightning_aqa.report.build import asset
from lightning_aqa.report.local_server import LocalHandler, LocalServer
from lightning_aqa.report.templating import picture, render

SCRIPTS = ("page.js", "demo_chart.js", "demo_record.js", "demo.js")
RECORDER = "demo_recorder.js"
QUEUE = 8
"""Clips that may wait for the one that is scored, uploads among them."""
LONGEST_WAIT = 300.0
"""Seconds that a clip waits for its turn."""
LAST_CALL = 10.0
"""Seconds that the end of the server waits for the clip that is scored."""
MOST_PROMPT = 2000
"""Characters of a prompt."""
BLOCK = 2**16

Judge = Callable[[Path, str], dict[str, Any]]
"""Scores a file with its prompt, as plain values; raises ValueError, without a path, where the file is at fault."""


class BusyError(Exception):
    """Too many clips wait."""


class DemoServer(LocalServer):
    """Serve a page that scores clips.

    No answer names a file or a folder of this machine. A clip lies in a private temporary folder for as long as it is
    scored; the folder goes with the server.

    Args:
        judge: Scores a file.
        about: What the page says of the model: ``reads_text``, ``seconds``, ``share``, ``why_none``.
        title: Heading of the page.
        megabytes: Largest upload, in MB of 2^20 bytes.
        host: Address to listen at; other than loopback, everybody who reaches it can score.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        judge: Judge,
        about: dict[str, Any],
        title: str,
        megabytes: float,
        host: str = "127.0.0.1",
        port: int = 8000,
    ) -> None:
        self.judge, self.most_bytes = judge, int(megabytes * 2**20)
        limits = {"megabytes": megabytes, "seconds": about["seconds"], "most_prompt": MOST_PROMPT}
        self.page = page_of(title, {**about, **limits}).encode()
        self.recorder = str(asset(RECORDER)).encode()
        self._places, self._model = BoundedSemaphore(1 + QUEUE), Lock()
        super().__init__(_DemoHandler, host, port)
        self._folder = TemporaryDirectory(prefix="lightning-aqa-", ignore_cleanup_errors=True)

    def score(self, suffix: str, prompt: str, write: Callable[[Path], None]) -> dict[str, Any]:
        """Score an upload, when it is its turn.

        Args:
            suffix: Of its name, which says what reads it.
            prompt: Its text.
            write: Writes it to a file.

        Raises:
            BusyError: If too many wait, or one has waited too long.
            ValueError: If it cannot be scored.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        path = Path(self._folder.name) / f"{uuid.uuid4().hex}{suffix}"
        try:
            write(path)
            if not self._model.acquire(timeout=LONGEST_WAIT):
                raise BusyError
            try:
                return self.judge(path, prompt)
            finally:
                self._model.release()
        finally:
            path.unlink(missing_ok=True)
            self._places.release()

    def server_close(self) -> None:
        """Let the clip that is scored come to its end, and remove the folder."""
        super().server_close()
        if hasattr(self, "_folder"):  # an address that cannot be had comes here too
            self._model.acquire(timeout=LAST_CALL)
            self._folder.cleanup()


def page_of(title: str, about: dict[str, Any]) -> str:
    """Return the page.

    Args:
        title: Its heading.
        about: What it says of the model, and the limits.
    """
    return render(
        "demo",
        title=title,
        about=about,
        accepted=",".join(sorted(AUDIO)),
        css=picture("\n".join(map(asset, ("page.css", "demo.css")))),
        script=picture("\n".join(map(asset, SCRIPTS))),
    )


class _DemoHandler(LocalHandler):
    """Give the page, and score what it sends."""

    server: DemoServer

    def get(self, path: str) -> None:
        """Send the page, or the script that records."""
        if path == "/":
            self.send(200, "text/html; charset=utf-8", self.server.page)
        elif path == f"/{RECORDER}":
            self.send(200, "text/javascript; charset=utf-8", self.server.recorder)
        else:
            super().get(path)

    def post(self, path: str) -> None:
        """Score a clip, which is the body; the query has its name and prompt."""
        if path != "/score":
            super().post(path)
            return
        name, prompt = self._given()
        suffix = PurePosixPath(name).suffix.lower()
        length = self.length_of("clip", "application/octet-stream", self.server.most_bytes)
        if length is None:
            return
        if suffix not in AUDIO:
            self.refuse(415, f"expected audio, as a file called {', '.join(sorted(AUDIO))}")
        elif length == 0:
            self.refuse(400, "the file is empty")
        elif len(prompt) > MOST_PROMPT:
            self.refuse(400, f"the prompt may have at most {MOST_PROMPT} characters")
        else:
            self._answer(suffix, prompt, length)

    def _given(self) -> tuple[str, str]:
        """Return name and prompt; of a query that is none, neither."""
        try:
            found = parse_qs(self.path.partition("?")[2], max_num_fields=2, errors="replace")
        except ValueError:
            found = {}
        return found.get("name", [""])[0], found.get("prompt", [""])[0]

    def _answer(self, suffix: str, prompt: str, length: int) -> None:
        """Score the body, or say in a line why not; what the person cannot help is said on the console too."""
        try:
            found = self.server.score(suffix, prompt, partial(self._write, length))
        except BusyError:
            self.refuse(503, "others wait for their scores already; try again in a minute")
        except TimeoutError:
            self.refuse(408, "the upload takes too long")
        except ValueError as error:
            self.refuse(400, " ".join(str(error).split()))
        except ConnectionError:
            raise
        except OSError as error:
            sys.stderr.write(f"error: a clip is not kept: {error}\n")
            self.refuse(507, "the clip cannot be kept here")
        except Exception as error:
            sys.stderr.write(f"error: a clip is not scored: {type(error).__name__}: {error}\n")
            self.refuse(500, "the model fails at this clip; the console of the server says how")
        else:
            self.send(200, "application/json", json.dumps(found, allow_nan=False).encode())

    def _write(self, length: int, path: Path) -> None:
        """Write the body to a file.

        Raises:
            ValueError: If it is shorter than was said.
        """
        left = length
        with open(path, "xb") as file:
            while left and (block := self.rfile.read1(min(BLOCK, left))):
                left -= file.write(block)
        if left:
            raise ValueError(f"the upload ends after {length - left} of its {length} bytes")
