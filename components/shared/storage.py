"""Files of a local folder or objects of a bucket, by URI, with create-only and compare-and-swap writes.

A URI is a path, file:///path or gs://bucket/prefix. No other module imports a cloud SDK.
A reader never sees half an object, and of many writers that create one object exactly one wins.
"""

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from components.shared.faults import InputError

VALID = "a folder, file:///folder or gs://bucket/prefix"
_LOOK_S = 3.0  # how long a question to a bucket is asked again before it counts as unanswered
_LOOK_TIMEOUT_S = (3.0, 30.0)  # connect, read
_MISSING = 404


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One file or object as a listing shows it, without a download."""

    name: str  # relative to the listed folder
    uri: str
    size: int  # bytes
    checksum: str  # that the listing shows: "crc32c:..." of an object, "" of a local file

    @property
    def digest(self) -> str:
        """The checksum, or "sha256:..." of the local file, read when it is asked for."""
        return self.checksum or f"sha256:{hash_file(_path(self.uri))}"


def join(uri: str, *parts: str) -> str:
    """Return the URI of something inside a folder or prefix."""
    return "/".join([uri.rstrip("/") or "/", *(part.strip("/") for part in parts)])


def split_glob(uri: str) -> tuple[str, str]:
    """Return a folder's URI and the pattern of its files: "*" unless the last part is a glob."""
    head, slash, last = uri.rpartition("/")
    if not any(sign in last for sign in "*?["):
        return uri, "*"
    return (head or slash or "."), last


def local_path(uri: str) -> Path | None:
    """Return where a URI lies on this machine, or None when it lies in a bucket."""
    return None if _in_bucket(uri) else _path(uri)


def list_objects(uri: str) -> list[StoredObject]:
    """List the files directly in a folder, sorted by name; the last part may be a glob."""
    folder, pattern = split_glob(uri)
    found = _list_bucket(folder) if _in_bucket(folder) else _list_folder(folder, pattern)
    return sorted((o for o in found if fnmatchcase(o.name, pattern)), key=lambda o: o.name)


def exists(uri: str) -> bool:
    """Tell whether a file or object is there."""
    if not _in_bucket(uri):
        return _path(uri).is_file()
    with _cloud(uri):
        return bool(_blob(uri).exists(timeout=_LOOK_TIMEOUT_S, retry=_briefly()))


def read_bytes(uri: str) -> bytes:
    """Return an object's bytes; FileNotFoundError when it is absent."""
    return read_versioned(uri)[0]


def read_head(uri: str, size: int) -> bytes:
    """Return at most the first size bytes of an object; FileNotFoundError when it is absent."""
    if not _in_bucket(uri):
        with _path(uri).open("rb") as file:
            return file.read(size)
    with _cloud(uri):
        data: bytes = _blob(uri).download_as_bytes(
            end=size - 1, timeout=_LOOK_TIMEOUT_S, retry=_briefly(), checksum=None
        )
        return data[:size]


def read_versioned(uri: str) -> tuple[bytes, str]:
    """Return an object's bytes and the generation that `replace` compares."""
    if _in_bucket(uri):
        return _read_object(uri)
    with _path(uri).open("rb") as file:
        return file.read(), _generation(os.fstat(file.fileno()))


def create(uri: str, data: bytes) -> bool:
    """Write an object unless it is there already; False, and nothing changes, when it is."""
    if _in_bucket(uri):
        return _write_if(uri, data, 0)
    path = _path(uri)
    with _beside(path, data) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            return False
    return True


def replace(uri: str, data: bytes, generation: str) -> bool:
    """Write an object if it still is of this generation; False, and nothing changes, when it is not."""
    if _in_bucket(uri):
        return _write_if(uri, data, int(generation))
    path = _path(uri)
    with _beside(path, data) as part, _locked(path.parent):
        if not path.is_file() or _generation(path.stat()) != generation:
            return False
        part.replace(path)
    return True


def upload(path: Path, uri: str) -> None:
    """Copy a file, or a folder with everything in it, to a URI; each object appears whole."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            upload(file, join(uri, file.relative_to(path).as_posix()))
    elif _in_bucket(uri):
        with _cloud(uri):
            _blob(uri).upload_from_filename(str(path))
    else:
        _copy(path, _path(uri))


def download(uri: str, path: Path) -> None:
    """Copy a file, or everything under a prefix, to a local path; FileNotFoundError when there is none."""
    if _in_bucket(uri):
        with _cloud(uri):
            _download(uri, path)
    elif _path(uri).is_dir():
        upload(_path(uri), str(path))
    else:
        _copy(_path(uri), path)


def delete(uri: str) -> None:
    """Remove a file or object; nothing happens when it is absent."""
    if _in_bucket(uri):
        with _cloud(uri):
            if blob := _blob(uri).bucket.get_blob(_blob(uri).name):
                blob.delete()
        return
    path = _path(uri)
    if path.is_file():
        with _locked(path.parent):
            path.unlink(missing_ok=True)


# Local files


def _path(uri: str) -> Path:
    return Path(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri).expanduser()


def _list_folder(uri: str, pattern: str) -> Iterator[StoredObject]:
    folder = _path(uri)
    if not folder.is_dir():
        raise InputError(f"{uri}: no such folder; valid: {VALID}")
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and fnmatchcase(path.name, pattern):
            found = join(uri, path.name)
            yield StoredObject(name=path.name, uri=found, size=path.stat().st_size, checksum="")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a local file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _generation(status: os.stat_result) -> str:
    # Every write makes a new file, so inode and time name the version even when its bytes come back.
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside a file, and remove what is left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    with _part(path) as part:
        part.write_bytes(data)
        yield part


def _copy(source: Path, target: Path) -> None:
    with _part(target) as part:
        shutil.copyfile(source, part)
        part.replace(target)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; it leaves no file behind and dies with its process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# Buckets


def _in_bucket(uri: str) -> bool:
    scheme, sign, rest = uri.partition("://")
    if not sign or scheme == "file":
        return False
    if scheme != "gs" or not rest.strip("/"):
        raise InputError(f"{uri}: not a place this program can reach; valid: {VALID}")
    return True


@lru_cache(maxsize=1)
def _client() -> Any:
    # Asking for credentials where there is no metadata server must not take ten seconds.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    return storage.Client()


def _briefly() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(_LOOK_S)


def _blob(uri: str) -> Any:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return _client().bucket(bucket).blob(name.rstrip("/"))


@contextmanager
def _cloud(uri: str) -> Iterator[None]:
    """Turn what a bucket, its credentials or the network refuse into one line."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException  # type: ignore[import-untyped]

    bucket = "gs://" + uri.removeprefix("gs://").partition("/")[0]
    try:
        yield
    except GoogleAuthError as error:
        raise InputError(
            f"{uri}: no Google credentials for bucket {bucket}; valid: GOOGLE_APPLICATION_CREDENTIALS,"
            f" a service account that may read it, or {VALID}"
        ) from error
    except (GoogleAPIError, RequestException) as error:
        status = getattr(error, "code", None)
        if status == _MISSING and "bucket does not exist" not in str(error).lower():
            raise FileNotFoundError(uri) from error
        reason = "no such bucket" if status == _MISSING else f"{type(error).__name__} {status or ''}".strip()
        raise InputError(
            f"{uri}: bucket {bucket} cannot be used ({reason}); valid: an existing bucket that this"
            f" account may use, over a working network, or {VALID}"
        ) from error


def _read_object(uri: str) -> tuple[bytes, str]:
    with _cloud(uri):
        blob = _blob(uri)
        data = blob.download_as_bytes(timeout=_LOOK_TIMEOUT_S, retry=_briefly())
        return data, str(blob.generation)  # of the answer's own headers


def _list_bucket(uri: str) -> list[StoredObject]:
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    try:
        with _cloud(uri):
            blobs = _client().list_blobs(
                bucket, prefix=prefix, delimiter="/", timeout=_LOOK_TIMEOUT_S, retry=_briefly()
            )
            return [_stored(uri, blob, prefix) for blob in blobs if blob.name != prefix]
    except FileNotFoundError as error:
        raise InputError(f"{uri}: no such bucket gs://{bucket}; valid: {VALID}") from error


def _stored(uri: str, blob: Any, prefix: str) -> StoredObject:
    name = blob.name.removeprefix(prefix)
    return StoredObject(name=name, uri=join(uri, name), size=blob.size, checksum=f"crc32c:{blob.crc32c}")


def _write_if(uri: str, data: bytes, generation: int) -> bool:
    """Write if the object is of this generation (0: absent)."""
    from google.api_core.exceptions import PreconditionFailed
    from google.cloud.storage.retry import DEFAULT_RETRY

    with _cloud(uri):
        blob = _blob(uri)
        writer = uuid.uuid4().hex
        blob.metadata = {"writer": writer}
        try:
            blob.upload_from_string(data, if_generation_match=generation, retry=DEFAULT_RETRY)
        except PreconditionFailed:
            # A write whose answer was lost is sent again and then meets itself: that one did win.
            there = blob.bucket.get_blob(blob.name)
            return there is not None and (there.metadata or {}).get("writer") == writer
    return True


def _download(uri: str, path: Path) -> None:
    blob = _blob(uri)
    if blob.name and blob.exists(timeout=_LOOK_TIMEOUT_S, retry=_briefly()):
        _fetch(blob, path)
        return
    prefix = PurePosixPath(blob.name).as_posix() + "/" if blob.name else ""
    blobs = [b for b in _client().list_blobs(blob.bucket.name, prefix=prefix) if not b.name.endswith("/")]
    if not blobs:
        raise FileNotFoundError(uri)
    for each in blobs:
        _fetch(each, path / each.name.removeprefix(prefix))


def _fetch(blob: Any, path: Path) -> None:
    with _part(path) as part:
        blob.download_to_filename(str(part))
        part.replace(path)
