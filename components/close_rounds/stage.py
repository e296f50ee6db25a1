"""After the loop: reads the ledger, publishes the best round, tells what happened."""

import hashlib
import json
import tempfile
from pathlib import Path

from components.shared.faults import InputError
from components.shared.ledger import Ledger, round_name
from components.shared.rounds import best_round, stop_reason

PUBLISHED = "published"


def close_rounds(ledger: Ledger) -> str:
    """Publish the best round's classifier beside the rounds and return the digest of all sealed rounds.

    Raises InputError when the loop has not come to an end: SUCCESS of its tasks alone proves nothing.
    """
    rounds, rule = ledger.rounds(), ledger.rule()
    if not stop_reason(rounds, rule):
        raise InputError(
            f"{ledger.uri}: the loop ended after {len(rounds)} of {rule.max_rounds + 1} rounds without a"
            " reason to stop; valid: submit the run again, it goes on where it stopped"
        )
    with tempfile.TemporaryDirectory() as folder:
        ledger.fetch_classifier(round_name(best_round(rounds, rule)), Path(folder))
        ledger.keep_classifier(PUBLISHED, Path(folder))
    return hashlib.sha256(json.dumps(rounds, sort_keys=True).encode()).hexdigest()
