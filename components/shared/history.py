"""From round to round: which images were accepted, dropped, or changed their label; and any round again."""

import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from components.shared import stored_json
from components.shared.faults import InputError
from components.shared.ledger import LabelRow, Ledger, write_labels
from components.shared.rounds import ACCEPTED, SCORED, Round

HISTORY = "history.csv"
_NONE = ("", "", "")


def changes(before: Sequence[LabelRow] | None, now: Sequence[LabelRow]) -> dict[str, Any]:
    """Return what a round's labels changed of those of the round before, None for the first round.

    `changed` is the share of the accepted images and labels of both rounds together that only one has.
    """
    if before is None:
        return {"changed": None, "flips": 0, "evicted": 0, "taught": 0, "taught_flips": 0}
    labels = {row.image: row.label for row in before}
    flipped = {row.image for row in now if labels.get(row.image, row.label) != row.label}
    old, new = accepted_of(before), accepted_of(now)
    both, taught = old.items() | new.items(), old.keys() & {row.image for row in now}
    return {
        "changed": len(old.items() ^ new.items()) / len(both) if both else 0.0,
        "flips": len(flipped),
        "evicted": len(old.keys() - new.keys()),
        "taught": len(taught),
        "taught_flips": len(taught & flipped),
    }


def accepted_of(rows: Sequence[LabelRow]) -> dict[str, str]:
    """Return the labels of the accepted images."""
    return {row.image: row.label for row in rows if row.status == ACCEPTED}


def history_table(labels: Sequence[Sequence[LabelRow]]) -> bytes:
    """Return what every round thought of every image as CSV, one row per image.

    `flips` counts the rounds in which it had another label than in the one before, `evictions` those that no
    longer accepted it.
    """
    by_round = [{row.image: row for row in rows} for rows in labels]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    kinds = ("label", "confidence", "status")
    columns = [f"{kind}_{number}" for number in range(len(labels)) for kind in kinds]
    writer.writerow(["image", *columns, "flips", "evictions"])
    for image in dict.fromkeys(row.image for rows in labels for row in rows):
        told = [rows.get(image) for rows in by_round]
        cells = [
            value for row in told for value in ((row.label, row.confidence, row.status) if row else _NONE)
        ]
        writer.writerow([image, *cells, *_turns([row for row in told if row])])
    return buffer.getvalue().encode()


def _turns(rows: Sequence[LabelRow]) -> tuple[int, int]:
    """Count an image's changes of label, and how often a round after one that accepted it did not.

    The round after which the loop ended accepts nothing, and evicts only what it was not sure of.
    """
    pairs = list(pairwise(rows))
    flips = sum(one.label != other.label for one, other in pairs)
    lost = sum(one.status == ACCEPTED and other.status not in {ACCEPTED, SCORED} for one, other in pairs)
    return flips, lost


def reopen(ledger: Ledger, number: int, folder: Path) -> Round:
    """Copy a sealed round out: its classifier, labels.csv, and round.json last; return that record.

    Raises InputError for a round that is not sealed, a folder that is not empty, and for objects that are not
    those the round sealed.
    """
    rounds = ledger.rounds()
    if not 0 <= number < len(rounds):
        there = f"0 to {len(rounds) - 1}" if rounds else "none yet"
        raise InputError(f"round {number}: not sealed in {ledger.uri}; valid: {there}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there and not an empty folder; valid: a name that does not exist yet")
    labels = write_labels(ledger.labels(number))
    ledger.fetch_sealed(rounds[number], folder)
    (folder / "labels.csv").write_bytes(labels)
    stored_json.write(folder / "round.json", rounds[number])
    return rounds[number]
