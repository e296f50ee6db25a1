"""The gate of a round: a cheap look into the ledger that says whether there is anything to do."""

from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.lease import lease
from components.shared.ledger import Ledger
from components.shared.rounds import stop_reason

GO, SEALED, STOP = "go", "sealed", "stop"


def round_ids(max_rounds: int) -> list[int]:
    """Return the rounds to try: 0 trains on the labelled planes alone, 1.. on pseudo-labels too."""
    return list(range(max_rounds + 1))


def open_round(ledger: Ledger, number: int, owner: str) -> str:
    """Return `go` for a round that must be done, `sealed` for one that is, `stop` for one that is not wanted.

    Raises InputError when the round before is missing, or another live run holds the ledger.
    """
    rounds = ledger.rounds()
    if number < len(rounds):
        return SEALED
    if stop_reason(rounds, ledger.rule()):
        return STOP
    if number > len(rounds):
        raise InputError(
            f"round {number}: round {len(rounds)} is not sealed in {ledger.uri};"
            " valid: submit the run again, it goes on where it stopped"
        )
    with lease(ledger.uri, owner):
        require_remembered(ledger.state_uri, ledger.splits().folds)  # from here on nobody is forgotten
    return GO
