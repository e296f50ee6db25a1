"""A small Kubeflow Pipelines API server on loopback: v2beta1, its state in dicts.

It refuses what the real one refuses, as far as this suite could meet it: a second pipeline or version of a
name, parameters that the version has not or of another type, a cron without six fields, a concurrency
outside 1 to 10, a namespace where there is one user and none where there are several, a wrong token. Numbers
come back as protobuf's Struct gives them: 25, not 25.0.
"""

import json
import re
import ssl
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pipelines.compiled import read_documents

KINDS = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
EQUALS = 1


class RefusedError(Exception):
    """Raised with a status and a sentence for the client."""


@dataclass
class State:
    """What the server holds; a test may look at it and change it as somebody in the UI would."""

    several_users: bool = False
    token: str = ""
    cookie: str = ""  # a proxy stands before it, which shows a page to whoever comes without
    refusals: dict = field(default_factory=dict)  # by route: a status and a sentence
    pipelines: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    experiments: dict = field(default_factory=dict)
    runs: dict = field(default_factory=dict)
    jobs: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)  # "POST /apis/v2beta1/runs"
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    # Pipelines and their versions.

    def create_pipeline(self, body):
        name = body.get("name") or body["display_name"]
        space = body.get("namespace")
        if any(p["name"] == name for p in self.pipelines_of(space)):
            raise RefusedError(409, f"Already exist error: pipeline {name}")
        return self._keep(self.pipelines, "pipeline_id", {"display_name": name, **body, "name": name})

    def pipelines_of(self, namespace):
        """Return those of a namespace; those of none are everybody's."""
        return [p for p in self.pipelines.values() if p.get("namespace") == namespace]

    def upload_version(self, query, package):
        there = [v for v in self.versions.values() if v["pipeline_id"] == query["pipelineid"]]
        if query["pipelineid"] not in self.pipelines:
            raise RefusedError(404, "ResourceNotFoundError: pipeline")
        if any(v["display_name"] == query["name"] for v in there):
            raise RefusedError(409, f"Already exist error: version {query['name']}")
        documents = read_documents(package)
        about = {"pipeline_id": query["pipelineid"], "display_name": query["name"], "name": query["name"]}
        about["description"] = query.get("description", "")
        return self._keep(self.versions, "pipeline_version_id", {**about, "pipeline_spec": documents[0]})

    # Runs and recurring runs.

    def create_experiment(self, body):
        self._check_namespace(body.get("namespace"))
        return self._keep(self.experiments, "experiment_id", body)

    def get_experiment(self, key):
        if key not in self.experiments:
            raise RefusedError(404, f"ResourceNotFoundError: Experiment {key} not found.")
        return self.experiments[key]

    def create_run(self, body):
        self._check_runnable(body)
        return self._keep(self.runs, "run_id", {**body, "state": "PENDING"})

    def create_job(self, body):
        self._check_runnable(body)
        cron = body["trigger"]["cron_schedule"]["cron"]
        if len(cron.split()) != 6:
            raise RefusedError(400, f"Invalid input error: cron {cron}")
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise RefusedError(400, "Invalid input error: The max concurrency of the recurring run")
        kept = {**body, "max_concurrency": str(body["max_concurrency"]), "status": "ENABLED"}
        return self._keep(self.jobs, "recurring_run_id", kept)

    def delete_job(self, key):
        if self.jobs.pop(key, None) is None:
            raise RefusedError(404, f"ResourceNotFoundError: Job {key} not found.")
        return {}

    def _check_runnable(self, body):
        if body["experiment_id"] not in self.experiments:
            raise RefusedError(404, "ResourceNotFoundError: experiment")
        form = self._graph(body)["root"]["inputDefinitions"]["parameters"]
        given = body["runtime_config"].get("parameters", {})
        for name in given.keys() - form.keys():
            raise RefusedError(400, f"Invalid input error: unrecognized input parameter: {name}")
        for name, about in form.items():
            self._check_parameter(name, about, given)

    def _graph(self, body):
        """Return the graph that a run brings, or that of the version it names; it may not have both."""
        brought, reference = body.get("pipeline_spec"), body.get("pipeline_version_reference")
        if (brought is None) == (reference is None):
            raise RefusedError(400, "Invalid input error: a pipeline spec, or a version's reference")
        if brought is not None:
            return brought["pipeline_spec"]
        version = self.versions.get(reference["pipeline_version_id"])
        if version is None or version["pipeline_id"] != reference["pipeline_id"]:
            raise RefusedError(404, "ResourceNotFoundError: pipeline version")
        return version["pipeline_spec"]

    @staticmethod
    def _check_parameter(name, about, given):
        if name not in given:
            if "defaultValue" not in about and not about.get("isOptional"):
                raise RefusedError(400, f"Invalid input error: parameter {name} is not optional")
            return
        value, kind = given[name], KINDS[about["parameterType"]]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise RefusedError(400, f"Invalid input error: parameter {name} is no {about['parameterType']}")
        if "literals" in about and value not in about["literals"]:
            raise RefusedError(400, f"Invalid input error: parameter {name} is none of its literals")

    def _check_namespace(self, namespace):
        if self.several_users and not namespace:
            raise RefusedError(400, "Invalid input error: namespace is empty in multi-user mode")
        if namespace and not self.several_users:
            raise RefusedError(400, "Invalid input error: namespace given in single-user mode")

    @staticmethod
    def _keep(shelf, key, body):
        made = {**body, key: str(uuid.uuid4()), "created_at": "2026-01-05T03:00:00Z"}
        shelf[made[key]] = made
        return made


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    @property
    def state(self):
        return self.server.state

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _show_login(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Log in</html>")

    def _serve(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.state.cookie and self.headers.get("Cookie") != self.state.cookie:
            self._show_login()
            return
        with self.state.lock:
            self.state.asked.append(f"{self.command} {url.path}")
            try:
                self._authorise()
                route = f"{self.command} {url.path.removeprefix('/apis/v2beta1/')}"
                self._answer(200, self._route(route, query, content))
            except RefusedError as error:
                self._answer(error.args[0], {"error": error.args[1], "message": error.args[1]})

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def _authorise(self):
        if self.state.token and self.headers.get("authorization") != f"Bearer {self.state.token}":
            raise RefusedError(401, "Unauthorized")

    def _route(self, route, query, content):
        state = self.state
        creators = {
            "POST pipelines": state.create_pipeline,
            "POST experiments": state.create_experiment,
            "POST runs": state.create_run,
            "POST recurringruns": state.create_job,
        }
        shelves = {
            "pipelines": {p["pipeline_id"]: p for p in state.pipelines_of(query.get("namespace"))},
            "experiments": state.experiments,
            "recurringruns": state.jobs,
        }
        if route in state.refusals:
            raise RefusedError(*state.refusals[route])
        if route == "GET healthz":
            return {"multi_user": state.several_users}
        if route in creators:
            return creators[route](json.loads(content, parse_float=as_struct))
        if route == "POST pipelines/upload_version":
            return state.upload_version(query, self._uploaded(content))
        if found := re.fullmatch(r"GET pipelines/([\w-]+)/versions", route):
            there = [v for v in state.versions.values() if v["pipeline_id"] == found[1]]
            return page("pipeline_versions", there, query)
        if found := re.fullmatch(r"GET experiments/([\w-]+)", route):
            return state.get_experiment(found[1])
        if found := re.fullmatch(r"DELETE recurringruns/([\w-]+)", route):
            return state.delete_job(found[1])
        kind = route.removeprefix("GET ")
        if kind in shelves:
            if kind != "pipelines":
                state._check_namespace(query.get("namespace"))
            field_name = {"recurringruns": "recurringRuns"}.get(kind, kind)
            return page(field_name, list(shelves[kind].values()), query)
        raise RefusedError(404, f"Not Found: {route}")

    def _uploaded(self, content):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + content).get_payload()
        return parts[0].get_payload(decode=True)


def as_struct(text):
    """Return a number as protobuf's Struct prints it."""
    number = float(text)
    return int(number) if number.is_integer() else number


def page(kind, items, query):
    """Return a page of a list, filtered by an EQUALS on a key, with the token of the next."""
    for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
        assert predicate["operation"] in (EQUALS, "EQUALS")
        items = [item for item in items if item[predicate["key"]] == predicate["stringValue"]]
    start, size = int(query.get("page_token") or 0), min(int(query.get("page_size", 10)), 2)
    more = {"next_page_token": str(start + size)} if start + size < len(items) else {}
    return {kind: items[start : start + size], "total_size": len(items), **more}


def behind_tls(server, certificate):
    """Have a server answer by the files of a certificate and its key; return its scheme."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return "https"


@contextmanager
def fake_kfp(certificate=None, **settings):
    """Serve one, over TLS by the files of a certificate and its key; yield its state, with its url."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    scheme = behind_tls(server, certificate) if certificate else "http"
    server.state = State(**settings, url=f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
