"""A lease on a ledger: one run writes at a time, and a dead pod blocks nobody.

The lease is renewed each minute while a stage works, is stale after ten minutes, and is taken over by a
generation precondition, so that of two runs that try, one wins. Between two stages of a run it stays taken;
it is free at once when a stage fails or the run's last round is closed.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from uuid import uuid4

from components.shared import storage, stored_json
from components.shared.faults import InputError
from components.shared.processes import boot, installation, is_alive, machine, started_at
from components.shared.progress import emit

RENEW_S = 60.0
STALE_S = 600.0
LEASE = "lease.json"
# Without these a lease does not tell whether it is free.
_SHAPE: stored_json.Shape = {"owner": str, "host": str, "process": int, "renewed": float}
_WAIT_S = 15.0  # between two looks at a lease that another run holds
_MINE = uuid4().hex[:12]  # two pods may have one name and one process id
_held: set[tuple[str, str]] = set()  # by this process: place and owner


class HeldError(InputError):
    """Raised where another live run holds a lease."""


@contextmanager
def lease(run_uri: str, owner: str) -> Iterator[None]:
    """Hold the ledger at `run_uri` for `owner` (the pipeline run's id) while the body works.

    Raises HeldError when another live run holds it. A body that fails frees it: its run ends. Taken again
    inside the body it is held already, and the outermost alone renews and frees it.
    """
    if (run_uri, owner) in _held:
        _require_ours(storage.join(run_uri, LEASE), owner)
        yield
        return
    _take(run_uri, owner)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(run_uri, owner, done), daemon=True)
    failed = True
    try:
        _held.add((run_uri, owner))
        renewal.start()
        yield
        failed = False
    finally:
        done.set()
        if renewal.ident is not None:
            renewal.join()
        _held.discard((run_uri, owner))
        if failed:
            release(run_uri, owner)


@contextmanager
def waiting_lease(uri: str, what: str, owner: str = "") -> Iterator[None]:
    """Hold a lease once whoever holds it is done, who makes the same (`what`, for the reader).

    Without an `owner` it is of this process alone: a pod tried again waits until its predecessor is done too.
    """
    owner = owner or f"{socket.gethostname()}-{os.getpid()}-{_MINE}"
    told = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lease(uri, owner))
                break
            except HeldError as error:
                if not told:
                    emit("lease", "warning", message=f"waiting for another run at {what}: {error}")
                told = True
                time.sleep(_WAIT_S)
        yield
    if (uri, owner) not in _held:
        release(uri, owner)


def release(run_uri: str, owner: str) -> None:
    """Let other runs take the ledger at `run_uri`, where `owner` still holds it."""
    uri = storage.join(run_uri, LEASE)
    with suppress(InputError, OSError):  # a lease that cannot be freed goes stale
        data, generation = storage.read_versioned(uri)
        if _told(uri, data)["owner"] == owner:
            storage.replace(uri, _claim(owner, renewed=0.0), generation)


def _take(run_uri: str, owner: str) -> None:
    uri = storage.join(run_uri, LEASE)
    if storage.create(uri, _claim(owner, time.time())):
        return
    data, generation = storage.read_versioned(uri)
    held = _told(uri, data)
    if not _is_free(held, owner):
        raise _held_by(uri, held)
    if not storage.replace(uri, _claim(owner, time.time()), generation):
        _require_ours(uri, owner)  # who came first, this moment, may be another pod of the run,
        _take(run_uri, owner)  # which may have freed it


def require_free(uri: str) -> None:
    """Refuse where a live run holds the lease at a place, whoever asks."""
    held = _told(uri, storage.read_bytes(uri))
    if not _is_free(held, owner=""):
        raise _held_by(uri, held)


def _told(uri: str, data: bytes) -> dict[str, Any]:
    """Return what a lease says."""
    valid = "that object deleted, once no run works there"
    return dict(stored_json.parse(uri, data, _SHAPE, valid))


def _held_by(uri: str, held: dict[str, Any]) -> HeldError:
    return HeldError(
        f"{uri}: held by run {held['owner']} on {held['host']}, renewed"
        f" {time.time() - held['renewed']:.0f} s ago; valid: wait for it to end, or {STALE_S:.0f} s after it"
        " died, or another run_name"
    )


def _renew(run_uri: str, owner: str, done: threading.Event) -> None:
    renewed = time.time()
    while not done.wait(RENEW_S):
        now = time.time()
        try:
            ours = _renew_once(storage.join(run_uri, LEASE), owner, now)
            renewed = now
        except Exception:  # noqa: BLE001 - no answer, or one that cannot be read: ask again, while in time
            ours = time.time() + RENEW_S - renewed < STALE_S
        if not ours:
            # Another run may write now, this one must not.
            emit("lease", "error", message=f"{run_uri}: taken over by another run, or not renewed in time")
            os._exit(75)


def _renew_once(uri: str, owner: str, now: float) -> bool:
    data, generation = storage.read_versioned(uri)
    if _told(uri, data)["owner"] != owner:
        return False
    # Two pods of one run may renew at once: what the other one wrote holds for both.
    return storage.replace(uri, _claim(owner, now), generation) or _is_of(uri, owner)


def _require_ours(uri: str, owner: str) -> None:
    held = _told(uri, storage.read_bytes(uri))
    if held["owner"] != owner:
        raise _held_by(uri, held)


def _is_of(uri: str, owner: str) -> bool:
    return bool(_told(uri, storage.read_bytes(uri))["owner"] == owner)


def _claim(owner: str, renewed: float) -> bytes:
    process = os.getpid()
    claim = {
        "owner": owner,
        "host": socket.gethostname(),
        "machine": machine(),
        "installation": installation(),
        "boot": boot(),
        "process": process,
        "started": started_at(process),
        "renewed": renewed,
    }
    return json.dumps(claim).encode()


def _is_free(held: dict[str, Any], owner: str) -> bool:
    """A lease is free for its owner, when stale, or when its process died on this machine, or with it."""
    if held["owner"] == owner or time.time() - held["renewed"] > STALE_S:
        return True
    if _was_started_again(held):
        return True
    here = held.get("machine") == machine()
    return here and not is_alive(held["process"], held.get("started", ""))


def _was_started_again(held: dict[str, Any]) -> bool:
    same = held["host"] == socket.gethostname() and held.get("installation") == installation() != ""
    return same and held.get("boot", boot()) != boot()
