"""A small stand-in for W&B's server: runs, sweeps and reports, by the addresses that W&B's own programs ask."""

import gc
import gzip
import http.server
import itertools
import json
import os
import re
import threading
import warnings
from contextlib import contextmanager
from unittest import mock
from urllib.parse import unquote, urlsplit

import wandb
import yaml

KEY, ENTITY = "0" * 40, "team"
PAGE = {"endCursor": None, "hasNextPage": False}


class Run:
    """A run as the server keeps it: settings and values by their names, history by its lines, files by their bytes."""

    def __init__(self, name):
        self.name, self.about, self.config, self.summary = name, {}, {}, {}
        self.lines, self.files, self.exit_code, self.events = {}, {}, None, 0

    @property
    def history(self):
        """Return its rows; a line that was left out or sent twice is an error, as it is a fault on the page."""
        assert sorted(self.lines) == list(range(len(self.lines)))
        assert all(len(rows) == 1 for rows in self.lines.values())
        return [rows[0] for _, rows in sorted(self.lines.items())]

    def update(self, given):
        """Take what a client says of the run; what it leaves out stays."""
        for name in ("displayName", "groupName", "jobType", "sweep", "tags"):
            if given.get(name):
                self.about[name] = given[name]
        self.config |= json.loads(given.get("config") or "{}")

    def stream(self, part):
        """Take a part of the stream of the run's growing files."""
        history = part.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        for number, line in enumerate(history["content"], history["offset"]):
            self.lines.setdefault(number, []).append(json.loads(line))
        for line in part.get("files", {}).get("wandb-summary.json", {}).get("content", []):
            self.summary = json.loads(line)
        self.events += len(part.get("files", {}).get("wandb-events.jsonl", {}).get("content", []))
        if part.get("complete"):
            self.exit_code = part["exitcode"]


class Server:
    """What the server holds; a method that has the name of an operation answers it."""

    def __init__(self, address):
        self.address, self.lock = address, threading.Lock()
        self.runs, self.sweeps, self.projects, self.reports = {}, {}, [], []
        self.asked, self.unknown = [], []

    def answer(self, query, variables):
        """Answer an operation; one that is not known is kept for the test, and answered by nothing."""
        name = re.search(r"\b(?:query|mutation)\s+(\w+)", query)[1]
        self.asked.append(name)
        operation = getattr(self, re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower(), None)
        if operation is None:
            self.unknown.append(name)
            return {}
        with self.lock:
            return operation(**variables)

    def viewer(self):
        return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    get_viewer = get_default_entity = viewer

    def server_features_query(self):
        return {"serverInfo": {"features": []}}

    def organization_core_weave_organization_id(self, entityName):
        return {"entity": None}

    def get_projects(self, **given):
        about = {"__typename": "Project", "createdAt": "", "isBenchmark": False, "user": None}
        nodes = [{**about, **_project(name)} for name in self.projects]
        return {"models": {"pageInfo": PAGE, "edges": [{"node": node} for node in nodes]}}

    def project_internal_id(self, projectName, entityName):
        is_known = entityName == ENTITY and projectName in self.projects
        return {"project": {"id": projectName, "internalId": projectName} if is_known else None}

    def run_resume_status(self, name, **given):
        run = self.runs.get(name)
        if run is None:
            return {"model": {"entity": None, "bucket": None}}
        tail = [json.dumps(row) for row in run.history[-1:]]
        known = {"name": name, "id": name, "historyLineCount": len(run.lines), "eventsLineCount": run.events}
        known |= {"logLineCount": 0, "historyTail": json.dumps(tail), "eventsTail": "[]", "notes": None}
        known |= {"summaryMetrics": json.dumps(run.summary), "config": json.dumps(run.config), "tags": []}
        known |= {"displayName": run.about.get("displayName"), "sweepName": run.about.get("sweep"), "wandbConfig": "{}"}
        return {"model": {"entity": {"id": ENTITY, "name": ENTITY}, "bucket": known}}

    def upsert_bucket(self, name, project, **given):
        is_new = name not in self.runs
        run = self.runs.setdefault(name, Run(name))
        run.update(given)
        run.project = project or run.project
        self.projects = list(dict.fromkeys([*self.projects, run.project]))
        known = {"id": name, "name": name, "displayName": run.about.get("displayName"), "description": None}
        known |= {"config": json.dumps(run.config), "sweepName": run.about.get("sweep"), "project": _project(project)}
        return {"upsertBucket": {"bucket": {**known, "historyLineCount": len(run.lines)}, "inserted": is_new}}

    def create_run_files(self, run, files, **given):
        places = [{"name": name, "uploadUrl": f"{self.address}/upload/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": places}}

    def mark_run_files_uploaded(self, **given):
        return {"markRunFilesUploaded": {"success": True}}

    def upsert_sweep(self, config, projectName, **given):
        text = yaml.safe_load(config)
        names, values = zip(*((k, v.get("values") or [v["value"]]) for k, v in text["parameters"].items()), strict=True)
        name = f"sweep{len(self.sweeps)}"
        grid = [dict(zip(names, row, strict=True)) for row in itertools.product(*values)]
        self.sweeps[name] = {"text": text, "config": config, "left": grid, "given": {}, "states": {}}
        sweep = {"name": name, "project": _project(projectName)}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def sweep_with_runs(self, sweep, **given):
        known = {"id": sweep, "name": sweep, "config": self.sweeps[sweep]["config"], "runs": {"edges": []}}
        return {"project": {"sweep": known}}

    def create_agent(self, sweep, **given):
        return {"createAgent": {"agent": {"id": f"{sweep}/agent"}}}

    def heartbeat(self, id, runState, **given):
        """Hand out the next trial to an agent that runs none; end it where there are no more."""
        sweep = self.sweeps[id.split("/")[0]]
        commands = []
        if not any(json.loads(runState).values()):
            commands = [self._next_trial(sweep)] if sweep["left"] else [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": id}, "commands": json.dumps(commands)}}

    def _next_trial(self, sweep):
        name, row = f"trial{len(sweep['given'])}", sweep["left"].pop(0)
        sweep["given"][name] = row
        args = {key: {"value": value} for key, value in row.items()}
        return {"type": "run", "run_id": name, "args": args, "program": sweep["text"].get("program")}

    def upsert_view(self, name, displayName, projectName, spec, description, **given):
        self.reports.append(json.loads(spec))
        known = {"id": "report0", "type": "runs", "name": name, "displayName": displayName, "spec": spec}
        view = {**known, "description": description, "project": _project(projectName), "updatedAt": None}
        return {"upsertView": {"view": view, "inserted": True}}


def _project(name):
    return {"id": name, "name": name, "entity": {"id": ENTITY, "name": ENTITY}, "entityName": ENTITY}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _body(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer, status=200):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body, path, server = self._body(), unquote(urlsplit(self.path).path), self.server.holds
        if path == "/graphql":
            asked = json.loads(body)
            return self._send({"data": server.answer(asked["query"], asked.get("variables") or {})})
        if match := re.fullmatch(r"/files/[^/]*/?[^/]+/([^/]+)/file_stream", path):
            with server.lock:
                server.runs[match[1]].stream(json.loads(body))
            return self._send({})
        if path.startswith("/sdk/otel/"):  # figures about the client itself
            return self._send({})
        server.unknown.append(path)
        return self._send({}, 404)

    def do_PUT(self):
        match = re.fullmatch(r"/upload/([^/]+)/(.+)", unquote(urlsplit(self.path).path))
        self.server.holds.runs[match[1]].files[match[2]] = self._body()
        self._send({})

    def do_GET(self):
        self.server.holds.unknown.append(self.path)
        self._send({}, 404)


@contextmanager
def stand_in():
    """Yield a server that is empty."""
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.handle_error = lambda *client: None  # one that ends leaves its connections open
    listener.holds = Server(f"http://127.0.0.1:{listener.server_port}")
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield listener.holds
    listener.shutdown()
    listener.server_close()


@contextmanager
def signed_in(server, mode="online"):
    """Let W&B's library know the server and a key, and nothing of what it was told before."""
    told = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": KEY, "WANDB_MODE": mode}
    wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)  # which has ended
    with mock.patch.dict(os.environ, {**told, "WANDB_ERROR_REPORTING": "false"}), warnings.catch_warnings():
        for kind in (DeprecationWarning, ResourceWarning):  # of its own parts about each other, and files left open
            warnings.simplefilter("ignore", kind)
        yield
        wandb.teardown()
        gc.collect()
