"""The clouds' clients, made at their first use from what the environment names: credentials, endpoints."""

import os
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from components.shared.faults import InputError
from components.shared.processes import POD
from components.shared.storage.patience import Patience, Wait

AWS_READ_S = 20.0  # without a byte
_AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_AWAY = (429, 500, 502, 503, 504)
_AWAY_CODES = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling")


@lru_cache(maxsize=1)
def google() -> Any:
    """Return the client of gs://; STORAGE_EMULATOR_HOST names another server."""
    if POD not in os.environ:  # where there is no metadata server, asking it must not take ten seconds
        os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    return storage.Client()


@lru_cache(maxsize=2)
def aws(patience: Patience) -> Any:
    """Return the client of s3:// that waits so long; AWS_ENDPOINT_URL names SeaweedFS, MinIO or another."""
    from boto3.session import Session
    from botocore.config import Config

    endpoint = next((os.environ[name] for name in _AWS_ENDPOINTS if os.environ.get(name)), "")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise InputError(f"AWS_ENDPOINT_URL={endpoint}: no URL; valid: http://host:port or https://host")
    config = Config(
        connect_timeout=3,  # seconds
        read_timeout=AWS_READ_S,
        retries={"mode": "standard", "total_max_attempts": 1},  # botocore's own end within a second or two
        max_pool_connections=40,
        # A server of one's own has no name for each bucket.
        s3={"addressing_style": "path" if endpoint else "auto"},
        response_checksum_validation="when_required",  # storage compares what arrived with more than CRCs
    )
    # boto3 itself reads AWS_DEFAULT_REGION alone, where other tools of AWS read this one first.
    region = os.environ.get("AWS_REGION") or None
    client = Session().client("s3", config=config, endpoint_url=endpoint or None, region_name=region)
    client.meta.events.register("needs-retry.s3", partial(_pause_s, patience))
    return client


def _pause_s(
    patience: Patience, *, response: Any, caught_exception: Any, attempts: int, request_dict: Any, **_: Any
) -> float | None:
    """Tell botocore after how many seconds it repeats a request, a part of a large file among them."""
    answer = response[1] if response else {}
    if not is_away(caught_exception, answer):
        return None
    store = urlsplit(request_dict["url"]).netloc
    wait: Wait = request_dict["context"].setdefault("wait", Wait(patience, store))
    reason = answer.get("Error", {}).get("Code") or type(caught_exception).__name__
    return wait.pause_s(attempts, reason)


def is_away(error: Exception | None, answer: Mapping[str, Any]) -> bool:
    """Tell whether a failed request to S3 may well succeed later: nobody answered, or one who is too busy."""
    from botocore.exceptions import ConnectionError, HTTPClientError  # noqa: A004  botocore's own

    if isinstance(error, (ConnectionError, HTTPClientError)):
        return "CERTIFICATE" not in str(error)  # which no waiting mends
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in _AWAY or answer.get("Error", {}).get("Code") in _AWAY_CODES
