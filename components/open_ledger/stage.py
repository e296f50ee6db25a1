"""Names the run and opens its ledger, before any round."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.labels import are_few, known_classes, labelled_rows
from components.shared.ledger import Ledger
from components.shared.planes import GAN_CLASSES, PlaneSet
from components.shared.progress import emit
from components.shared.rounds import RoundRule
from components.shared.splits import SPLITS, TRAIN, VALIDATION, Splits
from components.split_patients.stage import remember

RUN_NAME_LENGTH = 12  # hex digits


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run, or a study, is made of."""

    state_uri: str
    run_name: str  # "": named by its contents
    fingerprint: str  # hash of every parameter that changes a result, and of the code
    snapshot_digest: str

    def name(self, kind: str = "") -> str:
        """Return what the run is called: as it was told, or by its contents, which `kind` keeps apart."""
        content = hashlib.sha256(f"{kind}{self.fingerprint}/{self.snapshot_digest}".encode()).hexdigest()
        return self.run_name or content[:RUN_NAME_LENGTH]


def open_ledger(config: Config, parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits) -> str:
    """Return the run's name; its ledger exists and is of this very study.

    A repeated run has the same name, and so finds its own state. Raises InputError when the labelled
    fraction leaves too few planes: here, before any GPU, and not in round 0; and where the sides, which KFP's
    cache may have given, are not those of the state.
    """
    check_labels(parameters, planes, splits)
    require_remembered(config.state_uri, splits.sides, planes.seen.scans)
    remember(config.state_uri, splits)
    run = config.name()
    names = ("max_rounds", "patience", "min_gain", "relabel")
    rule = RoundRule(
        validation_patients=len(splits.patients(VALIDATION)), **{name: parameters[name] for name in names}
    )
    record = {
        "parameters": dict(parameters),
        "snapshot_digest": config.snapshot_digest,
        "fingerprint": config.fingerprint,
        "rule": vars(rule),
        "folds": dict(splits.folds),
        "sides": dict(splits.sides),
    }
    ledger = Ledger(state_uri=config.state_uri, run=run)
    ledger.begin(record)
    if ledger.finished:
        emit(
            "open_ledger",
            "warning",
            message=f"nothing is new: the rounds of run {run} are closed, its models stay",
        )
    require_remembered(config.state_uri, splits.sides, planes.seen.scans)
    if uri := parameters["expert_labels_uri"]:
        ledger.keep_expert_labels(storage.read_bytes(uri).decode())
    return run


def check_labels(
    parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits, stage: str = "open_ledger"
) -> None:
    """Refuse sides without both cuts, and a labelled fraction that leaves under two classes."""
    sides = {side: planes.rows_of(splits.patients(side)) for side in SPLITS}
    for side, rows in sides.items():
        if absent := [name for name in GAN_CLASSES if not any(row.label == name for row in rows)]:
            raise InputError(
                f"volumes_uri: the {side} patients ({', '.join(splits.patients(side))}) have no"
                f" {' nor '.join(absent)} plane; valid: more patients, or a smaller plane_spacing_mm"
            )
    settings = (parameters[name] for name in ("label_fraction", "label_unit", "seed"))
    labelled = labelled_rows(sides[TRAIN], *settings)
    known_classes(labelled)
    if warning := too_few_images(parameters["images"], len(labelled)):
        emit(stage, "warning", message=warning)


def too_few_images(images: int, labelled: int) -> str:
    """Return a warning where the synthetic images are under twice the labelled planes, else ""."""
    if not are_few(images, labelled):
        return ""
    return f"images={images}: under twice the {labelled} labelled planes, so they can add little"
