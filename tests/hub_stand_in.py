"""A small stand-in for the hub: repositories with commits, by the addresses that the hub's own client asks."""

import base64
import hashlib
import http.server
import json
import re
import threading
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


class Hub:
    """Repositories of a hub by name: their commits, each with its files, the last being main."""

    def __init__(self):
        self.repositories, self.asked = {}, []

    def commit(self, name, files):
        """Add a commit that holds these files alone; return it."""
        digest = hashlib.sha1(repr((len(self.repositories.get(name, [])), sorted(files.items()))).encode()).hexdigest()
        self.repositories.setdefault(name, []).append((digest, dict(files)))
        return digest

    def files(self, name, revision="main"):
        """Return commit and files of a revision, or why there are none."""
        commits = self.repositories.get(name)
        if commits is None:
            return None, "RepoNotFound"
        found = commits[-1:] if revision == "main" else [one for one in commits if one[0] == revision]
        return (found[0], "") if found else ((None, {}), "") if revision == "main" else (None, "RevisionNotFound")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _send(self, status, body=b"", headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, code):
        self._send(404, {"error": code}, {"X-Error-Code": code})

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.hub.asked.append(f"{self.command} {path}")
        if path == "/api/whoami-v2":
            is_known = self.headers.get("Authorization") == "Bearer hf_known"
            return self._send(
                *((200, {"name": "some", "orgs": []}) if is_known else (401, {"error": "Invalid token."}))
            )
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(tree|revision)/([^/]+))?/?", path):
            return self._about(match[1], match[2], match[3] or "main")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*match.groups())
        return self._refuse("EntryNotFound")

    do_HEAD = do_GET

    def _about(self, name, kind, revision):
        found, why = self.server.hub.files(name, revision)
        if found is None:
            return self._refuse(why)
        commit, files = found
        if kind != "tree":
            return self._send(200, {"id": name, "modelId": name, "sha": commit, "siblings": [], "tags": []})
        rows = [
            {"type": "file", "path": p, "size": len(b), "oid": hashlib.sha1(b).hexdigest()} for p, b in files.items()
        ]
        return self._send(200, rows)

    def _file(self, name, revision, file):
        found, why = self.server.hub.files(name, revision)
        if found is None or file not in found[1]:
            return self._refuse(why or "EntryNotFound")
        etag = hashlib.sha1(found[1][file]).hexdigest()
        return self._send(200, found[1][file], {"ETag": f'"{etag}"', "X-Repo-Commit": found[0]})

    def do_POST(self):
        path, length = unquote(urlsplit(self.path).path), int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        self.server.hub.asked.append(f"POST {path}")
        if self.headers.get("Authorization") != "Bearer hf_known":
            return self._send(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            self.server.hub.repositories.setdefault(name, [])
            return self._send(200, {"url": f"{constants.ENDPOINT}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            rows = [
                {"path": of["path"], "uploadMode": "regular", "shouldIgnore": False} for of in json.loads(body)["files"]
            ]
            return self._send(200, {"files": rows})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self._send(200, self._commit(match[1], body))
        return self._refuse("EntryNotFound")

    def _chunks(self):
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _commit(self, name, body):
        files = dict(self.server.hub.files(name)[0][1])
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                files.pop(line["value"]["path"])
        commit = self.server.hub.commit(name, files)
        return {
            "commitUrl": f"{constants.ENDPOINT}/{name}/commit/{commit}",
            "commitOid": commit,
            "pullRequestUrl": None,
        }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub to which the client is signed in, and an empty cache of it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_known")
    yield server.hub
    server.shutdown()
    server.server_close()
