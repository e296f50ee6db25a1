"""The pool: which synthetic images a round judges, and which it leaves as the rounds before left them."""

from collections.abc import Sequence

from components.shared.ledger import LabelRow, Ledger
from components.shared.rounds import ACCEPTED, ALL, REJECTED


def kept_labels(ledger: Ledger, number: int, relabel: str) -> list[LabelRow]:
    """Return the rows that round `number` does not judge: none with relabel=all, nor in round 0."""
    if relabel == ALL or number == 0:
        return []
    return [row for row in ledger.labels(number - 1) if row.status in (ACCEPTED, REJECTED)]


def pool_of(ledger: Ledger, number: int, relabel: str, images: Sequence[str]) -> list[str]:
    """Return the synthetic images that round `number` judges, in their order."""
    decided = {row.image for row in kept_labels(ledger, number, relabel)}
    return [image for image in images if image not in decided]


def accepted_labels(ledger: Ledger, number: int) -> dict[str, str]:
    """Return the pseudo-labels that round `number` trains on: what the round before accepted."""
    if number == 0:
        return {}
    return {row.image: row.label for row in ledger.labels(number - 1) if row.status == ACCEPTED}
