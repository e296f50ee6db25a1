"""S3 as a place for objects: AWS, and what speaks its protocol (SeaweedFS, MinIO), by AWS_ENDPOINT_URL.

An ETag is a hash of the bytes only where they came in one piece and unencrypted, so everything written here
has its SHA-256 in its metadata, and `_digest` says what stands for the content of other objects.
"""

import base64
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3transfer.exceptions import RetriesExceededError

from components.shared.faults import AwayError, InputError
from components.shared.storage import patience
from components.shared.storage.clients import aws, is_away
from components.shared.storage.objects import (
    VALID,
    StoredObject,
    absent,
    again,
    agree,
    agrees,
    hash_bytes,
    hash_file,
    split_bucket,
)

_LARGE = 64 << 20  # bytes from which an object goes in parts
_PART = 16 << 20
_CUT = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, FlexibleChecksumError)
_ABSENT = ("NoSuchKey", "NotFound", "404")
_REFUSED = ("PreconditionFailed", "412")
_DAMAGED = ("BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest")
_BUSY = ("ConditionalRequestConflict", "OperationAborted")  # another write of it is going on
_REASONS = {
    "NoSuchBucket": "no such bucket",
    "AccessDenied": "no permission for this account (403)",
    "Forbidden": "no permission for this account (403)",
    "403": "no permission for this account (403)",
    "InvalidAccessKeyId": "credentials that are refused",
    "SignatureDoesNotMatch": "credentials that are refused",
    "ExpiredToken": "credentials that have expired",
    "NotImplemented": "a server that cannot write on a condition",
}
_proven: set[tuple[str, str]] = set()  # buckets and the conditions that they were seen to keep


def entries(uri: str, *, deep: bool) -> Iterator[StoredObject]:
    """Yield the objects directly under a prefix; deep, all under it."""
    bucket, prefix = split_bucket(uri)
    prefix = prefix and prefix + "/"
    with _cloud(uri):
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, **({} if deep else {"Delimiter": "/"})):
            for about in page.get("Contents", []):
                if not about["Key"].endswith("/"):  # what consoles make for a folder
                    there = f"s3://{bucket}/{about['Key']}"
                    yield StoredObject(
                        name=about["Key"].removeprefix(prefix),
                        uri=there,
                        size=about["Size"],
                        version=about["ETag"],
                        ask=partial(_ask, there),
                    )


def probe(uri: str) -> None:
    """Ask for a listing, and not for long."""
    bucket, prefix = split_bucket(uri)
    with _cloud(uri):
        aws(patience.BRIEF).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


def exists(uri: str) -> bool:
    """Tell whether the object is there."""
    return _head(uri) is not None


def look(uri: str) -> StoredObject | None:
    """Return the object, or None where there is none."""
    head = _head(uri)
    return head and _stored(uri, head)


def read(uri: str) -> tuple[bytes, str]:
    """Return an object's bytes and generation."""

    def once() -> tuple[bytes, str] | None:
        with _cloud(uri):
            answer = _client().get_object(**_at(uri), ChecksumMode="ENABLED")
            try:
                data = _read_all(answer)
            except _CUT:
                return None
        return None if agree(data, _digest(answer)) is False else (data, _generation(answer))

    return again(uri, once)


def read_head(uri: str, size: int) -> bytes:
    """Return an object's first bytes."""

    def once() -> bytes | None:
        with _cloud(uri):
            try:
                answer = _client().get_object(**_at(uri), Range=f"bytes=0-{size - 1}")
                data = _read_all(answer)
            except _CUT:
                return None
            except ClientError as error:
                if _code(error) == "InvalidRange":  # of an empty object
                    return b""
                raise
        return data[:size]

    return again(uri, once)


def create(uri: str, data: bytes) -> bool:
    """Write an object unless it is there."""
    return _write_if(uri, data, "IfNoneMatch", "*")


def replace(uri: str, data: bytes, generation: str) -> bool:
    """Write an object if it is of this generation.

    Equal bytes have an equal ETag, so the writer that left them is compared first. Only two more writes
    between that look and this write, the last of which brings the old bytes back, would go unnoticed.
    """
    head = _head(uri)
    if head is None or _generation(head) != generation:
        return False
    return _write_if(uri, data, "IfMatch", head["ETag"])


def send(path: Path, uri: str) -> None:
    """Copy a file to an object; in parts, of which nothing shows before the last, from 64 MB on."""
    about = {"sha256": hash_file(path)}
    put = _send_parts if path.stat().st_size >= _LARGE else _send_whole

    def once() -> bool | None:
        with _cloud(uri):
            try:
                put(path, uri, about)
            except ClientError as error:
                if _code(error) not in (*_DAMAGED, "NoSuchUpload"):
                    raise
                # Parts that were joined, and the answer lost, cannot be joined again: that upload did arrive.
                there = _code(error) == "NoSuchUpload" and _head(uri)
                return True if there and there["Metadata"].get("sha256") == about["sha256"] else None
        return True

    again(uri, once)


def fetch(found: StoredObject, path: Path) -> bool:
    """Copy an object of this version to a path; False when what came is not what is stored."""
    get = _fetch_parts if found.size >= _LARGE else _fetch_whole
    with _cloud(found.uri):
        try:
            return get(found, path)
        except (*_CUT, RetriesExceededError):
            return False
        except ClientError as error:
            if _code(error) in _REFUSED:  # it was overwritten since it was listed
                return False
            raise


def delete(uri: str) -> None:
    """Remove an object where it is there."""
    with _cloud(uri):
        _client().delete_object(**_at(uri))


def drop_unfinished(uri: str, before: float) -> int:
    """Abort uploads in parts that were begun before then: their parts are kept, and paid for, for ever."""
    bucket, prefix = split_bucket(uri)
    with _cloud(uri):
        pages = _client().get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        begun = [each for page in pages for each in page.get("Uploads", [])]
        old = [each for each in begun if each["Initiated"].timestamp() < before]
        below = [each for each in old if not prefix or f"{each['Key']}/".startswith(f"{prefix}/")]
        for each in below:
            _abort(bucket, each["Key"], each["UploadId"])
    return len(below)


def _abort(bucket: str, name: str, upload: str) -> None:
    try:
        _client().abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload)
    except ClientError as error:
        if _code(error) != "NoSuchUpload":  # it ended by itself meanwhile
            raise


def _client() -> Any:
    return aws(patience.PATIENT)


def _read_all(answer: Any) -> bytes:
    with closing(answer["Body"]) as body:
        return bytes(body.read())


def _at(uri: str) -> dict[str, str]:
    bucket, name = split_bucket(uri)
    return {"Bucket": bucket, "Key": name}


def _head(uri: str) -> Any:
    if not split_bucket(uri)[1]:
        return None
    with _cloud(uri):
        try:
            return _client().head_object(**_at(uri), ChecksumMode="ENABLED")
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise


def _ask(uri: str) -> str:
    head = _head(uri)
    if head is None:
        raise absent(uri)
    return _digest(head)


def _stored(uri: str, head: Any) -> StoredObject:
    size = int(head["ContentLength"])
    return StoredObject(name="", uri=uri, size=size, checksum=_digest(head), version=head["ETag"])


def _digest(head: Any) -> str:
    """Return what changes exactly when the content does, as far as the server knows it.

    The SHA-256 that storage wrote, else the MD5 that the ETag is of bytes sent in one piece and not encrypted
    by a key of KMS or of the user, else the checksum of the whole object that the server keeps. Else the ETag
    and the size: they change whenever the content does, and may for equal bytes that are sent again.
    """
    etag = head["ETag"].strip('"')
    if written := head.get("Metadata", {}).get("sha256"):
        return f"sha256:{written}"
    encrypted = head.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in head
    if re.fullmatch("[0-9a-f]{32}", etag) and not encrypted:
        return f"md5:{etag}"
    if head.get("ChecksumType") == "FULL_OBJECT":
        if kept := head.get("ChecksumSHA256"):
            return f"sha256:{base64.b64decode(kept).hex()}"
        for name in ("CRC64NVME", "CRC32C", "CRC32"):
            if kept := head.get(f"Checksum{name}"):
                return f"{name.lower()}:{kept}"
    return f"etag:{etag}-{head['ContentLength']}"


def _generation(head: Any) -> str:
    return f"{head['ETag']} {head['Metadata'].get('writer') or head['LastModified'].isoformat()}"


def _write_if(uri: str, data: bytes, condition: str, value: str) -> bool:
    writer = uuid.uuid4().hex

    def put() -> Any:
        return _client().put_object(
            **_at(uri),
            Body=data,
            ContentMD5=_as_base64(hash_bytes(data, "md5")),
            Metadata={"writer": writer, "sha256": hash_bytes(data, "sha256")},
            **{condition: value},
        )

    def once() -> bool | None:
        with _cloud(uri):
            try:
                answer = put()
            except ClientError as error:
                return _answer_of(error, uri, writer)
            if answer["ETag"] != value:
                _require_kept(uri, condition, put)
        return True

    return again(uri, once)


def _answer_of(error: ClientError, uri: str, writer: str) -> bool | None:
    """Return what a refused write comes to, None to try again; raise what no condition refused."""
    code = _code(error)
    if code in (*_BUSY, *_DAMAGED):
        return None
    if code not in (*_REFUSED, *_ABSENT):
        raise error
    # A write whose answer was lost is sent again and then meets itself: that one did win.
    there = _head(uri)
    return there is not None and there["Metadata"].get("writer") == writer


def _require_kept(uri: str, condition: str, put: Callable[[], Any]) -> None:
    """Refuse a server that ignores conditions: the same write, once more, must not be taken."""
    proof = (split_bucket(uri)[0], condition)
    if proof in _proven:
        return
    try:
        put()
    except ClientError as error:
        if _code(error) not in (*_REFUSED, *_BUSY):
            raise
        _proven.add(proof)
        return
    raise InputError(
        f"{uri}: its server overwrites where it is told not to ({condition} is ignored), and two runs could"
        " spoil each other; valid: AWS, or a SeaweedFS, MinIO or other server that writes on a condition"
    )


def _send_whole(path: Path, uri: str, about: dict[str, str]) -> None:
    with path.open("rb") as file:
        data = file.read()
    md5 = _as_base64(hash_bytes(data, "md5"))
    _client().put_object(**_at(uri), Body=data, ContentMD5=md5, Metadata=about)


def _send_parts(path: Path, uri: str, about: dict[str, str]) -> None:
    with path.open("rb") as file:
        _client().upload_fileobj(file, *_at(uri).values(), ExtraArgs={"Metadata": about}, Config=_in_parts())


def _fetch_whole(found: StoredObject, path: Path) -> bool:
    answer = _client().get_object(**_at(found.uri), IfMatch=found.version, ChecksumMode="ENABLED")
    with path.open("wb") as file, closing(answer["Body"]) as body:
        shutil.copyfileobj(body, file, 1 << 20)
    return agrees(path, _stored(found.uri, answer)) is not False


def _fetch_parts(found: StoredObject, path: Path) -> bool:
    with path.open("wb") as file:
        _client().download_fileobj(*_at(found.uri).values(), file, Config=_in_parts())
    return agrees(path, found) is not False


def _in_parts() -> TransferConfig:
    return TransferConfig(multipart_threshold=_LARGE, multipart_chunksize=_PART, max_concurrency=4)


def _as_base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


@contextmanager
def _cloud(uri: str) -> Iterator[None]:
    """Turn what a bucket, its credentials or the network refuse into one line."""
    bucket = f"s3://{split_bucket(uri)[0]}"
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise InputError(
            f"{uri}: no AWS credentials for bucket {bucket}; valid: AWS_ACCESS_KEY_ID and"
            f" AWS_SECRET_ACCESS_KEY, a service account that may use it, or {VALID}"
        ) from error
    except (ClientError, BotoCoreError) as error:
        code = _code(error) if isinstance(error, ClientError) else type(error).__name__
        if code in _ABSENT:
            raise absent(uri) from error
        kind = AwayError if is_away(error, getattr(error, "response", {})) else InputError
        raise kind(
            f"{uri}: bucket {bucket} cannot be used ({_REASONS.get(code, code)}); valid: an existing bucket"
            f" that this account may use, over a working network, or {VALID}"
        ) from error
