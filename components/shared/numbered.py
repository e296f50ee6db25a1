"""A list in object storage that only grows: 0001.json, 0002.json, ..., each written once, by the first."""

from collections.abc import Mapping
from typing import Any

from components.shared import storage, stored_json

Entry = Mapping[str, Any]


def entries(uri: str, shape: stored_json.Shape) -> list[Entry]:
    """Return the entries of a list in their order; an absent one has none."""
    return [_entry(found.uri, shape) for found in _listed(uri)]


def append(uri: str, entry: Entry, key: str) -> int:
    """Add an entry after the last one, unless one of the same `key` is there; return its place, from 1.

    Two that append at once get two places: the loser of a place tries the next.
    """
    text = stored_json.text(entry).encode()
    while True:
        known = _listed(uri)
        for found in known:
            if _entry(found.uri, {key: type(entry[key])})[key] == entry[key]:
                return _number(found)
        place = _number(known[-1]) + 1 if known else 1  # an entry may have been taken out
        if storage.create(storage.join(uri, f"{place:04}.json"), text):
            return place


def _entry(uri: str, shape: stored_json.Shape) -> Entry:
    return dict(stored_json.read(uri, shape))


def _listed(uri: str) -> list[storage.StoredObject]:
    """Return the list's objects in their order; folders beside them are not entries."""
    listed = [found for found in storage.list_tree(uri) if found.name.removesuffix(".json").isdigit()]
    return sorted(listed, key=_number)  # as text, 10000 comes before 9999


def _number(found: storage.StoredObject) -> int:
    return int(found.name.removesuffix(".json"))
