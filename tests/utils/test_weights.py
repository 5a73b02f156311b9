"""Weights are looked for on this machine first; the hub is asked once, and only for what is not here."""

import http.server
import socket
import threading
import time

import pytest
from huggingface_hub import constants

from lightning_aqa.utils.weights import WeightsError, fetch_command, find_local, find_weights, read_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
URL = "https://huggingface.co/someone/model"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, which the tests would otherwise share with the user, and no offline mode."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def attempts(monkeypatch):
    """Hosts that somebody wanted to reach; none can be, and nobody may wait for one."""
    asked = []

    def unreachable(host, *arguments, **options):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits for {seconds} s"))
    return asked


def _put(cache, repository, file, text="weights"):
    """Lay a file down as the hub's client caches it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    path = folder / "snapshots" / COMMIT / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return path


def test_a_cached_file_is_found_without_a_connection(hub_cache, attempts):
    path = _put(hub_cache, "someone/model", "model.safetensors")
    assert find_weights("someone/model", file="model.safetensors", url=URL) == path
    assert find_local("someone/model", "model.safetensors") == path
    assert attempts == []


def test_a_revision_of_a_hub_id_is_that_of_the_cache_and_of_the_command(hub_cache, attempts, monkeypatch):
    path = _put(hub_cache, "someone/model", "model.safetensors")
    (path.parents[2] / "refs" / "main").unlink()
    (path.parents[2] / "refs" / "v1").write_text(COMMIT)
    for revision in ("v1", COMMIT):
        assert find_weights(f"someone/model@{revision}", file="model.safetensors", url=URL) == path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"`hf download someone/model model\.safetensors --revision v2`"):
        find_weights("someone/model@v2", file="model.safetensors", url=URL)
    assert attempts == []


def test_what_the_repository_is_known_not_to_have_is_not_asked_for_again(hub_cache, attempts):
    mark = _put(hub_cache, "someone/model", "config.json").parents[2] / ".no_exist" / COMMIT / "model.safetensors"
    mark.parent.mkdir(parents=True)
    mark.touch()
    with pytest.raises(WeightsError, match=r"no such weights here"):
        find_weights("someone/model", file="model.safetensors", url=URL)
    assert attempts == []


def test_an_unreachable_hub_is_asked_once_and_the_message_has_file_address_and_command(hub_cache, attempts):
    with pytest.raises(WeightsError) as caught:
        find_weights("someone/model-2.0", file="model.safetensors", url=URL)
    said = str(caught.value)
    assert "looked for the file model.safetensors" in said
    assert URL in said
    assert "`hf download someone/model-2.0 model.safetensors`" in said
    assert 1 <= len(attempts) <= 2  # the client may look up something of its own; retries would be six more


def test_offline_the_hub_is_not_asked(hub_cache, attempts, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"hf download someone/model model\.safetensors"):
        find_weights("someone/model", file="model.safetensors", url=URL)
    assert attempts == []


@pytest.mark.parametrize("checkpoint", ["weights.pt", "folder/weights.pt", "./someone/model", "a/b/c"])
def test_what_is_no_hub_id_is_not_asked_for(hub_cache, attempts, checkpoint):
    with pytest.raises(WeightsError, match=r"looked for the file weights\.pt"):
        find_weights(checkpoint, file="weights.pt", url="https://example.org/page")
    assert attempts == []


class _Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one file."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        is_there = self.path.endswith("/resolve/main/model.safetensors") or f"/{COMMIT}/" in self.path
        self.server.asked.append((self.command, self.path))
        self.send_response(200 if is_there else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        if is_there:
            self.send_header("ETag", '"tag"')
            self.send_header("Content-Length", "7")
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if body and is_there:
            self.wfile.write(b"weights")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(hub_cache, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_of_the_hub_is_fetched_once(hub):
    path = find_weights("someone/model", file="model.safetensors", url=URL)
    assert path.read_text() == "weights"
    asked = list(hub.asked)
    assert "GET" in {method for method, _ in asked}
    assert find_weights("someone/model", file="model.safetensors", url=URL) == path
    assert hub.asked == asked


def test_a_file_that_the_hub_does_not_have_is_asked_for_in_one_run_alone(hub):
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"looked for the file pytorch_model\.bin"):
            find_weights("someone/model", file="pytorch_model.bin", url=URL)
        asked = list(hub.asked)
    assert asked == hub.asked
    assert len(asked) == 2  # is it there, and the download that makes the cache remember


def test_the_hub_is_asked_for_a_revision(hub):
    with pytest.raises(WeightsError, match="no such weights"):
        find_weights("someone/model@refs/pr/1", file="model.safetensors", url=URL)
    assert {path for _, path in hub.asked} == {"/someone/model/resolve/refs%2Fpr%2F1/model.safetensors"}


def test_a_page_has_no_command():
    assert fetch_command("BEATs.pt", "BEATs.pt", "https://example.org/page") == ""
    assert fetch_command("a.pt", "a.pt", "https://example.org/a.pt") == "curl -LO https://example.org/a.pt"


def test_safetensors_that_are_none_are_told_in_one_line(tmp_path):
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 360\n")
    with pytest.raises(
        WeightsError, match=r"model.safetensors: cannot be read as weights: it is the pointer .*`git lfs pull`"
    ):
        read_weights(pointer)
