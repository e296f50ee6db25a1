"""Generators that outlive their run, for the next one to start from.

    {state_uri}/generators/0001.json      its snapshot, digest and size; written last, create-only
    {state_uri}/generators/DIGEST/        generator.json, generator.safetensors, discriminator.safetensors

A rerun with the same volumes starts from what the first run with them started from, and not from its own
result: it is the same run again.
"""

import json
from pathlib import Path
from typing import Any

from components.shared import numbered, storage
from components.shared.forgotten import forgotten, require_remembered
from components.shared.weights import weights_digest

_MEMBERS = ("generator.safetensors", "discriminator.safetensors", "generator.json")  # the JSON vouches


def keep_generator(generator: Path, state_uri: str, snapshot_digest: str) -> str:
    """Keep a finished generator under its digest, once; return where."""
    about: dict[str, Any] = json.loads((generator / "generator.json").read_text())
    if weights_digest(generator / "generator.json") is None:
        raise ValueError(f"{generator}: not a whole generator")
    place = storage.join(_place(state_uri), about["digest"])
    for name in _MEMBERS:
        storage.upload(generator / name, storage.join(place, name))
    entry = {
        "snapshot_digest": snapshot_digest,
        "digest": about["digest"],
        "resolution": about["resolution"],
        "channel_base": about["architecture"]["channel_base"],
        "patients": about["patients_seen"],
    }
    numbered.append(_place(state_uri), entry, lambda other: other["digest"] == about["digest"])
    require_remembered(state_uri, about["patients_seen"])
    return place


def newest_generator(state_uri: str, snapshot_digest: str, resolution: int, channel_base: int) -> str:
    """Return where the newest kept generator of other volumes and of this size is; "" where there is none.

    A channel_base of 0 takes any width. One that saw a forgotten patient is none.
    """
    gone = forgotten(state_uri)
    known = [each for each in numbered.entries(_place(state_uri)) if not gone & set(each["patients"])]
    own = [place for place, each in enumerate(known) if each["snapshot_digest"] == snapshot_digest]
    for each in reversed(known[: own[0]] if own else known):
        if each["resolution"] == resolution and channel_base in (0, each["channel_base"]):
            return storage.join(_place(state_uri), each["digest"])
    return ""


def kept_digests(state_uri: str) -> list[str]:
    """Return the digests of all generators that are kept."""
    return [each["digest"] for each in numbered.entries(_place(state_uri))]


def _place(state_uri: str) -> str:
    return storage.join(state_uri, "generators")
