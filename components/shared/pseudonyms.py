"""Pseudonyms: what stands for a patient or a session in everything that a run writes.

    "3fa1-7c21e09b4d"    four digits that tell the key, then ten of an HMAC-SHA256 of the name under it

Spellings that differ in capitals, or in how accents are stored, alone are one name: a patient's files may be
spelt otherwise in another run. Without the key nobody can test whether a name they know is among the
pseudonyms, which a plain hash would allow. Names under two keys cannot be compared, so whoever compares
patients asks `require_same_key` first. The key is a file or object of the user's, a Secret where one is
mounted, or one made once in `state_uri`.
"""

import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from components.shared import storage
from components.shared.faults import InputError
from components.shared.storage.local import part_of

SECRET = "/etc/fontanelle/pseudonym/key"  # noqa: S105 - a path: where pipelines/tasks.py mounts the Secret
KEY_FILE = "pseudonym.key"
_LEAST_BYTES = 16
_SHAPE = re.compile(r"([0-9a-f]{4})-[0-9a-f]{10}")


@dataclass(frozen=True)
class Pseudonyms:
    """Names things under one secret key."""

    key: bytes

    def of(self, kind: str, name: str) -> str:
        """Return the pseudonym of a patient's or session's name, however it is spelt."""
        return f"{self._digest('key', 'folded')[:4]}-{self._digest(kind, folded(name))[:10]}"

    def _digest(self, kind: str, name: str) -> str:
        return hmac.new(self.key, f"{kind}\0{name}".encode(), "sha256").hexdigest()


def folded(name: str) -> str:
    """Return the spelling that stands for all that differ in capitals or Unicode normal form alone."""
    return normalize("NFC", normalize("NFC", name).casefold())


def read_pseudonyms(key_uri: str, state_uri: str) -> Pseudonyms:
    """Return the names under the given key, else the mounted Secret's, else the state's, made if absent."""
    if not key_uri and not Path(SECRET).is_file():
        return _of_state(storage.join(state_uri, KEY_FILE))
    place = key_uri or SECRET
    try:
        text = storage.read_bytes(place)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"pseudonym_key_uri={place}: no such file; valid: a file with a secret key"
        ) from error
    except InputError as error:
        raise InputError(f"pseudonym_key_uri={place}: {error}") from error
    return _checked(place, text)


def is_pseudonym(text: str) -> bool:
    """Tell whether a text has the shape of a pseudonym."""
    return _SHAPE.fullmatch(text) is not None


def require_same_key(patients: Iterable[str], others: Collection[str], what: str) -> None:
    """Refuse patients whose names were made under another key: that two are one could not be seen."""
    ours, theirs = _keys(patients), _keys(others)
    if ours and theirs and ours != theirs:
        raise InputError(
            f"{what}: its patients are named under key {', '.join(sorted(theirs))} and these under"
            f" {', '.join(sorted(ours))}, so shared ones cannot be seen; valid: pseudonym_key_uri of the run"
            f" that made it, by default {KEY_FILE} in its state_uri"
        )


def _keys(names: Iterable[str]) -> set[str]:
    return {match[1] for match in map(_SHAPE.fullmatch, names) if match}


def _of_state(uri: str) -> Pseudonyms:
    if not storage.exists(uri):
        key, path = secrets.token_hex(32).encode(), storage.local_path(uri)
        if path is None:
            storage.create(uri, key)  # of two runs at once, one wins, as in a folder
        else:
            _create_private(path, key)
    return _checked(uri, storage.read_bytes(uri))


def _create_private(path: Path, key: bytes) -> None:
    """Write a file unless it is there, whole, and from its first moment its owner's alone."""
    with part_of(path) as part:
        part.touch(0o600, exist_ok=False)
        part.write_bytes(key)
        with suppress(FileExistsError):
            os.link(part, path)


def _checked(place: str, text: bytes) -> Pseudonyms:
    key = text.strip()
    if len(key) < _LEAST_BYTES:
        raise InputError(
            f"pseudonym_key_uri={place}: {len(key)} bytes; valid: a secret of at least {_LEAST_BYTES} bytes,"
            " e.g. of `openssl rand -hex 32`"
        )
    return Pseudonyms(key)
