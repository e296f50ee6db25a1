"""Google Cloud Storage as a place for objects."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from google.api_core.exceptions import (
    BadRequest,
    GoogleAPIError,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
    RetryError,
)
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import transfer_manager
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException  # type: ignore[import-untyped]

from components.shared.faults import AwayError, InputError
from components.shared.storage import patience
from components.shared.storage.clients import google
from components.shared.storage.objects import (
    VALID,
    StoredObject,
    absent,
    again,
    agree,
    agrees,
    split_bucket,
)

_TIMEOUT_S = (3.0, 30.0)  # connect, read
_may_pass = DEFAULT_RETRY._predicate  # what Google's client repeats of itself
_LARGE = 64 << 20  # bytes from which an object is fetched in parts
_REASONS = {
    401: "credentials that are refused (401)",
    403: "no permission for this account (403)",
    404: "no such bucket",
}


def entries(uri: str, *, deep: bool) -> Iterator[StoredObject]:
    """Yield the objects directly under a prefix; deep, all under it."""
    bucket, prefix = split_bucket(uri)
    prefix = prefix and prefix + "/"
    try:
        with _cloud(uri):
            for blob in google().list_blobs(
                bucket, prefix=prefix, delimiter=None if deep else "/", **_way(uri)
            ):
                if not blob.name.endswith("/"):  # what consoles make for a folder
                    name = blob.name.removeprefix(prefix)
                    yield _stored(f"gs://{bucket}/{blob.name}", blob, name)
    except FileNotFoundError as error:
        raise _no_bucket(uri) from error


def probe(uri: str) -> None:
    """Ask for a listing, and not for long."""
    bucket, prefix = split_bucket(uri)
    try:
        with _cloud(uri):
            next(
                iter(google().list_blobs(bucket, prefix=prefix, max_results=1, **_way(uri, brief=True))), None
            )
    except FileNotFoundError as error:
        raise _no_bucket(uri) from error


def exists(uri: str) -> bool:
    """Tell whether the object is there."""
    return _get(uri) is not None


def look(uri: str) -> StoredObject | None:
    """Return the object, or None where there is none."""
    blob = _get(uri)
    return blob and _stored(uri, blob, "")


def read(uri: str) -> tuple[bytes, str]:
    """Return an object's bytes and generation."""

    def once() -> tuple[bytes, str] | None:
        with _cloud(uri):
            blob = _blob(uri)
            try:
                data = blob.download_as_bytes(checksum="crc32c", **_way(uri))
            except DataCorruption:
                return None
        # All three are of the answer's own headers; a body that came in pieces was not compared yet.
        whole = blob.content_encoding or not blob.crc32c or agree(data, f"crc32c:{blob.crc32c}")
        return (data, str(blob.generation)) if whole else None

    return again(uri, once)


def read_head(uri: str, size: int) -> bytes:
    """Return an object's first bytes."""
    with _cloud(uri):
        try:
            data: bytes = _blob(uri).download_as_bytes(end=size - 1, checksum=None, **_way(uri))
        except RequestRangeNotSatisfiable:  # of an empty object
            return b""
        return data[:size]


def create(uri: str, data: bytes) -> bool:
    """Write an object unless it is there."""
    return _write_if(uri, data, 0)


def replace(uri: str, data: bytes, generation: str) -> bool:
    """Write an object if it is of this generation."""
    return _write_if(uri, data, int(generation))


def send(path: Path, uri: str) -> None:
    """Copy a file to an object, resumably from 8 MB on; its checksum goes with it."""

    def once() -> bool | None:
        with _cloud(uri):
            try:
                _blob(uri).upload_from_filename(str(path), checksum="crc32c", **_way(uri))
            except (BadRequest, DataCorruption) as error:
                _require_damaged(error)
                return None
        return True

    again(uri, once)


def fetch(found: StoredObject, path: Path) -> bool:
    """Copy an object of this generation to a path; False when what came is not what is stored."""
    with _cloud(found.uri):
        blob = _blob(found.uri, generation=int(found.version))
        try:
            if found.size < _LARGE or _is_encoded(blob, _way(found.uri)):
                blob.download_to_filename(str(path), checksum="crc32c", **_way(found.uri))
            else:
                _fetch_parts(blob, path, _way(found.uri))
        except DataCorruption:
            return False
    return bool(blob.content_encoding) or bool(agrees(path, found))


def delete(uri: str) -> None:
    """Remove an object where it is there."""
    with suppress(FileNotFoundError), _cloud(uri):
        _blob(uri).delete(**_way(uri))


def drop_unfinished(uri: str, before: float) -> int:  # noqa: ARG001  as of other places
    """Do nothing: what a session got is in no bucket, cannot be listed, and is gone after a week."""
    return 0


def _way(uri: str, *, brief: bool = False) -> dict[str, Any]:
    """Return how long a request may take, and how it is repeated."""
    how = patience.BRIEF if brief else patience.PATIENT
    wait: list[patience.Wait] = []

    def tell(error: Exception) -> None:
        wait[:] = wait or [patience.Wait(how, f"gs://{split_bucket(uri)[0]}")]
        wait[0].tell(_reason(error))

    retry = Retry(
        predicate=_is_away,
        initial=how.first_s,
        maximum=how.longest_s,
        multiplier=2.0,
        timeout=how.whole_s,
        on_error=tell,
    )
    return {"timeout": _TIMEOUT_S, "retry": retry}


def _is_encoded(blob: Any, way: dict[str, Any]) -> bool:
    """Tell whether a server unpacks the object on its way, which no part of it survives."""
    blob.reload(**way)
    return bool(blob.content_encoding)


def _fetch_parts(blob: Any, path: Path, way: dict[str, Any]) -> None:
    transfer_manager.download_chunks_concurrently(
        blob,
        str(path),
        worker_type=transfer_manager.THREAD,
        max_workers=4,
        crc32c_checksum=False,  # the whole file is compared
        download_kwargs=way,
    )


def _blob(uri: str, generation: int | None = None) -> Any:
    bucket, name = split_bucket(uri)
    return google().bucket(bucket).blob(name, generation=generation)


def _get(uri: str) -> Any:
    bucket, name = split_bucket(uri)
    with _cloud(uri):
        return google().bucket(bucket).get_blob(name, **_way(uri)) if name else None


def _stored(uri: str, blob: Any, name: str) -> StoredObject:
    checksum = f"crc32c:{blob.crc32c}"
    return StoredObject(
        name=name, uri=uri, size=int(blob.size), checksum=checksum, version=str(blob.generation)
    )


def _write_if(uri: str, data: bytes, generation: int) -> bool:
    """Write if the object is of this generation (0: absent)."""
    writer = uuid.uuid4().hex

    def once() -> bool | None:
        with _cloud(uri):
            blob = _blob(uri)
            blob.metadata = {"writer": writer}
            try:
                blob.upload_from_string(data, if_generation_match=generation, checksum="crc32c", **_way(uri))
            except PreconditionFailed:
                # A write whose answer was lost is sent again and then meets itself: that one did win.
                there = _get(uri)
                return there is not None and (there.metadata or {}).get("writer") == writer
            except (BadRequest, DataCorruption) as error:
                _require_damaged(error)
                return None
        return True

    return again(uri, once)


def _require_damaged(error: Exception) -> None:
    """Raise what the server refused for another reason than that it got other bytes than were sent."""
    if isinstance(error, BadRequest) and not re.search("crc32c|md5", str(error), re.IGNORECASE):
        raise error


@contextmanager
def _cloud(uri: str) -> Iterator[None]:
    """Turn what a bucket, its credentials or the network refuse into one line."""
    try:
        yield
    except GoogleAuthError as error:
        raise InputError(
            f"{uri}: no Google credentials for bucket gs://{split_bucket(uri)[0]}; valid:"
            f" GOOGLE_APPLICATION_CREDENTIALS, a service account that may use it, or {VALID}"
        ) from error
    except (GoogleAPIError, RequestException) as error:
        raise _refusal(uri, error) from error


def _refusal(uri: str, error: Exception) -> Exception:
    cause = (error.cause if isinstance(error, RetryError) else None) or error
    status = getattr(cause, "code", None)
    if status == 404 and "bucket does not exist" not in str(cause).lower():
        return absent(uri)
    kind = AwayError if _is_away(cause) else InputError
    return kind(
        f"{uri}: bucket gs://{split_bucket(uri)[0]} cannot be used ({_reason(cause)}); valid: an existing"
        f" bucket that this account may use, over a working network, or {VALID}"
    )


def _reason(error: Exception) -> str:
    status = getattr(error, "code", None)
    return _REASONS.get(status or 0, f"{type(error).__name__} {status or ''}".strip())


def _is_away(error: Exception) -> bool:
    """Tell whether a failed request may well succeed later."""
    return bool(_may_pass(error)) and "CERTIFICATE" not in str(error)  # which no waiting mends


def _no_bucket(uri: str) -> InputError:
    return InputError(f"{uri}: no such bucket gs://{split_bucket(uri)[0]}; valid: {VALID}")
