"""What a network and a busy server do to requests, in a row that a test sets up."""

import threading
from collections import deque
from contextlib import contextmanager

HANG_S = 1.0
READ = ("429", "503", "hang", "cut", "flip")  # of the answer's bytes
# Of the bytes that came; lost: done, and the answer with it; 403 and 400: for good.
WRITE = ("429", "503", "hang", "lost", "flip", "403", "400")
# Of S3's writes on a condition: another is going on.
BUSY = ("ConditionalRequestConflict", "OperationAborted")


class Listener:
    """A server that can go away and come back at its port, of what makes one for a port."""

    def __init__(self, make):
        self._make, self.port, self.is_away = make, 0, False
        self._start()

    def _start(self):
        self._server = self._make(self.port)
        self.port = self._server.server_port
        serve, often = self._server.serve_forever, {"poll_interval": 0.05}
        self._thread = threading.Thread(target=serve, kwargs=often, daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def away(self, seconds):
        """Refuse every connection, and cut the open ones, for so long."""
        self.stop()
        self.is_away = True
        back = threading.Timer(seconds, self._come_back)
        back.start()
        yield
        back.join()

    @contextmanager
    def gone(self):
        """Refuse every connection while the body works, however long that takes."""
        self.stop()
        self.is_away = True
        try:
            yield
        finally:
            self._come_back()

    def _come_back(self):
        self.is_away = False
        self._start()


class Faults:
    """Faults waiting for a request that they can happen to."""

    def __init__(self):
        self.waiting: deque[str] = deque()
        self.met = 0
        self.spread = False  # over every second request, as a client that gives up would else meet them all
        self._asked = 0
        self._lock = threading.Lock()

    def next(self, possible):
        """Take the first waiting fault out of those that are possible, or ""."""
        with self._lock:
            self._asked += 1
            if self.spread and self._asked % 2:
                return ""
            for fault in self.waiting:
                if fault in possible:
                    self.waiting.remove(fault)
                    self.met += 1
                    return fault
        return ""


def flipped(data):
    """Return bytes with one bit of the middle one changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data
