"""Tiny PlaneSets whose classes can be told by a drawn shape: a bar that lies, a bar that stands, nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from components.shared.planes import (
    CLASSES,
    CORONAL,
    SAGITTAL,
    SYNTHETIC,
    PlaneRow,
    PlaneSet,
    PlaneSetWriter,
    Seen,
)
from components.shared.splits import TEST, TRAIN, VALIDATION, Splits

SIDE = 32


def draw(label: str, rng: np.random.Generator) -> np.ndarray:
    image_HW = rng.integers(0, 40, (SIDE, SIDE))
    start = int(rng.integers(10, 18))
    if label == CORONAL:
        image_HW[start : start + 5, 4:28] += 180
    if label == SAGITTAL:
        image_HW[4:28, start : start + 5] += 180
    return image_HW.astype(np.uint8)


def write_planes(
    folder: Path,
    patients: Sequence[str],
    per_class: int = 8,
    classes: Sequence[str] = CLASSES,
    seed: int = 0,
    scans: Mapping[str, str] = MappingProxyType({}),
) -> PlaneSet:
    """Write planes of one scan a patient, which may be named."""
    rng = np.random.default_rng(seed)
    with PlaneSetWriter(folder=folder, side=SIDE) as writer:
        for patient in patients:
            for label in classes:
                for number in range(per_class):
                    name = f"{label}/{patient}_{number:03}.png"
                    about = {
                        "patient": patient,
                        "scan": scans.get(patient, f"scan of {patient}"),
                        "plane": label,
                    }
                    writer.add(draw(label, rng), PlaneRow(image=name, label=label, **about))
    return PlaneSet.open(folder)


GENERATOR = "5d" * 32  # digest of the one that there never was


def write_synthetic(
    folder: Path, patients: Sequence[str], labels: Sequence[str], scans: Sequence[str] = ()
) -> PlaneSet:
    """Write planes whose generator has seen some patients and scans."""
    rng = np.random.default_rng(1)
    seen = Seen(patients=frozenset(patients), scans=frozenset(scans))
    with PlaneSetWriter(folder=folder, side=SIDE, seen=seen) as writer:
        for seed, label in enumerate(labels):
            name = f"synthetic/psi1.00_seed{seed:06}.png"
            row = PlaneRow(image=name, source=SYNTHETIC, seed=seed, truncation=1.0, generator=GENERATOR)
            writer.add(draw(label, rng), row)
    return PlaneSet.open(folder)


def splits_of(sides: Mapping[str, str]) -> Splits:
    folds = {TEST: 0, VALIDATION: 1, TRAIN: 2}
    return Splits({patient: folds[side] for patient, side in sides.items()}, dict(sides))


SPLITS = splits_of({"a": TRAIN, "b": TRAIN, "c": TRAIN, "v": VALIDATION, "t": TEST, "u": TEST})
