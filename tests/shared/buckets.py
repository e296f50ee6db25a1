"""A bucket of each kind on loopback, for the storage that the environment names."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from components.shared.faults import InputError
from components.shared.storage import patience
from components.shared.storage.clients import aws, google
from tests.shared.fake_gcs import BUCKET, gcs_server
from tests.shared.s3_server import s3_server

DUMMY = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


def forget_clients() -> None:
    """Close the clients, so that the next ones are made anew, of what the environment names then."""
    for how in (patience.PATIENT, patience.BRIEF):
        with suppress(InputError):
            aws(how).close()
    aws.cache_clear()
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        google()._http.close()
    google.cache_clear()


@contextmanager
def gcs_bucket(monkeypatch) -> Iterator[tuple[str, object]]:
    """Yield gs://bucket and its server."""
    with gcs_server() as (url, server):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        google.cache_clear()
        yield f"gs://{BUCKET}", server
        forget_clients()


@contextmanager
def s3_bucket(monkeypatch) -> Iterator[tuple[str, object]]:
    """Yield s3://bucket, a new one, and its server."""
    with s3_server() as (url, server):
        for name, value in (DUMMY | {"AWS_ENDPOINT_URL": url}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        aws.cache_clear()
        bucket = f"scans-{uuid.uuid4().hex}"
        aws(patience.PATIENT).create_bucket(Bucket=bucket)
        yield f"s3://{bucket}", server
        forget_clients()
