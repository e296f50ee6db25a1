"""Which real training planes are shown to a classifier with their labels.

A fraction is nested in every larger one of the same seed, so that two runs differ in what was added alone.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from components.shared.faults import InputError
from components.shared.planes import CLASSES, PlaneRow

PLANE, PATIENT = "plane", "patient"
UNITS = (PLANE, PATIENT)
MINIMUM = 5  # labelled planes, below which a class cannot be learned


def labelled_rows(rows: Iterable[PlaneRow], fraction: float, unit: str, seed: int) -> list[PlaneRow]:
    """Return the rows of a class that keep their label, in their order."""
    if not 0 < fraction <= 1:
        raise InputError(f"label_fraction: {fraction}; valid: above 0, at most 1")
    if unit not in UNITS:
        raise InputError(f"label_unit: {unit}; valid: {' or '.join(UNITS)}")
    known = [row for row in rows if row.label in CLASSES]
    if unit == PATIENT:
        # By what their first volume holds: their names depend on a secret key, results must not.
        first = {row.patient: row.volume for row in reversed(known)}
        named = {volume or patient: patient for patient, volume in first.items()}
        chosen = {named[name] for name in _share(named, fraction, seed)}
        return [row for row in known if row.patient in chosen]
    images = _images_by_stratum(known, fraction, seed)
    return [row for row in known if row.image in images]


def known_classes(labelled: Iterable[PlaneRow]) -> tuple[Sequence[str], Mapping[str, int]]:
    """Return the classes with enough labelled planes, and the planes of each class that is left out."""
    counts = Counter(row.label for row in labelled)
    known = [label for label in CLASSES if counts[label] >= MINIMUM]
    if len(known) < 2:
        found = ", ".join(f"{counts[label]} {label}" for label in CLASSES)
        raise InputError(
            f"label_fraction: it leaves {found} planes labelled; valid: a fraction that leaves at least"
            f" {MINIMUM} of two classes"
        )
    return known, {label: counts[label] for label in CLASSES if label not in known}


def _images_by_stratum(rows: Iterable[PlaneRow], fraction: float, seed: int) -> set[str]:
    strata = defaultdict(list)
    for row in rows:
        strata[row.label, row.patient].append(row.image)
    return {image for images in strata.values() for image in _share(images, fraction, seed)}


def _share(names: Iterable[str], fraction: float, seed: int) -> list[str]:
    """Return the names that rank first; a hash ranks them, so a larger fraction only adds names."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return ranked[: max(1, round(fraction * len(ranked)))]
