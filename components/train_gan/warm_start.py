"""Generators that outlive their run, for the next one to start from.

    {state_uri}/generators/0001.json      its snapshot, digest and size; written last, create-only: it vouches
    {state_uri}/generators/DIGEST/        generator.json, generator.safetensors, discriminator.safetensors

A rerun with the same volumes starts from what the first run with them started from, and not from its own
result: it is the same run again.
"""

import json
import logging
from pathlib import Path
from typing import Any

from components.shared import numbered, storage, stored_json
from components.shared.forgotten import forgotten, require_remembered
from components.shared.planes import PlaneSet
from components.shared.splits import TRAIN, Splits
from components.shared.stored_json import described
from components.shared.weights import GENERATOR, known_seen, seen_by, weights_digest

log = logging.getLogger(__name__)

_SHAPE: stored_json.Shape = {
    "snapshot_digest": str,
    "digest": str,
    "resolution": int,
    "channel_base": int,
    "patients": [str],
}
_MEMBERS = (GENERATOR, "generator.safetensors", "discriminator.safetensors")  # first whose they are


def keep_generator(generator: Path, state_uri: str, snapshot_digest: str) -> str:
    """Keep a finished generator under its digest, once; return where."""
    about: dict[str, Any] = json.loads((generator / GENERATOR).read_text())
    if weights_digest(generator / GENERATOR) is None:
        raise ValueError(f"{generator}: not a whole generator")
    seen = known_seen(about, str(generator))
    require_remembered(state_uri, seen.patients, seen.scans)
    place = storage.join(_place(state_uri), about["digest"])
    for name in _MEMBERS:
        storage.upload(generator / name, storage.join(place, name))
    entry = {
        "snapshot_digest": snapshot_digest,
        "digest": about["digest"],
        "resolution": about["resolution"],
        "channel_base": about["architecture"]["channel_base"],
        "patients": sorted(seen.patients),
    }
    numbered.append(_place(state_uri), entry, "digest")
    require_remembered(state_uri, seen.patients, seen.scans)
    return place


def newest_generator(
    state_uri: str, snapshot_digest: str, size: tuple[int, int], planes: PlaneSet, splits: Splits
) -> str:
    """Return where the newest kept generator of other volumes and of this size is; "" where there is none.

    The size is resolution and channel_base, of which 0 takes any width. One that saw a forgotten patient is
    none, and neither is one that saw a scan which is measured on now, since its patient was corrected.
    """
    gone = forgotten(state_uri)
    kept = numbered.entries(_place(state_uri), _SHAPE)
    known = [each for each in kept if not gone & set(each["patients"])]
    own = [place for place, each in enumerate(known) if each["snapshot_digest"] == snapshot_digest]
    for each in reversed(known[: own[0]] if own else known):
        fits = each["resolution"] == size[0] and size[1] in (0, each["channel_base"])
        place = storage.join(_place(state_uri), each["digest"])
        if fits and _may_start(place, planes, splits):
            return place
    return ""


def _may_start(place: str, planes: PlaneSet, splits: Splits) -> bool:
    about = storage.join(place, GENERATOR)
    seen = seen_by(described(storage.read_bytes(about))) if storage.exists(about) else None
    if seen is None:
        log.warning("%s: gone, or does not say which patients and scans it has seen", place)
        return False
    splits.require_only((TRAIN,), seen, f"warm_start: {place}")  # a side was changed by force
    if crossing := splits.crossing((TRAIN,), seen.scans, planes):
        log.warning("%s: has seen scans that are measured on now: %s", place, ", ".join(crossing))
    return not crossing


def kept_digests(state_uri: str) -> list[str]:
    """Return the digests of all generators that are kept."""
    return [each["digest"] for each in numbered.entries(_place(state_uri), {"digest": str})]


def _place(state_uri: str) -> str:
    return storage.join(state_uri, "generators")
