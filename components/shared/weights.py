"""Weights and the JSON beside them that names their digest; no network is loaded here.

NAME.safetensors   the weights
NAME.json          what they are, with the SHA-256 of the weights as `digest`
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from components.shared import storage
from components.shared.images import BAKED


def weights_digest(about: Path) -> str | None:
    """Return the digest of the weights beside a JSON; None where they are not whole or not those it names."""
    weights = about.with_suffix(".safetensors")
    if not about.is_file() or not weights.is_file():
        return None
    try:
        named = json.loads(about.read_text()).get("digest")
    except ValueError:  # a file cut short
        return None
    return named if named == storage.hash_file(weights) else None


def contents_digest(uris: Sequence[str]) -> str:
    """Return a digest of what lies at the addresses, of which some may be empty; "" where all are.

    What lies there may change, and KFP's cache, which sees the address alone, would not know.
    """
    if not any(uris):
        return ""
    return hashlib.sha256(" ".join(map(_content, uris)).encode()).hexdigest()


def _content(uri: str) -> str:
    if not uri or uri.startswith(BAKED):  # an image's weights are known by the image
        return uri
    return hashlib.sha256(storage.read_bytes(uri)).hexdigest()
