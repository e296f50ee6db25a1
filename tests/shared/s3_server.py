"""An S3 on loopback: moto behind a layer that checks what AWS checks and moto does not, and makes faults."""

import base64
import hashlib
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.shared.faults import BUSY, HANG_S, READ, WRITE, Faults, Listener, flipped


class _Layer:
    def __init__(self, faults):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.faults = faults
        self.blind = False  # to conditions, as some servers are
        self.busy_until = 0.0  # with 503 to every request
        self.loses_joined = (
            0  # 1: the next answer to the end of an upload in parts, which is then no more known
        )
        self.listener = None

    def __call__(self, environ, start_response):
        if self.listener.is_away:
            return self._cut(environ, start_response, "", [], b"", "lost")
        reads = environ["REQUEST_METHOD"] == "GET"
        fault = self.faults.next(_possible(environ))
        if time.monotonic() < self.busy_until:
            fault = "503"
        if environ["REQUEST_METHOD"] == "POST" and "uploadId=" in environ["QUERY_STRING"]:
            fault = {1: "lost", 2: "joined"}.get(self.loses_joined, fault)
            self.loses_joined += bool(self.loses_joined)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault == "flip" and not reads:
            body = flipped(body)
        environ["wsgi.input"] = BytesIO(body)
        if refusal := self._refusal(environ, body, fault):
            status, code = refusal
            text = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
            start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(text)))])
            return [text]
        if fault == "hang":
            time.sleep(HANG_S)
        return self._answer(environ, start_response, fault)

    def _refusal(self, environ, body, fault):
        if fault in ("429", "503"):
            return ("429 Too Many Requests", "SlowDown") if fault == "429" else ("503 Slow Down", "SlowDown")
        if fault == "joined":  # a server may say so of one that is done; moto forgives
            return "404 Not Found", "NoSuchUpload"
        if fault == "403":
            return "403 Forbidden", "AccessDenied"
        if fault in BUSY:
            return "409 Conflict", fault
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        if (
            environ.get("HTTP_CONTENT_MD5", md5) != md5
            or environ.get("HTTP_X_AMZ_CHECKSUM_CRC32", crc) != crc
        ):
            return "400 Bad Request", "BadDigest"
        # Servers of one's own may keep no CRC, so none comes back to compare with.
        environ.pop("HTTP_X_AMZ_CHECKSUM_CRC32", None)
        environ.pop("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", None)
        if self.blind:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        return None

    def _answer(self, environ, start_response, fault):
        kept = []
        answer = b"".join(self.moto(environ, lambda status, headers, _=None: kept.append((status, headers))))
        status, headers = kept[0]
        if fault == "flip" and environ["REQUEST_METHOD"] == "GET":
            answer = flipped(answer)
        if fault not in ("cut", "lost"):
            start_response(status, headers)
            return [answer]
        if fault == "cut" and "Content-Length" not in dict(headers):
            headers = [*headers, ("Content-Length", str(len(answer)))]
        return self._cut(environ, start_response, status, headers, answer[: len(answer) // 2], fault)

    def _cut(self, environ, start_response, status, headers, half, fault):
        if fault == "cut":
            start_response(status, headers)
            yield half
        with suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise BrokenPipeError


def _possible(environ):
    if environ["REQUEST_METHOD"] == "GET":
        return READ
    on_condition = not {"HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"}.isdisjoint(environ)
    return WRITE + BUSY * on_condition if environ["REQUEST_METHOD"] == "PUT" else ()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *args):
        pass


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[tuple[str, _Layer]]:
    """Yield the URL for AWS_ENDPOINT_URL, and the layer in front of moto."""
    layer = _Layer(Faults())
    layer.listener = Listener(
        lambda port: make_server(host, port, layer, threaded=True, request_handler=_Quiet)
    )
    try:
        yield f"http://{host}:{layer.listener.port}", layer
    finally:
        layer.listener.stop()
