"""A Cloud Storage that holds objects in a dict and enforces generations; one bucket, named "scans"."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

BUCKET = "scans"


class _Handler(BaseHTTPRequestHandler):
    objects: ClassVar[dict[str, tuple[bytes, dict]]] = {}
    lock = threading.Lock()
    last_generation = 0

    def log_message(self, *args):
        pass

    def _answer(self, status, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def _where(self):
        url = urlsplit(self.path)
        bucket, _, rest = url.path.partition("/b/")[2].partition("/o")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if bucket != BUCKET:
            message = "The specified bucket does not exist."
            self._answer(404, {"error": {"code": 404, "message": message}})
            return None, query
        return unquote(rest.removeprefix("/")), query

    def do_GET(self):
        name, query = self._where()
        if name is None:
            return
        if name == "":
            prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
            items = [
                about
                for key, (_, about) in sorted(self.objects.items())
                if fnmatchcase(key, prefix + "*") and not (delimiter and delimiter in key[len(prefix) :])
            ]
            self._answer(200, {"items": items})
        elif name not in self.objects:
            self._answer(404, {"error": {"code": 404, "message": f"No such object: {name}"}})
        elif query.get("alt") == "media":
            data, about = self.objects[name]
            self._answer(200, data, X_Goog_Generation=about["generation"])
        else:
            self._answer(200, self.objects[name][1])

    def do_POST(self):
        bucket_name, query = self._where()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if bucket_name is None:
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        about, data = (
            part.get_payload(decode=True) for part in BytesParser().parsebytes(head + body).get_payload()
        )
        about = json.loads(about)
        with self.lock:
            current = self.objects.get(about["name"], (b"", {"generation": "0"}))[1]["generation"]
            if query.get("ifGenerationMatch", current) != current:
                self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
                return
            type(self).last_generation += 1
            crc = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
            about |= {"bucket": BUCKET, "size": str(len(data)), "crc32c": crc}
            about |= {"generation": str(self.last_generation)}
            self.objects[about["name"]] = (data, about)
        self._answer(200, about)

    def do_DELETE(self):
        name, _ = self._where()
        if name is not None:
            self.objects.pop(name, None)
            self._answer(204)


@contextmanager
def fake_gcs() -> Iterator[str]:
    """Yield the URL for STORAGE_EMULATOR_HOST."""
    handler = type("Handler", (_Handler,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
