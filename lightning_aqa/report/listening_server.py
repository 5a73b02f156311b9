"""A small server for a listening test: the page, its sounds by number, and answers into one file per listener."""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from lightning_aqa.report.listening_answers import AnswerSheet, check_sheet, read_sheets, write_table
from lightning_aqa.report.listening_design import ANSWERS, SOUND, ListeningTest
from lightning_aqa.report.listening_page import page_of
from lightning_aqa.utils.documents import parse_json
from lightning_aqa.utils.files import replacing

MOST_BYTES = 4 * 2**20
"""Largest sheet of answers, in bytes."""
MOST_LISTENERS = 10_000
TIMEOUT = 30.0
"""Seconds after which a connection that says nothing is closed."""
LOOPBACK = ("127.0.0.1", "localhost")
_SOUND = re.compile(rf"/{SOUND}/(\d{{4,6}}\.wav)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class ListeningServer(ThreadingHTTPServer):
    """Serve a listening test.

    No answer names a file or a folder of this machine. Sheets are checked before they are written, each whole, into
    ``answers``; the table of all is written anew after each.

    Args:
        folder: The folder that ``listen`` wrote.
        test: Its test.
        host: Address to listen at; other than loopback, everybody who reaches it can answer.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, folder: Path, test: ListeningTest, host: str = "127.0.0.1", port: int = 8000) -> None:
        self.folder, self.test = folder, test
        self.page = page_of(folder, test, is_served=True).encode("utf-8", "backslashreplace")
        self._writing = Lock()
        (folder / ANSWERS).mkdir(exist_ok=True)
        self.sheets = {sheet.session: sheet for sheet in read_sheets(folder / ANSWERS, test)}
        super().__init__((host, port), _Handler)
        names = LOOPBACK if host in LOOPBACK else ()
        self.hosts = {f"{name}:{self.server_port}" for name in names}

    @property
    def address(self) -> str:
        """Return the address of the page."""
        host = str(self.server_address[0])
        return f"http://{host}:{self.server_port}/"

    def keep(self, plain: Any) -> int:
        """Check and write a sheet; return how many answers it has.

        Raises:
            ValueError: If it is none, has fewer answers than the one that is there, or there are too many listeners.
        """
        sheet = check_sheet(plain, self.test)
        with self._writing:
            before = self.sheets.get(sheet.session)
            if before is None and len(self.sheets) >= MOST_LISTENERS:
                raise ValueError(f"there are {MOST_LISTENERS} listeners already")
            if before is not None and len(sheet.answers) < len(before.answers):
                raise ValueError("a later sheet of this listener is here already")
            with replacing(self.folder / ANSWERS / f"{sheet.session}.json") as file:
                json.dump({"test": self.test.id, **_plain(sheet)}, file)
            self.sheets[sheet.session] = sheet
            write_table(self.folder, self.test, self.sheets.values())
        return len(sheet.answers)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say an error in one line; a listener who went away is none."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            sys.stderr.write(f"warning: a request failed: {error}\n")


def _plain(sheet: AnswerSheet) -> dict[str, Any]:
    return {**sheet._asdict(), "answers": [of._asdict() for of in sheet.answers]}


class _Handler(BaseHTTPRequestHandler):
    """Answer one request; everything that is not named here is not there."""

    server: ListeningServer
    server_version, sys_version = "listen", ""
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT

    def do_GET(self) -> None:
        """Send the page or a sound."""
        path = self.path.partition("?")[0]
        found = _SOUND.fullmatch(path)
        if not self._is_ours():
            self._refuse(403, "this page is at another address")
        elif path == "/":
            self._send(200, "text/html; charset=utf-8", self.server.page)
        elif found and int(found[1].split(".")[0]) < len(self.server.test.stimuli):
            self._send_sound((self.server.folder / SOUND / found[1]).read_bytes())
        else:
            self._refuse(404, "no such page")

    def do_POST(self) -> None:
        """Take a sheet of answers."""
        length = self.headers.get("Content-Length", "")
        self.close_connection = True
        if not self._is_ours(strictly=True):
            self._refuse(403, "answers come from the page alone")
        elif self.path != "/answers":
            self._refuse(404, "no such page")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(415, "expected application/json")
        elif not (length.isascii() and length.isdecimal()) or len(length) > 12:
            self._refuse(411, "expected the length of the answers")
        elif int(length) > MOST_BYTES:
            self._refuse(413, f"expected at most {MOST_BYTES} bytes")
        else:
            self._keep(self.rfile.read(int(length)))

    def _keep(self, content: bytes) -> None:
        try:
            count = self.server.keep(parse_json(content.decode("utf-8")))
        except UnicodeDecodeError:
            self._refuse(400, "not UTF-8 text")
        except ValueError as error:
            self._refuse(400, str(error))
        except OSError as error:
            sys.stderr.write(f"error: answers are not written: {error}\n")
            self._refuse(507, "the answers cannot be written here")
        else:
            self._send(200, "application/json", json.dumps({"saved": count}).encode())

    def _is_ours(self, *, strictly: bool = False) -> bool:
        """Tell whether a request is to this address, and comes from its page: not from a page elsewhere."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        is_here = not self.server.hosts or host in self.server.hosts
        return is_here and (origin is None or not strictly or origin == f"http://{host}")

    def _send_sound(self, content: bytes) -> None:
        """Send a sound or the part of it that is asked for, without which no player can move in it."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if not found or not any(found.groups()) or any(len(digits) > 15 for digits in found.groups()):
            self._send(200, "audio/wav", content, {"Accept-Ranges": "bytes"})
            return
        size = len(content)
        first = int(found[1]) if found[1] else max(size - int(found[2]), 0)
        last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
        if first > last:
            self._refuse(416, "no such part")
            return
        told = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{size}"}
        self._send(206, "audio/wav", content[first : last + 1], told)

    def _refuse(self, code: int, what: str) -> None:
        self.close_connection = True
        self._send(code, "application/json", json.dumps({"error": what}).encode())

    def _send(self, code: int, kind: str, content: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(code)
        sent = {**_HEADERS, **(more or {}), "Content-Type": kind, "Content-Length": str(len(content))}
        if self.close_connection:
            sent["Connection"] = "close"
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is none as any other that is refused."""
        self.close_connection = True
        self._send(code, "application/json", json.dumps({"error": "a request that is not understood"}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log of who asked for what."""
