"""Many files at once, from here to a place and back; what vouches for the others goes last."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

from components.shared.progress import Progress, emit

_WORKERS = 8
_TOLD_S = 10.0  # between two lines about one copy
# An index vouches for the rest: artifacts end in a .json, a PlaneSet in planes.csv after planes.json.
_RANKS = {".json": 1, ".csv": 2}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file to copy."""

    name: str
    size: int  # bytes
    there: bool  # something has its name where it goes
    is_same: Callable[[], bool]  # and that is this very file
    copy: Callable[[], None]
    remove: Callable[[], None]  # what is there

    @property
    def rank(self) -> int:
        """Return its place in the order of copying."""
        return next((rank for suffix, rank in _RANKS.items() if self.name.endswith(suffix)), 0)


@contextmanager
def logged(uri: str) -> Iterator[Progress]:
    """Write a line every ten seconds while a copy lasts: its size, and of a folder how much came."""
    ended, began, came = threading.Event(), time.monotonic(), (0, 0)

    def count(done: int, total: int) -> None:
        nonlocal came
        came = done, total

    def tell() -> None:
        while not ended.wait(_TOLD_S):
            seconds = f"{time.monotonic() - began:.0f} s so far"
            emit("storage", "note", message=f"{uri}: {_share(*came)}, {seconds}")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield count
    finally:
        ended.set()
        teller.join()


def _share(done: int, total: int) -> str:
    """Return how much of a copy came; of a single file that is not known before it is whole."""
    if not total:
        return "looked at"
    return f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB" if done else f"{total / 1e6:,.1f} MB"


def copy_all(items: Sequence[Item], progress: Progress) -> None:
    """Copy what is not there yet, several at a time, by rank, and report bytes of bytes.

    An old index is removed before a file that it would vouch for changes, so that a copy that is cut off
    leaves no whole set, and the next one sends what is missing alone.
    """
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        missing = _missing(items, pool)
        total = sum(item.size for item in items)
        done = total - sum(item.size for item in missing)
        progress(done, total)
        for rank in (0, *_RANKS.values()):
            futures = {pool.submit(item.copy): item.size for item in missing if item.rank == rank}
            for future in as_completed(futures):
                future.result()
                done += futures[future]
                progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def _missing(items: Sequence[Item], pool: ThreadPoolExecutor) -> Sequence[Item]:
    """Return what must be copied, its indexes among it, after removing those that would vouch for it."""
    same = pool.map(lambda item: item.there and item.is_same(), items)
    kept = {item.name for item, is_kept in zip(items, same, strict=True) if is_kept}
    first = min((item.rank for item in items if item.name not in kept), default=len(_RANKS))
    stale = [item for item in items if item.rank > first]
    for item in sorted(stale, key=lambda item: -item.rank):
        if item.there:
            item.remove()
    return [item for item in items if item.name not in kept or item.rank > first]
