"""After the loop: reads the ledger, publishes the best round, tells what happened."""

import tempfile
from pathlib import Path

from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.history import HISTORY, history_table
from components.shared.lease import release
from components.shared.ledger import Ledger
from components.shared.planes import Seen
from components.shared.rounds import best_round, model_name, stop_reason
from components.shared.stored_json import described
from components.shared.weights import ABOUT, behind


def close_rounds(ledger: Ledger, supervised: Path, owner: str) -> str:
    """Publish the supervised and the best round's classifier, and return the digest of all sealed rounds.

    They lie in {run}/published/<model name>/, where pipeline `apply` takes them from; beside it history.csv
    tells what every round thought of every image. The run writes no more to its ledger, so its lease ends
    here.

    Raises InputError when the loop has not come to an end: SUCCESS of its tasks alone proves nothing.
    """
    rounds, rule, patients = ledger.rounds(), ledger.rule(), ledger.splits().folds
    if not stop_reason(rounds, rule):
        raise InputError(
            f"{ledger.uri}: the loop ended after {len(rounds)} of {rule.max_rounds + 1} rounds without a"
            " reason to stop; valid: submit the run again, it goes on where it stopped"
        )
    best = best_round(rounds, rule)
    with tempfile.TemporaryDirectory() as folder:
        ledger.fetch_sealed(rounds[best], Path(folder))
        seen = Seen(patients=frozenset(patients)) | _seen(Path(folder), ledger.uri)
        seen |= _seen(supervised, "the supervised classifier")
        require_remembered(ledger.state_uri, seen.patients, seen.scans)
        ledger.publish(model_name(best), Path(folder))
        history = Path(folder) / HISTORY
        history.write_bytes(history_table([ledger.labels(entry["round"]) for entry in rounds]))
        storage.upload(history, storage.join(ledger.uri, HISTORY))
    ledger.publish("supervised", supervised)
    release(ledger.uri, owner)
    # Forgotten while it was published: nothing is left of it.
    require_remembered(ledger.state_uri, seen.patients, seen.scans)
    return ledger.digest()


def _seen(classifier: Path, what: str) -> Seen:
    """Return what a classifier learnt from and was chosen by."""
    about = storage.read_bytes(storage.join(str(classifier), ABOUT))
    return behind(described(about), what)
