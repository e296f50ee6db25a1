"""Names the run and opens its ledger, before any round."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.shared.labels import known_classes, labelled_rows
from components.shared.ledger import Ledger
from components.shared.planes import CLASSES, PlaneSet
from components.shared.rounds import RoundRule
from components.shared.splits import TRAIN, VALIDATION, Splits

RUN_NAME_LENGTH = 12  # hex digits


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run is made of."""

    state_uri: str
    run_name: str  # "": named by its contents
    fingerprint: str  # hash of every parameter that changes a result, and of the code
    snapshot_digest: str


def open_ledger(config: Config, parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits) -> str:
    """Return the run's name; its ledger exists and is of this very study.

    A repeated run has the same name, and so finds its own state. Raises InputError when the labelled
    fraction leaves too few planes: here, before any GPU, and not in round 0.
    """
    training = set(splits.patients(TRAIN))
    rows = [row for row in planes.rows if row.label in CLASSES and row.patient in training]
    known_classes(
        labelled_rows(rows, *(parameters[name] for name in ("label_fraction", "label_unit", "seed")))
    )
    content = hashlib.sha256(f"{config.fingerprint}/{config.snapshot_digest}".encode()).hexdigest()
    run = config.run_name or content[:RUN_NAME_LENGTH]
    rule = RoundRule(
        max_rounds=parameters["max_rounds"],
        patience=parameters["patience"],
        min_gain=parameters["min_gain"],
        relabel=parameters["relabel"],
        validation_patients=len(splits.patients(VALIDATION)),
    )
    record = {
        "parameters": dict(parameters),
        "snapshot_digest": config.snapshot_digest,
        "fingerprint": config.fingerprint,
        "rule": vars(rule),
    }
    Ledger(state_uri=config.state_uri, run=run).begin(record)
    return run
