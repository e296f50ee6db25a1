"""Weights and the JSON beside them that names their digest; no network is loaded here.

NAME.safetensors   the weights
NAME.json          what they are, with the SHA-256 of the weights as `digest`
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.shared import storage
from components.shared.faults import InputError
from components.shared.images import BAKED
from components.shared.planes import Seen
from components.shared.stored_json import described, fits

ABOUT, WEIGHTS = "classifier.json", "classifier.safetensors"  # a classifier of ours
GENERATOR = "generator.json"
DESCRIBED = "described_by"  # in the header of our classifiers' weights: they are not to be taken alone
_LEARNT = {"seen": "learnt from", "validated_on": "was validated on"}
_HEADER = 2**20  # bytes, in which a file of weights names its tensors


def seen_by(about: Mapping[str, Any], how: str = "seen") -> Seen | None:
    """Return what such a JSON says that weights have seen; None where it does not say it as it should."""
    told: Mapping[str, Any] = {what: about.get(f"{what}_{how}") for what in ("patients", "scans")}
    if not fits(told, {"patients": [str], "scans": [str]}):
        return None
    return Seen(**{what: frozenset(names) for what, names in told.items()})


def known_seen(about: Mapping[str, Any], what: str, how: str = "seen") -> Seen:
    """Return what such a JSON says that weights have seen; InputError where it does not say it."""
    seen = seen_by(about, how)
    if seen is None:
        raise InputError(f"{what}: does not say whom it {_LEARNT[how]}; valid: one that this version wrote")
    return seen


def behind(about: Mapping[str, Any], what: str) -> Seen:
    """Return all that a classifier's JSON says it learnt from or was chosen by; else as `known_seen`."""
    return known_seen(about, what) | known_seen(about, what, "validated_on")


def seen_by_generator(about: Mapping[str, Any]) -> Seen | None:
    """Return what a generator's JSON says it has seen; an imported network's, which has a source, nothing."""
    return Seen() if "source" in about and "patients_seen" not in about else seen_by(about)


def weights_digest(about: Path) -> str | None:
    """Return the digest of the weights beside a JSON; None where they are not whole or not those it names."""
    weights = about.with_suffix(".safetensors")
    if not about.is_file() or not weights.is_file():
        return None
    named = described(about.read_bytes()).get("digest")
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


def seen_behind(uri: str) -> tuple[Seen, Seen]:
    """Return what weights have seen, and were chosen by, as the JSON beside a classifier of ours says."""
    head, slash, _ = uri.rpartition("/")
    about = storage.join(head or slash or ".", ABOUT)
    try:
        told = described(storage.read_bytes(about))
    except FileNotFoundError:
        if _is_described(uri):
            raise InputError(
                f"pretrained_uri={uri}: was written with a classifier.json that says which patients it has"
                " seen; valid: with that file beside it"
            ) from None
        return Seen(), Seen()  # published weights come alone
    except InputError as error:
        raise InputError(f"pretrained_uri={uri}: {error}") from error
    seen, chosen_by = seen_by(told), seen_by(told, "validated_on")
    if seen is None or chosen_by is None:
        raise InputError(
            f"pretrained_uri={uri}: {about} does not say which patients and scans the weights have seen or"
            " were validated on; valid: the one that train_classifier wrote, or none for weights of nobody"
        )
    if "digest" in told and storage.exists(uri) and told["digest"] != _content(uri):
        raise InputError(
            f"pretrained_uri={uri}: {about} is of other weights; valid: the one written with them"
        )
    return seen, chosen_by


def _is_described(uri: str) -> bool:
    """Tell whether weights are of a classifier of ours, whose JSON says what they have seen."""
    with suppress(FileNotFoundError):
        return DESCRIBED.encode() in storage.read_head(uri, _HEADER)
    return False
