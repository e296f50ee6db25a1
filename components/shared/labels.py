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
        raise InputError(f"label_fraction={fraction}: not usable; valid: above 0, at most 1")
    if unit not in UNITS:
        raise InputError(f"label_unit={unit}: not usable; valid: {' or '.join(UNITS)}")
    known = [row for row in rows if row.label in CLASSES]
    if unit == PATIENT:
        # By what their first volume holds: their names depend on a secret key, results must not.
        first = {row.patient: row.volume for row in reversed(known)}
        named = {volume or patient: patient for patient, volume in first.items()}
        chosen = _patients([named[name] for name in _ranked(named, seed)], known, fraction)
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


def are_few(images: int, labelled: int) -> bool:
    """Tell whether synthetic images are so few beside the labelled planes that they can add little."""
    return images < 2 * labelled


def _images_by_stratum(rows: Iterable[PlaneRow], fraction: float, seed: int) -> set[str]:
    strata = defaultdict(list)
    for row in rows:
        strata[row.label, row.patient].append(row.image)
    return {image for images in strata.values() for image in _share(images, fraction, seed)}


def _patients(ranked: Sequence[str], rows: Sequence[PlaneRow], fraction: float) -> set[str]:
    """Return the first patients of the ranking, and of each class so many as are needed to learn it.

    Those come first whatever the fraction, so that a larger one only adds patients.
    """
    held = {patient: Counter[str]() for patient in ranked}
    for row in rows:
        held[row.patient][row.label] += 1
    missing = Counter({label: min(MINIMUM, sum(each[label] for each in held.values())) for label in CLASSES})
    needed = []
    for patient in ranked:
        if +missing & held[patient]:
            needed.append(patient)
            missing -= held[patient]
    order = [*needed, *(patient for patient in ranked if patient not in needed)]
    return set(order[: max(len(needed), round(fraction * len(ranked)))])


def _share(names: Iterable[str], fraction: float, seed: int) -> list[str]:
    """Return the names that rank first, one at least."""
    ranked = _ranked(names, seed)
    return ranked[: max(1, round(fraction * len(ranked)))]


def _ranked(names: Iterable[str], seed: int) -> list[str]:
    """Return names in an order that a hash gives, so that a larger share of them only adds some."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
