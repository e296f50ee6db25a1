"""From round to round: which images were accepted, dropped, or changed their label."""

from collections.abc import Sequence
from typing import Any

from components.shared.ledger import LabelRow
from components.shared.rounds import ACCEPTED


def changes(before: Sequence[LabelRow] | None, now: Sequence[LabelRow]) -> dict[str, Any]:
    """Return what a round's labels changed of those of the round before, None for the first round.

    `changed` is the share of the accepted images and labels of both rounds together that only one has.
    """
    if before is None:
        return {"changed": None, "flips": 0, "evicted": 0, "accepted_again": 0, "accepted_flips": 0}
    labels = {row.image: row.label for row in before}
    flipped = {row.image for row in now if labels.get(row.image, row.label) != row.label}
    old, new = accepted_of(before), accepted_of(now)
    both, again = old.items() | new.items(), old.keys() & new.keys()
    return {
        "changed": len(old.items() ^ new.items()) / len(both) if both else 0.0,
        "flips": len(flipped),
        "evicted": len(old.keys() - new.keys()),
        "accepted_again": len(again),
        "accepted_flips": len(again & flipped),
    }


def accepted_of(rows: Sequence[LabelRow]) -> dict[str, str]:
    """Return the labels of the accepted images."""
    return {row.image: row.label for row in rows if row.status == ACCEPTED}
