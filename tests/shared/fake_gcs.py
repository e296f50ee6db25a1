"""A Cloud Storage that holds objects in a dict and enforces generations; one bucket, named "scans"."""

import base64
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from tests.shared.faults import HANG_S, READ, WRITE, Faults, Listener, flipped

BUCKET = "scans"
PAGE = 1000  # objects, as the real one
REFUSALS = {
    "400": "The billing account is closed.",
    "403": "the account does not have storage.objects.create access",
}


class GcsState:
    """What the server holds, and what a test may do to it."""

    def __init__(self):
        self.objects: dict[str, tuple[bytes, dict]] = {}
        self.sessions: dict[str, tuple[dict, bytearray, dict]] = {}
        self.faults = Faults()
        self.lock = threading.Lock()
        self.generation = 0
        self.busy_until = 0.0  # with 503 to every request
        self.listener = None

    def put(self, about, data):
        """Keep an object as a new generation, and return what is told of it."""
        self.generation += 1
        about |= {"bucket": BUCKET, "size": str(len(data)), "crc32c": crc32c(data)}
        about |= {"generation": str(self.generation)}
        self.objects[about["name"]] = (data, about)
        return about

    def page(self, query):
        """Return one page of a listing."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("pageToken", "")
        names = [
            name
            for name in sorted(self.objects)
            if name.startswith(prefix)
            and name > after
            and not (delimiter and delimiter in name[len(prefix) :])
        ]
        size = min(PAGE, int(query.get("maxResults", PAGE)))
        answer = {"items": [self.objects[name][1] for name in names[:size]]}
        return answer | ({"nextPageToken": names[size - 1]} if len(names) > size else {})


def crc32c(data):
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


class _Handler(BaseHTTPRequestHandler):
    state: GcsState
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fault = ""

    def parse_request(self):
        """Read a request's head; a server that is away reads none."""
        if self.state.listener.is_away:
            self._drop()
            return False
        return super().parse_request()

    def log_message(self, *args):
        pass

    def _answer(self, status, body=b"", cut=False, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.fault == "hang":
            time.sleep(HANG_S)
        if self.fault == "lost":
            self._drop()
            return
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._drop()

    def _drop(self):
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _error(self, status, message):
        self._answer(status, {"error": {"code": status, "message": message}})

    def _where(self, possible):
        """Return the object's name ("" for the bucket itself), or None when the answer was given."""
        is_busy = time.monotonic() < self.state.busy_until
        self.fault = "503" if is_busy else self.state.faults.next(possible)
        url = urlsplit(self.path)
        bucket, _, rest = url.path.partition("/b/")[2].partition("/o")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name = None
        if self.fault in ("429", "503"):
            self._error(int(self.fault), "later")
        elif bucket != BUCKET:
            self._error(404, "The specified bucket does not exist.")
        elif self.fault in REFUSALS:
            self._error(int(self.fault), REFUSALS[self.fault])
        else:
            name = unquote(rest.removeprefix("/"))
        return name, query

    def do_GET(self):
        name, query = self._where(READ if "alt=media" in self.path else ("429", "503"))
        if name is None:
            return
        if name == "":
            self._answer(200, self.state.page(query))
            return
        data, about = self.state.objects.get(name, (b"", {}))
        if not about or query.get("generation", about["generation"]) != about["generation"]:
            self._error(404, f"No such object: {name}")
        elif query.get("alt") == "media":
            self._media(data, about)
        else:
            self._answer(200, about)

    def _media(self, data, about):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(wanted[1]), int(wanted[2] or len(data)) + 1) if wanted else (0, len(data))
        if wanted and start >= len(data):  # as of every empty object
            self._error(416, "The requested range cannot be satisfied.")
            return
        piece = flipped(data[start:end]) if self.fault == "flip" else data[start:end]
        headers = {"X_Goog_Generation": about["generation"], "X_Goog_Hash": f"crc32c={about['crc32c']}"}
        if encoding := about.get("contentEncoding"):
            headers["Content_Encoding"] = encoding
        if wanted:
            headers["Content_Range"] = f"bytes {start}-{start + len(piece) - 1}/{len(data)}"
        self._answer(206 if wanted else 200, piece, cut=self.fault == "cut", **headers)

    def _body(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        return flipped(body) if self.fault == "flip" else body

    def do_POST(self):
        resumable = "uploadType=resumable" in self.path
        sent_name, query = self._where(("429", "503") if resumable else WRITE)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if sent_name is None:
            return
        if resumable:
            key = uuid.uuid4().hex
            self.state.sessions[key] = json.loads(body), bytearray(), query
            host, port = self.server.server_address[:2]
            self._answer(200, Location=f"http://{host}:{port}/upload/b/{BUCKET}/o?session={key}")
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + body).get_payload()
        about, data = (part.get_payload(decode=True) for part in parts)
        self._keep(json.loads(about), flipped(data) if self.fault == "flip" else data, query)

    def do_PUT(self):
        name, query = self._where(WRITE)
        body = self._body()
        if name is None:
            return
        about, data, asked = self.state.sessions[query["session"]]
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", self.headers["Content-Range"])
        data[int(span[1]) :] = body
        if span[2] == "*" or len(data) < int(span[2]):
            self._answer(308, Range=f"bytes=0-{len(data) - 1}")
        else:
            self._keep(dict(about), bytes(data), asked)

    def _keep(self, about, data, query):
        with self.state.lock:
            current = self.state.objects.get(about["name"], (b"", {"generation": "0"}))[1]["generation"]
            whole = about.get("crc32c", crc32c(data)) == crc32c(data)
            taken = whole and query.get("ifGenerationMatch", current) == current
            kept = dict(self.state.put(about, data)) if taken else about
        if taken:
            self._answer(200, kept)
        elif whole:
            self._error(412, "conditionNotMet")
        else:
            self._error(400, f"Provided CRC32C {about['crc32c']} doesn't match calculated CRC32C.")

    def do_DELETE(self):
        name, _ = self._where(("429", "503"))
        if name is None:
            return
        if self.state.objects.pop(name, None):
            self._answer(204)
        else:
            self._error(404, f"No such object: {name}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that did not wait


@contextmanager
def gcs_server() -> Iterator[tuple[str, GcsState]]:
    """Yield the URL for STORAGE_EMULATOR_HOST, and what the server holds."""
    state = GcsState()
    handler = type("Handler", (_Handler,), {"state": state})
    state.listener = Listener(lambda port: _Server(("127.0.0.1", port), handler))
    try:
        yield f"http://127.0.0.1:{state.listener.port}", state
    finally:
        state.listener.stop()


@contextmanager
def fake_gcs() -> Iterator[str]:
    """Yield the URL for STORAGE_EMULATOR_HOST."""
    with gcs_server() as (url, _):
        yield url
