"""Give every patient a side for ever: known patients keep theirs, new ones fill the folds in turn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.shared import storage
from components.shared.faults import InputError
from components.shared.planes import CLASSES, PlaneSet
from components.shared.splits import FOLDS, SIDES, SPLITS, Splits


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the sides are remembered."""

    state_uri: str


def split_patients(config: Config, planes: PlaneSet, out: Path) -> Splits:
    """Write splits.csv, to the path `out`, for everyone who has a plane of a class."""
    patients = list(dict.fromkeys(row.patient for row in planes.rows if row.label in CLASSES))
    known = _remembered(config.state_uri, patients)
    folds = {patient: known[patient] for patient in sorted(patients)}
    splits = Splits(folds, {patient: SIDES[fold] for patient, fold in folds.items()})
    for side in SPLITS:
        if not splits.patients(side):
            raise InputError(
                f"state_uri={config.state_uri}: none of {len(patients)} patients is in {side}, by the sides"
                " of earlier runs; valid: volumes of more patients, or a state_uri of their own"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    splits.write(out)
    return splits


def assign(known: Mapping[str, int], patients: Iterable[str]) -> dict[str, int]:
    """Return the folds with new patients added, in an order drawn over the one they come in.

    The draw knows how many there are and no names, which depend on a secret key: the same scans have the
    same sides under every key.
    """
    folds = dict(known)
    new = [patient for patient in dict.fromkeys(patients) if patient not in known]
    for place in np.random.default_rng(len(known)).permutation(len(new)):
        folds[new[place]] = len(folds) % FOLDS
    return folds


def _remembered(state_uri: str, patients: Iterable[str]) -> dict[str, int]:
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
        text = Splits(folds, {patient: SIDES[fold] for patient, fold in folds.items()}).text()
        if folds == known or storage.create(uri, text.encode()):
            return folds
