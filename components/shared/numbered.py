"""A list in object storage that only grows: 0001.json, 0002.json, ..., each written once, by the first."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from components.shared import storage

Entry = Mapping[str, Any]


def entries(uri: str) -> list[Entry]:
    """Return the entries of a list in their order; an absent one has none."""
    found = [each for each in storage.list_tree(uri) if "/" not in each.name and each.name.endswith(".json")]
    return [json.loads(storage.read_bytes(each.uri)) for each in found]


def append(uri: str, entry: Entry, same: Callable[[Entry], bool]) -> int:
    """Add an entry after the last one, unless one that is `same` is there; return its place, from 1.

    Two that append at once get two places: the loser of a place tries the next.
    """
    text = (json.dumps(entry, indent=2, sort_keys=True) + "\n").encode()
    while True:
        known = entries(uri)
        for place, each in enumerate(known, 1):
            if same(each):
                return place
        if storage.create(storage.join(uri, f"{len(known) + 1:04}.json"), text):
            return len(known) + 1
