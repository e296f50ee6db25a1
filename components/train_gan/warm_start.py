"""Generators that outlive their run, for the next one to start from.

    {state_uri}/generators/0001.json      its snapshot, digest and size; written last, create-only
    {state_uri}/generators/DIGEST/        generator.json, generator.safetensors, discriminator.safetensors

A rerun with the same volumes starts from what the first run with them started from, and not from its own
result: it is the same run again.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.shared import numbered, storage, stored_json
from components.shared.faults import InputError
from components.shared.forgotten import forgotten, require_remembered
from components.shared.snapshots import read_snapshot
from components.shared.weights import weights_digest

log = logging.getLogger(__name__)
_Owners = dict[str, set[str]]  # by the digest of a scan

_SHAPE: stored_json.Shape = {
    "snapshot_digest": str,
    "digest": str,
    "resolution": int,
    "channel_base": int,
    "patients": [str],
}
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

    A channel_base of 0 takes any width. One that saw a forgotten patient is none, and neither is one that saw
    a scan whose patient is another one now: that patient may be tested.
    """
    now = _owners(state_uri, snapshot_digest)
    gone = forgotten(state_uri)
    kept = numbered.entries(_place(state_uri), _SHAPE)
    known = [each for each in kept if not gone & set(each["patients"])]
    own = [place for place, each in enumerate(known) if each["snapshot_digest"] == snapshot_digest]
    for each in reversed(known[: own[0]] if own else known):
        fits = each["resolution"] == resolution and channel_base in (0, each["channel_base"])
        if fits and not _has_seen_as_others(state_uri, known[: known.index(each) + 1], now):
            return storage.join(_place(state_uri), each["digest"])
    return ""


def _has_seen_as_others(state_uri: str, lineage: Sequence[Mapping[str, Any]], now: _Owners) -> bool:
    """Tell whether the last one, or one that it may go back to, saw a scan that another patient has now."""
    patients = set(lineage[-1]["patients"])
    for snapshot_digest in {each["snapshot_digest"] for each in lineage}:
        for scan, owners in _owners(state_uri, snapshot_digest).items():
            if owners & patients and now.get(scan, owners) != owners:
                log.warning("%s: a scan that it saw has another patient now", lineage[-1]["digest"][:12])
                return True
    return False


def _owners(state_uri: str, snapshot_digest: str) -> _Owners:
    """Return the patients of each content; none where the snapshot went with a forgotten patient."""
    owners: _Owners = {}
    with suppress(InputError):
        for entry in read_snapshot(state_uri, snapshot_digest):
            owners.setdefault(entry.digest, set()).add(entry.patient)
    return owners


def kept_digests(state_uri: str) -> list[str]:
    """Return the digests of all generators that are kept."""
    return [each["digest"] for each in numbered.entries(_place(state_uri), {"digest": str})]


def _place(state_uri: str) -> str:
    return storage.join(state_uri, "generators")
