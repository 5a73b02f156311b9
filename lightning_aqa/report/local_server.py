"""The base of small servers: one rule of who may ask, limits on size, time and connections, and refusals in a line."""

from __future__ import annotations

import io
import json
import socket
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore
from typing import Any, TypeVar

TIMEOUT = 30.0
"""Seconds after which a connection that says nothing is closed."""
LONGEST_REQUEST = 120.0
"""Seconds in which a request has come whole, however steadily it drips."""
MOST_CONNECTIONS = 64
LINGER = 1.0
"""Seconds in which what is refused may still come, so that the refusal is read before the connection is gone."""
LOOPBACK = ("127.0.0.1", "localhost")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
Made = TypeVar("Made")


class LocalServer(ThreadingHTTPServer):
    """Answer requests at one address, each in a thread, as long as there are not too many.

    Args:
        handler: What answers a request.
        host: Address to listen at; other than loopback, everybody who reaches it can ask.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, handler: type[LocalHandler], host: str, port: int) -> None:
        self._free = BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), handler)
        names = LOOPBACK if host in LOOPBACK else ()
        self.hosts = {f"{name}:{self.server_port}" for name in names}

    @property
    def address(self) -> str:
        """Return the address of the page."""
        host = str(self.server_address[0])
        return f"http://{host}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection; of too many, close it."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say an error in one line; somebody who went away is none."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            sys.stderr.write(f"warning: a request failed: {error}\n")


def opened_at(make: Callable[[str, int], Made], host: str, port: int) -> Made:
    """Return a server.

    Args:
        make: Makes it, of address and port.
        host: Where to listen.
        port: 0 takes a free one.

    Raises:
        ValueError: If that address cannot be had.
    """
    try:
        return make(host, port)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or "no such port"
        where = f"--host={host} --port={port}"
        raise ValueError(f"{where}: cannot be served at ({told}); --port=0 takes a free one.") from None


def reach_of(host: str) -> str:
    """Say for whom an address is.

    Example:
        >>> reach_of("localhost")
        'for this machine alone'
    """
    return "for this machine alone" if host in LOOPBACK else "for everybody who reaches this address"


class _Timed(io.RawIOBase):
    """Reads a connection until a time, however it drips."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.until = connection, time.monotonic() + LONGEST_REQUEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request takes too long")
        self.connection.settimeout(min(TIMEOUT, left))
        return self.connection.recv_into(buffer)


class LocalHandler(BaseHTTPRequestHandler):
    """Answer one request; everything that is not named in ``get`` or ``post`` of a class below is not there."""

    server: LocalServer
    server_version, sys_version = "lightning-aqa", ""
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT

    def setup(self) -> None:
        """Read the connection by the clock."""
        super().setup()
        self._timed = _Timed(self.connection)
        self.rfile = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """Answer a request, whose time begins now."""
        self._timed.until = time.monotonic() + LONGEST_REQUEST
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer what is asked at this address."""
        if self._is_ours():
            self.get(self.path.partition("?")[0])
        else:
            self.refuse(403, "this page is at another address")

    def do_POST(self) -> None:
        """Take what the page sends."""
        self.close_connection = True
        if self._is_ours(strictly=True):
            self.post(self.path.partition("?")[0])
        else:
            self.refuse(403, "answers come from the page alone")

    def get(self, path: str) -> None:
        """Answer a request from here."""
        self.refuse(404, "no such page")

    def post(self, path: str) -> None:
        """Answer what comes from the page."""
        self.refuse(404, "no such page")

    def length_of(self, what: str, kind: str, most: int) -> int | None:
        """Return the length of the body; None where it has been refused.

        Args:
            what: Name of what is sent, for the refusal.
            kind: Type that it must be of; no form of a page elsewhere can send such without being asked first.
            most: Largest, in bytes.
        """
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != kind:
            self.refuse(415, f"expected {kind}")
        elif "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()) or len(length) > 12:
            self.refuse(411, f"expected the length of the {what}")
        elif int(length) > most:
            size = f"{most / 2**20:g} MiB" if most >= 2**20 else f"{most} bytes"
            self.refuse(413, f"the {what} may have at most {size}")
        else:
            return int(length)
        return None

    def _is_ours(self, *, strictly: bool = False) -> bool:
        """Tell whether a request is to this address, and comes from its page: not from a page elsewhere."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        is_here = not self.server.hosts or host in self.server.hosts
        return is_here and (origin is None or not strictly or origin == f"http://{host}")

    def refuse(self, code: int, what: str) -> None:
        """Answer by a line that says why not."""
        self.close_connection = True
        self.send(code, "application/json", json.dumps({"error": what}).encode())
        self._linger()

    def _linger(self) -> None:
        """Read on for a moment: a connection that is closed on what is under way takes the refusal with it."""
        until = time.monotonic() + LINGER
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(2**16):
                    return
        except OSError:
            return

    def send(self, code: int, kind: str, content: bytes, more: dict[str, str] | None = None) -> None:
        """Send an answer.

        Args:
            code: Status.
            kind: Type of the content.
            content: The answer.
            more: Headers beside the usual.
        """
        self.connection.settimeout(TIMEOUT)
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
        self.refuse(code, "a request that is not understood")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log of who asked for what."""
