"""How a stage tells the terminal, or the pod's log, how far it is.

The laptop engine names a file in FONTANELLE_EVENTS and its own process in FONTANELLE_PARENT; on a cluster
neither is set and each event is a line of the pod's log.
"""

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from components.shared.faults import AbsentError, AwayError, InputError
from components.shared.processes import ages_under, is_alive

Progress = Callable[[int, int], None]  # images done, images in all
EVENTS = "FONTANELLE_EVENTS"
PARENT = "FONTANELLE_PARENT"
LOCK = "FONTANELLE_LOCK"  # held by living stages: the next run waits for a killed one's orphans
LAUNCHER = "kfp-launcher"  # in a pod it copies the inputs before it starts the stage, on a GPU's time
_INTERVAL_S = 1.0  # between two progress events of one stage


def silent(done: int, total: int) -> None:
    """Report nothing: the default where nobody watches."""


@contextmanager
def stage(name: str) -> Iterator[Progress]:
    """Announce a stage, hand it a progress function, and report its end or its error in one line."""
    die_with_parent()
    emit(name, "start")
    lock = _hold_lock()
    try:
        yield _reporter(name)
    except (InputError, AbsentError, AwayError) as error:
        emit(name, "error", message=str(error))
        sys.exit(1)  # the line says it all; a traceback would bury it
    except Exception as error:
        emit(name, "error", message=f"{type(error).__name__}: {error}")
        raise
    finally:
        lock.close()
    emit(name, "done", **_copying())


def in_pod() -> bool:
    """Tell whether this stage is a task of a cluster."""
    return ages_under(LAUNCHER) is not None


def _copying() -> dict[str, float]:
    """Return what a pod's inputs cost: seconds before this process, its own, and the former's share."""
    if (ages := ages_under(LAUNCHER)) is None:
        return {}
    launched, worked = ages
    copied = launched - worked
    share = copied / max(launched, 1e-9)
    return {"copied_s": round(copied, 1), "worked_s": round(worked, 1), "copied_share": round(share, 4)}


def _reporter(name: str) -> Progress:
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= _INTERVAL_S:
            last = time.monotonic()
            emit(name, "progress", done=done, total=total)

    return report


def emit(name: str, event: str, **values: Any) -> None:
    """Append one event to the events file, or print it where there is none."""
    line = json.dumps({"stage": name, "event": event, "time": round(time.time(), 2), **values}) + "\n"
    path = os.environ.get(EVENTS)
    if path is None:
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    # One write in append mode: lines of two processes never mix.
    with open(path, "a") as file:  # noqa: PTH123
        file.write(line)


def _hold_lock() -> IO[str]:
    lock = open(os.environ.get(LOCK, os.devnull), "w")  # noqa: PTH123, SIM115  closed when the stage ends
    if LOCK in os.environ:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def die_with_parent() -> None:
    """End this process within a second of the laptop engine's, so that no orphan writes on."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while is_alive(int(parent)):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
