"""What a network and a busy server do to requests, in a row that a test sets up."""

import threading
from collections import deque

HANG_S = 1.0
READ = ("429", "503", "hang", "cut", "flip")  # of the answer's bytes
# Of the bytes that came; lost: done, and the answer with it; 403: for good.
WRITE = ("429", "503", "hang", "lost", "flip", "403")


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
