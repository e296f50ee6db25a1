"""Which patient is trained on, validated on, tested on: the only place that knows."""

import csv
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from components.shared.faults import InputError
from components.shared.files import write_whole
from components.shared.planes import GAN_CLASSES, PlaneSet, Seen
from components.shared.pseudonyms import require_same_key

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
FOLDS = 5
SIDES = (TEST, VALIDATION, TRAIN, TRAIN, TRAIN)  # by fold
_FOLDS = tuple(map(str, range(FOLDS)))
_COLUMNS = ("patient", "fold", "split")
_SHARED_PICTURES = 2  # that two patients may have in common: blank ones


@dataclass(frozen=True)
class Splits:
    """The side and the cross-validation fold of every patient."""

    folds: Mapping[str, int]
    sides: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read splits.csv: patient, fold, split."""
        return cls.parse(path.read_text())

    @classmethod
    def stored(cls, uri: str, data: bytes) -> Self:
        """Return one version of a state's splits; InputError by its address where it is damaged."""
        try:
            return cls.parse(data.decode())
        except (ValueError, csv.Error) as error:
            why = str(error).partition("; valid: ")[0]  # to write it by hand is no way to mend it
            raise InputError(
                f"{uri}: damaged, {why}; valid: a copy of what it was, or a new state_uri"
            ) from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the splits that `text` printed; InputError where a patient has no one side."""
        table = csv.DictReader(text.splitlines())
        if table.fieldnames != list(_COLUMNS):
            raise InputError(
                f"splits: columns {table.fieldnames}; valid: {', '.join(_COLUMNS)}, of a whole table"
            )
        lines = list(table)
        counts = Counter(row["patient"] for row in lines)
        for row in lines:
            if counts[row["patient"]] > 1:
                raise _wrong(row, "listed twice; valid: one side for all sessions of a patient")
            if row["split"] not in SPLITS:
                raise _wrong(row, f"split {row['split']}; valid: {', '.join(SPLITS)}")
            if row["fold"] not in _FOLDS:
                raise _wrong(row, f"fold {row['fold']}; valid: {', '.join(_FOLDS)}")
        return cls(
            {row["patient"]: int(row["fold"]) for row in lines},
            {row["patient"]: row["split"] for row in lines},
        )

    def write(self, path: Path) -> None:
        """Write splits.csv, patients in alphabetical order."""
        write_whole(path, self.text())

    def text(self) -> str:
        """Return the table that `write` writes."""
        rows = [f"{patient},{self.folds[patient]},{side}" for patient, side in sorted(self.sides.items())]
        return "\n".join([",".join(_COLUMNS), *rows]) + "\n"

    @property
    def digest(self) -> str:
        """The hash of that table."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def testing(self, fold: int) -> "Splits":
        """Return the splits of cross-validation in which `fold` is tested, and the next one validates."""
        sides = {patient: SIDES[(own - fold) % FOLDS] for patient, own in self.folds.items()}
        return Splits(self.folds, sides)

    def without(self, patient: str) -> "Splits":
        """Return the splits without a patient; nobody else changes side."""
        folds = {name: fold for name, fold in self.folds.items() if name != patient}
        return Splits(folds, {name: side for name, side in self.sides.items() if name != patient})

    def patients(self, split: str) -> Sequence[str]:
        """Return the patients of one side, in alphabetical order."""
        return sorted(patient for patient, side in self.sides.items() if side == split)

    def require_only(
        self, allowed: Sequence[str], seen: Seen, what: str, planes: PlaneSet | None = None
    ) -> None:
        """Refuse an artifact that descends from patients of another side than the allowed ones.

        A patient who is not in the splits is of another data set and leaks nothing into this one. A scan that
        is among the planes counts as whose it is there: a corrected name, or another key, hides none.
        """
        require_same_key(self.sides, seen.patients, what)
        if crossing := sorted(p for p in seen.patients if p in self.sides and self.sides[p] not in allowed):
            raise InputError(
                f"{what}: made from patients {self.named(crossing)}, by {self.name}; valid: an artifact made"
                f" from {' or '.join(allowed)} patients alone"
            )
        if planes is not None and (scans := self.crossing(allowed, seen.scans, planes)):
            owners = {row.scan: row.patient for row in planes.rows}
            told = ", ".join(f"{scan} of {self.named([owners[scan]])}" for scan in scans)
            raise InputError(
                f"{what}: has seen scans {told}, by {self.name}; valid: one made from the scans of"
                f" {' or '.join(allowed)} patients alone"
            )

    def require_unseen(self, learnt: Seen, chosen_by: Seen, what: str, planes: PlaneSet) -> None:
        """Refuse weights that learnt from anybody but training patients, or were chosen by who is tested."""
        self.require_only((TRAIN,), learnt, what, planes)
        self.require_only((TRAIN, VALIDATION), chosen_by, what, planes)

    def crossing(self, allowed: Sequence[str], scans: Collection[str], planes: PlaneSet) -> list[str]:
        """Return which of some scans are, among these planes, of patients of another side."""
        others = {patient for patient, side in self.sides.items() if side not in allowed}
        return sorted({row.scan for row in planes.rows if row.patient in others} & set(scans))

    def require_apart(self, planes: PlaneSet) -> None:
        """Refuse planes in which one scan stands under two patients, who could be on two sides.

        A scan is known by its content's hash, and one that was packed anew by its planes: two patients share
        a blank picture at most.
        """
        what = f"planes {planes.digest[:12]}"
        volumes = _owners((row.volume, row.patient) for row in planes.rows)
        for volume, owners in volumes.items():
            raise self._two(f"{what}: volume {volume}", owners)
        cut = (row for row in planes.rows if row.label in GAN_CLASSES)
        shared = Counter(_owners((row.sha256, row.patient) for row in cut).values())
        for owners, pictures in shared.items():
            if pictures > _SHARED_PICTURES:
                raise self._two(f"{what}: {pictures} equal pictures", owners)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"splits.csv {self.digest[:12]}"

    def named(self, patients: Iterable[str]) -> str:
        """Return patients with their sides, in words."""
        return ", ".join(f"{patient} ({self.sides.get(patient, 'no side')})" for patient in patients)

    def _two(self, what: str, owners: Iterable[str]) -> InputError:
        return InputError(
            f"{what} of patients {self.named(sorted(owners))}, by {self.name}; valid: each scan under one"
            " patient"
        )


def _owners(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Return the patients of each thing that more than one of them has."""
    found: dict[str, set[str]] = {}
    for thing, patient in pairs:
        found.setdefault(thing, set()).add(patient)
    return {thing: frozenset(owners) for thing, owners in found.items() if thing and len(owners) > 1}


def _wrong(row: Mapping[str, str], why: str) -> InputError:
    return InputError(f"splits.csv: patient {row['patient']}: {why}")
