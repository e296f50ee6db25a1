"""Give every patient a side for ever: known patients keep theirs, new ones fill the folds in turn."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.shared import storage
from components.shared.faults import InputError
from components.shared.snapshots import read_snapshot
from components.shared.splits import SPLITS, TEST, TRAIN, VALIDATION, Splits

FOLDS = 5
_SIDES = (TEST, VALIDATION, TRAIN, TRAIN, TRAIN)  # by fold


@dataclass(frozen=True, kw_only=True)
class Config:
    """Whose volumes, and where the sides are remembered."""

    state_uri: str
    snapshot_digest: str


def split_patients(config: Config, out: Path) -> Splits:
    """Write splits.csv, to the path `out`, for the snapshot's patients."""
    patients = {entry.patient for entry in read_snapshot(config.state_uri, config.snapshot_digest)}
    known = _remembered(config.state_uri, patients)
    folds = {patient: known[patient] for patient in sorted(patients)}
    splits = Splits(folds, {patient: _SIDES[fold] for patient, fold in folds.items()})
    for side in SPLITS:
        if not splits.patients(side):
            raise InputError(
                f"state_uri={config.state_uri}: none of {len(patients)} patients is in {side}, by the sides"
                " of earlier runs; valid: volumes of more patients, or a state_uri of their own"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    splits.write(out)
    return splits


def assign(known: dict[str, int], patients: Iterable[str]) -> dict[str, int]:
    """Return the folds with new patients added; their order depends on their own names alone."""
    folds = dict(known)
    new = set(patients) - set(known)
    for patient in sorted(new, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        folds[patient] = len(folds) % FOLDS
    return folds


def _remembered(state_uri: str, patients: set[str]) -> dict[str, int]:
    """Return every known patient's fold, new ones added in a version that only one run writes."""
    version = 0
    known: dict[str, int] = {}
    while True:
        uri = storage.join(state_uri, "splits", f"{version + 1:04}.csv")
        if storage.exists(uri):
            known = dict(Splits.parse(storage.read_bytes(uri).decode()).folds)
            version += 1
            continue
        folds = assign(known, patients)
        text = Splits(folds, {patient: _SIDES[fold] for patient, fold in folds.items()}).text()
        if folds == known or storage.create(uri, text.encode()):
            return folds
