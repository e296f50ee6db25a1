"""Weights and the JSON beside them that names their digest; no network is loaded here.

NAME.safetensors   the weights
NAME.json          what they are, with the SHA-256 of the weights as `digest`
"""

import json
from pathlib import Path

from components.shared import storage


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
