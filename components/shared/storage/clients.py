"""The clouds' clients, made at their first use from what the environment names: credentials, endpoints."""

import os
from functools import lru_cache
from typing import Any

from components.shared.faults import InputError

AWS_READ_S = 20.0  # without a byte; six attempts of it, twice, leave a lease unbroken
_AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@lru_cache(maxsize=1)
def google() -> Any:
    """Return the client of gs://; STORAGE_EMULATOR_HOST names another server."""
    # Asking for credentials where there is no metadata server must not take ten seconds.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    return storage.Client()


@lru_cache(maxsize=2)
def aws(attempts: int) -> Any:
    """Return the client of s3:// that asks so often; AWS_ENDPOINT_URL names SeaweedFS, MinIO or another."""
    from boto3.session import Session
    from botocore.config import Config

    endpoint = next((os.environ[name] for name in _AWS_ENDPOINTS if os.environ.get(name)), "")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise InputError(f"AWS_ENDPOINT_URL={endpoint}: no URL; valid: http://host:port or https://host")
    config = Config(
        connect_timeout=3,  # seconds
        read_timeout=AWS_READ_S,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=40,
        # A server of one's own has no name for each bucket.
        s3={"addressing_style": "path" if endpoint else "auto"},
        response_checksum_validation="when_required",  # storage compares what arrived with more than CRCs
    )
    return Session().client("s3", config=config, endpoint_url=endpoint or None)
