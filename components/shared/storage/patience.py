"""How long a store that does not answer is asked again, and what the log is told meanwhile."""

import random
import threading
import time
from dataclasses import dataclass

from components.shared.progress import emit

_QUIET_S = 120.0  # between two lines about one store, of which many threads may ask at once
_told: dict[str, float] = {}  # store -> when a line about it was written
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How one request is repeated: after pauses that grow, drawn so that pods do not come back at once."""

    first_s: float = 0.3  # at most, as each pause is drawn between nothing and its most
    longest_s: float = 10.0
    # From the first refusal on. The last attempt may hang as long as clients.py lets it, so that of a lease's
    # renewal even four requests at their longest take less time than the lease needs to go stale.
    whole_s: float = 100.0
    told_after_s: float = 5.0

    def pause_s(self, attempt: int) -> float:
        """Return how long to wait after so many attempts."""
        return random.uniform(0, min(self.longest_s, self.first_s * 2.0**attempt))  # noqa: S311


PATIENT = Patience()
BRIEF = Patience(longest_s=1.0, whole_s=3.0)  # does anybody answer at all?


class Wait:
    """The waiting of one request for a store that is away, from its first refusal on."""

    def __init__(self, patience: Patience, store: str) -> None:
        self._patience = patience
        self._store = store
        self._began = time.monotonic()

    def pause_s(self, attempt: int, reason: str) -> float | None:
        """Return how long to wait before the next attempt, None where it is the end of patience."""
        pause = self._patience.pause_s(attempt)
        if time.monotonic() - self._began + pause > self._patience.whole_s:
            return None
        self.tell(reason)
        return pause

    def tell(self, reason: str) -> None:
        """Write one line, for all threads, once the wait is as long as a reader of the log wonders at."""
        now = time.monotonic()
        if now - self._began < self._patience.told_after_s:
            return
        with _lock:
            if now - _told.get(self._store, -_QUIET_S) < _QUIET_S:
                return
            _told[self._store] = now
        message = f"{self._store} does not answer ({reason}), it is asked for {self._patience.whole_s:.0f} s"
        emit("storage", "warning", message=message)
