"""What a listing shows of a file or object, and how bytes are compared with it."""

import base64
import hashlib
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, TypeVar

from components.shared.faults import AbsentError, InputError

VALID = "a folder, gs://bucket/prefix or s3://bucket/prefix"
NOWHERE = "nowhere:"  # checksum of a link that leads to no file
_ATTEMPTS = 5
_CHUNK = 1 << 20  # bytes

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One file or object as a listing shows it, without a download."""

    name: str  # relative to the listed folder
    uri: str
    size: int  # bytes
    checksum: str = ""  # that the listing shows: "crc32c:..." of gs://, NOWHERE, "" elsewhere
    version: str = ""  # generation or ETag; "" of a local file
    ask: Callable[[], str] = field(default=str, repr=False, compare=False)  # for the checksum not shown

    @cached_property
    def digest(self) -> str:
        """The checksum with its algorithm, asked for (or read from the local file) at the first look."""
        return self.checksum or self.ask()


def split_bucket(uri: str) -> tuple[str, str]:
    """Return the bucket and the object's name of scheme://bucket/name."""
    bucket, _, name = uri.partition("://")[2].partition("/")
    return bucket, name.strip("/")


def absent(uri: str) -> AbsentError:
    """Return what is raised for an object that is not there."""
    return AbsentError(f"{uri}: no such object")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a local file, in hexadecimal."""
    with path.open("rb") as file:
        return _sha256(file)


def hash_bytes(data: bytes, algorithm: str) -> str:
    """Return the sha256 or md5 (hexadecimal), crc32 or crc32c (base64, as the stores write it) of bytes."""
    return _HASHES[algorithm](BytesIO(data))


def agrees(path: Path, found: StoredObject) -> bool | None:
    """Tell whether a local file is the stored one; None when only their sizes can be compared."""
    if path.stat().st_size != found.size:
        return False
    algorithm, _, value = found.digest.partition(":")
    if algorithm not in _HASHES:
        return None
    with path.open("rb") as file:
        return _HASHES[algorithm](file) == value


def agree(data: bytes, digest: str) -> bool | None:
    """Tell whether bytes have a digest; None when it is of a kind that is not computed here."""
    algorithm, _, value = digest.partition(":")
    return hash_bytes(data, algorithm) == value if algorithm in _HASHES else None


def again(uri: str, once: Callable[[], Result | None]) -> Result:
    """Do something until it answers other than None: what arrives cut or damaged is asked for again."""
    for attempt in range(_ATTEMPTS):
        time.sleep(attempt * random.uniform(0, 0.2))  # noqa: S311  spreads those that collide
        if (result := once()) is not None:
            return result
    raise InputError(
        f"{uri}: could not be carried whole in {_ATTEMPTS} attempts;"
        " valid: a network and a store that keep bytes as they are"
    )


def _sha256(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _md5(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]


def _crc32(file: IO[bytes]) -> str:
    value = 0
    while chunk := file.read(_CHUNK):
        value = zlib.crc32(chunk, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def _crc32c(file: IO[bytes]) -> str:
    import google_crc32c

    extend: Callable[[int, bytes], int] = google_crc32c.extend
    value = 0
    while chunk := file.read(_CHUNK):
        value = extend(value, chunk)
    return base64.b64encode(value.to_bytes(4, "big")).decode()


_HASHES = {"sha256": _sha256, "md5": _md5, "crc32c": _crc32c, "crc32": _crc32}
