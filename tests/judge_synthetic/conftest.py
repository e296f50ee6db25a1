"""Planes of simulated infants, one of them scanned three times; and sets made of them as a GAN might."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.extract_planes.stage import Config, Cuts, extract_planes
from components.judge_synthetic.likeness import shrunk
from components.shared.phantom import Brain, simulate
from components.shared.planes import GAN_CLASSES, SYNTHETIC, PlaneRow, PlaneSet, PlaneSetWriter, Seen
from components.shared.splits import Splits
from components.shared.volumes import Volume, write_volume
from components.snapshot_volumes.stage import Config as SnapshotConfig
from components.snapshot_volumes.stage import snapshot

PATIENTS = 8
PATTERN = r"^(?P<patient>.+?)_\d{4}_\d{2}_\d{2}\.nrrd$"


def brain(number: int) -> Brain:
    rng = np.random.default_rng([5, number])
    return Brain(
        scale=rng.uniform(0.85, 1.1), length=rng.uniform(0.9, 1.1), ventricles=rng.uniform(0.5, 1.6),
        cavum=rng.uniform(0.3, 1.5), cerebellum=rng.uniform(0.8, 1.2), folding=rng.uniform(0, 1),
        sylvian=rng.uniform(0.6, 1.4), seed=number,
    )  # fmt: skip


def again(volume: Volume, session: int) -> Volume:
    """Return a later scan of the same head: other noise, a voxel to the side."""
    rng = np.random.default_rng(session)
    noise_XYZ = rng.uniform(0.7, 1.3, volume.data_XYZ.shape)
    data_XYZ = np.roll(volume.data_XYZ, session, axis=0) * noise_XYZ
    return replace(volume, data_XYZ=data_XYZ.astype(volume.data_XYZ.dtype))


@pytest.fixture(scope="session")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> PlaneSet:
    """Return the planes of all: patient 0 has three sessions, of one brain, each with noise of its own."""
    root = tmp_path_factory.mktemp("infants")
    (root / "volumes").mkdir()
    for number in range(PATIENTS):
        volume = simulate(brain(number), np.random.default_rng(number), 64)
        for session in range(3 if number == 0 else 1):
            write_volume(root / f"volumes/i{number}_2024_0{session + 1}_01.nrrd", again(volume, session))
    (root / "key").write_text("the same names in every run")
    places = {"volumes_uri": str(root / "volumes"), "state_uri": str(root / "state")}
    digest = snapshot(SnapshotConfig(patient_pattern=PATTERN, pseudonym_key_uri=str(root / "key"), **places))
    cuts = Cuts(plane_angles_deg=(-15, 0, 15), plane_spacing_mm=4.0, field_of_view_mm=90.0, side_px=128)
    extract_planes(Config(snapshot_digest=digest, cuts=cuts, **places), root / "planes")
    return PlaneSet.open(root / "planes")


@pytest.fixture(scope="session")
def thrice(everyone: PlaneSet) -> str:
    """Return the patient who was scanned three times."""
    scans: dict[str, set[str]] = {}
    for row in everyone.rows:
        scans.setdefault(row.patient, set()).add(row.session)
    return next(patient for patient, sessions in scans.items() if len(sessions) == 3)


@pytest.fixture(scope="session")
def splits(everyone: PlaneSet, thrice: str) -> Splits:
    """Return splits that train on five patients, the one who was scanned three times among them."""
    others = sorted(everyone.seen.patients - {thrice})
    sides = {thrice: "train"} | dict.fromkeys(others[:4], "train")
    sides |= {others[4]: "validation"} | dict.fromkeys(others[5:], "test")
    folds = {"test": 0, "validation": 1, "train": 2}
    return Splits({patient: folds[side] for patient, side in sides.items()}, sides)


@pytest.fixture(scope="session")
def planes(everyone: PlaneSet, thrice: str, tmp_path_factory: pytest.TempPathFactory) -> PlaneSet:
    """Return the planes without the third session."""
    last = max(row.session for row in everyone.rows if row.patient == thrice)
    rows = [row for row in everyone.rows if row.session != last]
    with PlaneSetWriter(folder=tmp_path_factory.mktemp("planes"), side=everyone.side) as writer:
        for row, image_HW in zip(rows, everyone.images(rows), strict=True):
            writer.add(image_HW, row)
    return PlaneSet.open(writer.folder)


@pytest.fixture(scope="session")
def third(everyone: PlaneSet, planes: PlaneSet) -> list[np.ndarray]:
    """Return the planes of the third session."""
    known = {row.image for row in planes.rows}
    rows = [row for row in everyone.rows if row.image not in known and row.label in GAN_CLASSES]
    return list(everyone.images(rows))


def seen_by(planes: PlaneSet, splits: Splits, *sides: str) -> list[np.ndarray]:
    """Return the coronal and sagittal planes of the patients of some sides."""
    patients = {patient for side in sides for patient in splits.patients(side)}
    return list(planes.images(r for r in planes.rows if r.label in GAN_CLASSES and r.patient in patients))


def write_images(
    folder: Path, images: Sequence[np.ndarray], patients: Sequence[str], side: int = 64, psi: float = 1.0
) -> PlaneSet:
    """Write pictures as a synthetic PlaneSet of the patients that its generator saw."""
    seen, settings = Seen(patients=frozenset(patients)), {"truncations": [psi]}
    with PlaneSetWriter(folder=folder, side=side, seen=seen, settings=settings) as writer:
        for seed, image_HW in enumerate(images):
            row = PlaneRow(
                image=f"synthetic/psi{psi:.2f}_seed{seed:06}.png",
                source=SYNTHETIC,
                seed=seed,
                truncation=psi,
            )
            writer.add(shrunk(np.ascontiguousarray(image_HW), side), row)
    return PlaneSet.open(folder)
