"""Which patient is trained on, validated on, tested on: the only place that knows."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from components.shared.faults import InputError
from components.shared.pseudonyms import require_same_key

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
FOLDS = 5
SIDES = (TEST, VALIDATION, TRAIN, TRAIN, TRAIN)  # by fold


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
    def parse(cls, text: str) -> Self:
        """Return the splits that `text` printed."""
        lines = list(csv.DictReader(text.splitlines()))
        return cls(
            {row["patient"]: int(row["fold"]) for row in lines},
            {row["patient"]: row["split"] for row in lines},
        )

    def write(self, path: Path) -> None:
        """Write splits.csv, patients in alphabetical order."""
        path.write_text(self.text())

    def text(self) -> str:
        """Return the table that `write` writes."""
        rows = [f"{patient},{self.folds[patient]},{side}" for patient, side in sorted(self.sides.items())]
        return "\n".join(["patient,fold,split", *rows]) + "\n"

    @property
    def digest(self) -> str:
        """The hash of that table."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def turned(self, fold: int) -> "Splits":
        """Return the splits of cross-validation in which `fold` is tested, and the next one validates."""
        sides = {patient: SIDES[(own - fold) % FOLDS] for patient, own in self.folds.items()}
        return Splits(self.folds, sides)

    def patients(self, split: str) -> Sequence[str]:
        """Return the patients of one side, in alphabetical order."""
        return sorted(patient for patient, side in self.sides.items() if side == split)

    def require_only(self, allowed: Sequence[str], patients: Sequence[str], what: str) -> None:
        """Refuse an artifact that descends from patients of another side than the allowed ones.

        A patient that is not in the splits is of another data set and leaks nothing into this one.
        """
        require_same_key(self.sides, patients, what)
        crossing = sorted(p for p in patients if p in self.sides and self.sides[p] not in allowed)
        if crossing:
            raise InputError(
                f"{what}: made from patients {', '.join(crossing)}, who are not in {' or '.join(allowed)};"
                " valid: an artifact made from those patients alone"
            )
