"""A small server for a listening test: the page, its sounds by number, and answers into one file per listener."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from threading import Lock
from typing import Any

from lightning_aqa.report.listening_answers import AnswerSheet, check_sheet, read_sheets, write_table
from lightning_aqa.report.listening_design import ANSWERS, SOUND, ListeningTest
from lightning_aqa.report.listening_page import page_of
from lightning_aqa.report.local_server import LocalHandler, LocalServer
from lightning_aqa.utils.documents import parse_json
from lightning_aqa.utils.files import replacing

MOST_BYTES = 4 * 2**20
"""Largest sheet of answers, in bytes."""
MOST_LISTENERS = 10_000
_SOUND = re.compile(rf"/{SOUND}/(\d{{4,6}}\.wav)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class ListeningServer(LocalServer):
    """Serve a listening test.

    No answer names a file or a folder of this machine. Sheets are checked before they are written, each whole, into
    ``answers``; the table of all is written anew after each.

    Args:
        folder: The folder that ``listen`` wrote.
        test: Its test.
        host: Address to listen at; other than loopback, everybody who reaches it can answer.
        port: 0 takes a free one.
    """

    def __init__(self, folder: Path, test: ListeningTest, host: str = "127.0.0.1", port: int = 8000) -> None:
        self.folder, self.test = folder, test
        self.page = page_of(folder, test, is_served=True).encode("utf-8", "backslashreplace")
        self._writing = Lock()
        (folder / ANSWERS).mkdir(exist_ok=True)
        self.sheets = {sheet.session: sheet for sheet in read_sheets(folder / ANSWERS, test)}
        super().__init__(_Handler, host, port)

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


def _plain(sheet: AnswerSheet) -> dict[str, Any]:
    return {**sheet._asdict(), "answers": [of._asdict() for of in sheet.answers]}


class _Handler(LocalHandler):
    """Answer one request; everything that is not named here is not there."""

    server: ListeningServer

    def get(self, path: str) -> None:
        """Send the page or a sound."""
        found = _SOUND.fullmatch(path)
        if path == "/":
            self.send(200, "text/html; charset=utf-8", self.server.page)
        elif found and int(found[1].split(".")[0]) < len(self.server.test.stimuli):
            self._send_sound((self.server.folder / SOUND / found[1]).read_bytes())
        else:
            super().get(path)

    def post(self, path: str) -> None:
        """Take a sheet of answers."""
        if path != "/answers":
            super().post(path)
        elif (length := self.length_of("answers", "application/json", MOST_BYTES)) is not None:
            self._keep(self.rfile.read(length))

    def _keep(self, content: bytes) -> None:
        try:
            count = self.server.keep(parse_json(content.decode("utf-8")))
        except UnicodeDecodeError:
            self.refuse(400, "not UTF-8 text")
        except ValueError as error:
            self.refuse(400, str(error))
        except OSError as error:
            sys.stderr.write(f"error: answers are not written: {error}\n")
            self.refuse(507, "the answers cannot be written here")
        else:
            self.send(200, "application/json", json.dumps({"saved": count}).encode())

    def _send_sound(self, content: bytes) -> None:
        """Send a sound or the part of it that is asked for, without which no player can move in it."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if not found or not any(found.groups()) or any(len(digits) > 15 for digits in found.groups()):
            self.send(200, "audio/wav", content, {"Accept-Ranges": "bytes"})
            return
        size = len(content)
        first = int(found[1]) if found[1] else max(size - int(found[2]), 0)
        last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
        if first > last:
            self.refuse(416, "no such part")
            return
        told = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{size}"}
        self.send(206, "audio/wav", content[first : last + 1], told)
