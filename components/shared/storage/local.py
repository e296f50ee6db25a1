"""Files of this machine as a place for objects."""

import errno
import fcntl
import glob
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from components.shared.faults import InputError
from components.shared.files import sync
from components.shared.storage.objects import NOWHERE, VALID, StoredObject, absent, hash_file

_PART = re.compile(r"\..+\.[0-9a-f]{32}\.part", re.DOTALL)  # what part_of makes
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What link says where there are no hard links, as on FAT; the file is this user's own, so EPERM is no other.
_UNLINKED = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def path_of(uri: str) -> Path:
    """Return the path of a local URI."""
    return Path(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri).expanduser()


@contextmanager
def disk(place: str | Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and a file that is not there into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise absent(str(place)) from error
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(f"{place}: no space left on its disk; valid: one with room for it") from error
        if error.errno in _REFUSED:
            raise InputError(
                f"{place}: this user has no permission ({error.strerror}); valid: {VALID}, that it may use"
            ) from error
        raise


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside a file, and remove what is left there."""
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def entries(uri: str, *, deep: bool) -> Iterator[StoredObject]:
    """Yield the files directly in a folder; deep, those below it as well, and an absent folder is empty.

    A link that leads nowhere is yielded unless deep: archives leave such links where they moved a volume.
    """
    folder = path_of(uri)
    if not deep and not folder.is_dir():
        raise InputError(f"{uri}: no such folder; valid: {VALID}")
    with disk(uri):
        paths = sorted(folder.rglob("*") if deep else folder.iterdir())
    for path in paths:
        if path.name.startswith(".") and (path.name.endswith(".part") or not deep):
            continue
        name = path.relative_to(folder).as_posix()
        if found := _look(path, name, uri):
            yield found
        elif not deep and path.is_symlink() and not path.exists():
            yield StoredObject(name=name, uri=_uri_in(uri, name), size=0, checksum=NOWHERE)


def probe(uri: str) -> None:
    """Ask nothing: a folder answers at once, and whatever reads it says what is wrong with it."""


def exists(uri: str) -> bool:
    """Tell whether the file is there."""
    return path_of(uri).is_file()


def look(uri: str) -> StoredObject | None:
    """Return the file, or None where there is none."""
    return _look(path_of(uri), "", uri)


def read(uri: str) -> tuple[bytes, str]:
    """Return a file's bytes and generation."""
    with disk(uri), path_of(uri).open("rb") as file:
        return file.read(), _generation(os.fstat(file.fileno()))


def read_head(uri: str, size: int) -> bytes:
    """Return a file's first bytes."""
    with disk(uri), path_of(uri).open("rb") as file:
        return file.read(size)


def create(uri: str, data: bytes) -> bool:
    """Write a file unless it is there."""
    path = path_of(uri)
    with part_of(path) as part:
        part.write_bytes(data)
        sync(part)
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _UNLINKED:
                raise
            raise InputError(
                f"{path}: its file system has no hard links, without which two runs could spoil each other;"
                " valid: a folder on one that has them (ext4, XFS, APFS, NFS), or a bucket"
            ) from error
    return True


def replace(uri: str, data: bytes, generation: str) -> bool:
    """Write a file if it is of this generation."""
    path = path_of(uri)
    with part_of(path) as part, _locked(path.parent):
        part.write_bytes(data)
        sync(part)
        if not path.is_file() or _generation(path.stat()) != generation:
            return False
        part.replace(path)
    return True


def send(path: Path, uri: str) -> None:
    """Copy a file to a URI."""
    target = path_of(uri)
    with part_of(target) as part:
        shutil.copyfile(path, part)
        sync(part)
        part.replace(target)


def fetch(found: StoredObject, path: Path) -> bool:
    """Copy a file of a URI to a path."""
    source = path_of(found.uri)
    with disk(found.uri), source.open("rb"):  # what keeps it from being read is the source's fault
        pass
    shutil.copyfile(source, path)
    return True


def delete(uri: str) -> None:
    """Remove a file where it is there."""
    path = path_of(uri)
    if path.is_file():
        with disk(uri), _locked(path.parent):
            path.unlink(missing_ok=True)


def drop_unfinished(uri: str, before: float) -> int:
    """Remove the hidden parts that nobody has written to since then."""
    path = path_of(uri)
    parts = [*path.parent.glob(f".{glob.escape(path.name)}.*"), *path.rglob(".*.part")]
    dropped = 0
    for part in parts:
        with suppress(FileNotFoundError), disk(part):  # its writer may end at this moment
            if _PART.fullmatch(part.name) and part.stat().st_mtime < before:
                part.unlink()
                dropped += 1
    return dropped


def _look(path: Path, name: str, folder: str) -> StoredObject | None:
    """Return a file, or None where there is none, or none any more: another run may remove it meanwhile."""
    uri = _uri_in(folder, name) if name else folder
    with suppress(FileNotFoundError):
        if path.is_file():
            return StoredObject(name=name, uri=uri, size=path.stat().st_size, ask=partial(_digest, path))
    return None


def _uri_in(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _digest(path: Path) -> str:
    with disk(path):
        return f"sha256:{hash_file(path)}"


def _generation(status: os.stat_result) -> str:
    # Every write makes a new file, so inode and time name the version even when its bytes come back.
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; it leaves no file behind and dies with its process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
