"""A lease on a ledger: one run writes at a time, and a dead pod blocks nobody.

The lease is renewed each minute while a stage works, is stale after ten minutes, and is taken over by a
generation precondition, so that of two runs that try, one wins.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.shared import storage
from components.shared.faults import InputError
from components.shared.processes import is_alive

RENEW_S = 60.0
STALE_S = 600.0


@contextmanager
def lease(run_uri: str, owner: str) -> Iterator[None]:
    """Hold the ledger at `run_uri` for `owner` (the pipeline run's id) while the body works.

    Raises InputError when another live run holds it.
    """
    _take(run_uri, owner)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(run_uri, owner, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()


def _take(run_uri: str, owner: str) -> None:
    uri = storage.join(run_uri, "lease.json")
    if storage.create(uri, _claim(owner)):
        return
    data, generation = storage.read_versioned(uri)
    held = json.loads(data)
    if not _is_free(held, owner):
        raise InputError(
            f"{uri}: held by run {held['owner']}, renewed {time.time() - held['renewed']:.0f} s ago;"
            f" valid: wait for it to end, or {STALE_S:.0f} s after it died, or another run_name"
        )
    if not storage.replace(uri, _claim(owner), generation):
        raise InputError(f"{uri}: taken by another run this moment; valid: one run at a time per run_name")


def _renew(run_uri: str, owner: str, done: threading.Event) -> None:
    uri = storage.join(run_uri, "lease.json")
    while not done.wait(RENEW_S):
        data, generation = storage.read_versioned(uri)
        if json.loads(data)["owner"] != owner or not storage.replace(uri, _claim(owner), generation):
            os._exit(75)  # taken over after a stall: another run writes now, this one must not


def _claim(owner: str) -> bytes:
    claim = {"owner": owner, "host": socket.gethostname(), "process": os.getpid(), "renewed": time.time()}
    return json.dumps(claim).encode()


def _is_free(held: dict[str, Any], owner: str) -> bool:
    """A lease is free for its owner, when stale, or when its process died on this very machine."""
    if held["owner"] == owner or time.time() - held["renewed"] > STALE_S:
        return True
    return bool(held["host"] == socket.gethostname()) and not is_alive(held["process"])
