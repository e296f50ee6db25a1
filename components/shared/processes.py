"""What Linux tells of other processes: whether they are still there, since when, and where they count."""

import hmac
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

_STATE, _PARENT, _START = 0, 1, 19  # fields of /proc/PID/stat, counted from the one after the name
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")  # files that Docker and podman leave in theirs
POD = "KUBERNETES_SERVICE_HOST"  # in the environment of every pod
_DEAD = ("Z", "X")  # ended, and waiting for its parent to notice


def is_alive(process: int, started: str = "") -> bool:
    """Tell whether a process id belongs to a running process, ours or another user's.

    With `started`, as `started_at` gave it, a later process of the same id is not the one that is meant.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    status = _status(process)
    if not status:
        return True
    return status[_STATE] not in _DEAD and started in ("", status[_START])


def started_at(process: int) -> str:
    """Return when a process began, in ticks since the machine did; "" where that is not told."""
    status = _status(process)
    return status[_START] if status else ""


def machine() -> str:
    """Return what names the place in which process ids mean what they mean here.

    A host name alone does not: the names of a cluster's pods are cut to 63 characters, so many share one.
    """
    told = [socket.gethostname(), boot()]
    with suppress(OSError):  # Linux alone tells
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(told)


def boot() -> str:
    """Return what names the time since this machine was started, after which no process of before is left."""
    return _text("/proc/sys/kernel/random/boot_id")


def installation() -> str:
    """Return what names this installation of Linux from boot to boot; "" in a container, of an image of many.

    The id itself is not to leave the machine (man machine-id): a hash under a name of ours stands for it.
    """
    told = _text("/etc/machine-id")
    if not re.fullmatch("[0-9a-f]{32}", told) or any(map(os.path.exists, _CONTAINERS)) or POD in os.environ:
        return ""
    return hmac.new(told.encode(), b"fontanelle lease", "sha256").hexdigest()[:16]


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def ages_under(program: str) -> tuple[float, float] | None:
    """Return how many seconds the nearest process above this one has run whose command names a program.

    This process's own follow; None where there is no such process.
    """
    process = os.getppid()
    while process > 0 and (status := _status(process)):
        if program.encode() in Path(f"/proc/{process}/cmdline").read_bytes():
            up = float(Path("/proc/uptime").read_text().split()[0])
            above, own = (
                int(each[_START]) / os.sysconf("SC_CLK_TCK") for each in (status, _status(os.getpid()))
            )
            return up - above, up - own
        process = int(status[_PARENT])
    return None


def _status(process: int) -> list[str]:
    """Return what Linux tells of a process; nothing elsewhere, or when it is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name, in brackets, may hold anything
