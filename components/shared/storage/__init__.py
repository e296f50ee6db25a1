"""Files of a local folder or objects of a bucket, by URI, with create-only and compare-and-swap writes.

A URI is a path, file:///path, gs://bucket/prefix or s3://bucket/prefix. No other module imports a cloud SDK,
and here it is imported when a URI first asks for it. A reader never sees half an object, nor a half-copied
folder's index; of many writers that create one object exactly one wins; what arrives is compared with its
checksum. What cannot be used raises InputError, and an object that is not there FileNotFoundError. A store
that is away is asked again for about two minutes, and then it is an AwayError.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from components.shared.faults import AbsentError, AwayError, InputError
from components.shared.progress import Progress
from components.shared.storage import local, transfer
from components.shared.storage.objects import NOWHERE, VALID, StoredObject, absent, again, agrees, hash_file

__all__ = [
    "NOWHERE",
    "VALID",
    "StoredObject",
    "create",
    "delete",
    "download",
    "drop_unfinished",
    "exists",
    "hash_file",
    "join",
    "list_objects",
    "list_tree",
    "local_path",
    "read_bytes",
    "read_head",
    "read_versioned",
    "replace",
    "require_answer",
    "size_of",
    "split_glob",
    "upload",
]


class _Place(Protocol):
    """What local.py, gcs.py and s3.py can do."""

    def entries(self, uri: str, *, deep: bool) -> Iterable[StoredObject]: ...
    def probe(self, uri: str) -> None: ...
    def exists(self, uri: str) -> bool: ...
    def look(self, uri: str) -> StoredObject | None: ...
    def read(self, uri: str) -> tuple[bytes, str]: ...
    def read_head(self, uri: str, size: int) -> bytes: ...
    def create(self, uri: str, data: bytes) -> bool: ...
    def replace(self, uri: str, data: bytes, generation: str) -> bool: ...
    def send(self, path: Path, uri: str) -> None: ...
    def fetch(self, found: StoredObject, path: Path) -> bool: ...
    def delete(self, uri: str) -> None: ...
    def drop_unfinished(self, uri: str, before: float) -> int: ...


def join(uri: str, *parts: str) -> str:
    """Return the URI of something inside a folder or prefix."""
    return "/".join([uri.rstrip("/") or "/", *(part.strip("/") for part in parts)])


def split_glob(uri: str) -> tuple[str, str]:
    """Return a folder's URI and the pattern of its files: "*" unless the last part is a glob.

    A folder of this machine is none, whatever its name; in a bucket there are no folders to ask for.
    """
    head, slash, last = uri.rpartition("/")
    if not any(sign in last for sign in "*?[") or _is_folder(uri):
        return uri, "*"
    return (head or slash or "."), last


def local_path(uri: str) -> Path | None:
    """Return where a URI lies on this machine, or None when it lies in a bucket."""
    return local.path_of(uri) if _scheme(uri) == "file" else None


def list_objects(uri: str) -> list[StoredObject]:
    """List the files directly in a folder, sorted by name; links that lead nowhere are among them."""
    return sorted(_place(uri).entries(uri, deep=False), key=lambda found: found.name)


def list_tree(uri: str) -> list[StoredObject]:
    """List everything below a folder or prefix, named from there and sorted; empty where there is nothing."""
    return sorted(_place(uri).entries(uri, deep=True), key=lambda found: found.name)


def require_answer(uri: str) -> None:
    """Raise InputError, within seconds, where the bucket of a URI does not answer or cannot be listed."""
    try:
        _place(uri).probe(uri)
    except AwayError as error:
        raise InputError(str(error)) from error


def exists(uri: str) -> bool:
    """Tell whether a file or object is there."""
    return _place(uri).exists(uri)


def size_of(uri: str) -> int | None:
    """Return how many bytes an object has; None when it is absent."""
    found = _place(uri).look(uri)
    return None if found is None else found.size


def read_bytes(uri: str) -> bytes:
    """Return an object's bytes; FileNotFoundError when it is absent."""
    return read_versioned(uri)[0]


def read_head(uri: str, size: int) -> bytes:
    """Return at most the first size bytes of an object; FileNotFoundError when it is absent."""
    return _place(uri).read_head(uri, size)


def read_versioned(uri: str) -> tuple[bytes, str]:
    """Return an object's bytes and the generation that `replace` compares."""
    return _place(uri).read(uri)


def create(uri: str, data: bytes) -> bool:
    """Write an object unless it is there already; False, and nothing changes, when it is."""
    return _place(uri).create(uri, data)


def replace(uri: str, data: bytes, generation: str) -> bool:
    """Write an object if it still is of this generation; False, and nothing changes, when it is not."""
    return _place(uri).replace(uri, data, generation)


def delete(uri: str) -> None:
    """Remove a file or object; nothing happens when it is absent."""
    _place(uri).delete(uri)


def drop_unfinished(uri: str, older_than_s: float = 3600.0) -> int:
    """Remove what killed uploads left at or below a URI, which no listing shows; return how many.

    What was begun (in a bucket) or written to (in a folder) since then may be a living writer's and stays.
    """
    return _place(uri).drop_unfinished(uri, time.time() - older_than_s)


def upload(path: Path, uri: str, progress: Progress | None = None) -> None:
    """Copy a file, or a folder with everything in it, to a URI; progress counts bytes, None tells the log.

    Each object appears whole, a folder's indexes (.json, then .csv) after what they vouch for, and files of
    a folder that lie there already are not sent again.
    """
    with nullcontext(progress) if progress else transfer.logged(uri) as report:
        _upload(path, uri, report)


def _upload(path: Path, uri: str, progress: Progress) -> None:
    place = _place(uri)
    if not path.is_dir():
        progress(0, size := path.stat().st_size)
        place.send(path, uri)
        return progress(size, size)
    there = {found.name: found for found in place.entries(uri, deep=True)}
    items = []
    for found in local.entries(str(path), deep=True):
        file, target = path / found.name, join(uri, found.name)
        items.append(
            transfer.Item(
                name=found.name,
                size=found.size,
                there=found.name in there,
                is_same=_compare(file, there.get(found.name)),
                copy=partial(place.send, file, target),
                remove=partial(place.delete, target),
            )
        )
    return transfer.copy_all(items, progress)


def download(uri: str, path: Path, progress: Progress | None = None) -> None:
    """Copy a file, or everything under a prefix, to a local path; FileNotFoundError when there is none.

    Each file appears whole, and as in `upload` indexes come last and what is here is not fetched again.
    """
    with nullcontext(progress) if progress else transfer.logged(uri) as report:
        _download(uri, path, report)


def _download(uri: str, path: Path, progress: Progress) -> None:
    place = _place(uri)
    if found := place.look(uri):
        progress(0, found.size)
        _fetch(place, found, path)
        return progress(found.size, found.size)
    items = [_item_to(path, place, found) for found in place.entries(uri, deep=True)]
    if not items:
        raise absent(uri)
    return transfer.copy_all(items, progress)


def _item_to(folder: Path, place: _Place, found: StoredObject) -> transfer.Item:
    path = folder / found.name
    if ".." in PurePosixPath(found.name).parts or not path.is_relative_to(folder):
        raise InputError(f"{found.uri}: leads out of its folder; valid: names without '..'")
    return transfer.Item(
        name=found.name,
        size=found.size,
        there=path.is_file(),
        is_same=_compare(path, found),
        copy=partial(_fetch, place, found, path),
        remove=path.unlink,
    )


def _compare(path: Path, found: StoredObject | None) -> Callable[[], bool]:
    return lambda: found is not None and agrees(path, found) is True


def _fetch(place: _Place, found: StoredObject, path: Path) -> None:
    """Copy one object to a path, as it is now where it was overwritten since it was listed."""
    current = found

    def once() -> bool | None:
        nonlocal current
        with local.part_of(path) as part:
            try:
                whole = place.fetch(current, part)
            except FileNotFoundError:
                whole = False
            if whole:
                part.replace(path)
                return True
        current = place.look(found.uri) or _vanished(found.uri)
        return None

    again(found.uri, once)


def _vanished(uri: str) -> StoredObject:
    raise AbsentError(f"{uri}: vanished while it was copied; valid: places from which nothing is removed")


def _place(uri: str) -> _Place:
    scheme = _scheme(uri)
    if scheme == "gs":
        from components.shared.storage import gcs

        return gcs
    if scheme == "s3":
        from components.shared.storage import s3

        return s3
    return local


def _is_folder(uri: str) -> bool:
    path = local_path(uri)
    return path is not None and path.is_dir()


def _scheme(uri: str) -> str:
    scheme, sign, rest = uri.partition("://")
    if not sign:
        return "file"
    if scheme not in ("file", "gs", "s3") or not rest.strip("/"):
        raise InputError(f"{uri}: not a place this program can reach; valid: {VALID}")
    return scheme
