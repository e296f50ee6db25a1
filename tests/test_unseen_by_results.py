"""What is trained depends on nobody who is measured: their planes may show anything."""

from dataclasses import replace

import numpy as np
import pytest

from components.shared import classifier as classifiers
from components.shared.planes import PlaneSet, PlaneSetWriter
from components.shared.splits import TEST, TRAIN, VALIDATION
from components.train_classifier.stage import Config, train_classifier
from components.train_gan.stage import Config as GanConfig
from components.train_gan.stage import train_gan
from tests.drawn_planes import SPLITS, write_planes

pytestmark = pytest.mark.usefixtures("small_classifiers")

TINY = Config(architecture="resnet18", epochs=1, size_px=32, batch=12, learning_rate=3e-3, label_fraction=1.0)
GAN = GanConfig(kimg=0.016, resolution=8, gamma=0.0, batch=4, channel_base=64, snapshot_kimg=0.016)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides), per_class=4)


def overdrawn(planes, folder, patients):
    """Return the planes with noise in the place of what some patients' show."""
    rng = np.random.default_rng(9)
    with PlaneSetWriter(folder=folder, side=planes.side) as writer:
        for row, image_HW in zip(planes.rows, planes.images(planes.rows), strict=True):
            noise_HW = rng.integers(0, 256, image_HW.shape, dtype=np.uint8)
            writer.add(noise_HW if row.patient in patients else image_HW, row)
    return PlaneSet.open(folder)


def test_a_gan_draws_the_same_whatever_the_measured_patients_show(planes, tmp_path):
    measured = [*SPLITS.patients(VALIDATION), *SPLITS.patients(TEST)]
    other = overdrawn(planes, tmp_path / "other", measured)
    trained = overdrawn(planes, tmp_path / "trained", SPLITS.patients(TRAIN))
    first, second, third = (
        train_gan(GAN, each, SPLITS, tmp_path / name)["digest"]
        for name, each in (("g1", planes), ("g2", other), ("g3", trained))
    )
    assert first == second != third


def test_a_classifier_is_the_same_whatever_the_tested_patients_show(planes, tmp_path):
    other = overdrawn(planes, tmp_path / "other", SPLITS.patients(TEST))
    chosen = overdrawn(planes, tmp_path / "chosen", SPLITS.patients(VALIDATION))
    first, second, third = (
        train_classifier(replace(TINY, augment=False), each, SPLITS, None, tmp_path / name)
        for name, each in (("c1", planes), ("c2", other), ("c3", chosen))
    )
    alike = ("digest", "temperature", "validation", "calibration", "history")
    assert [first[name] for name in alike] == [second[name] for name in alike]
    assert first["digest"] == third["digest"], "who validates chooses, and teaches nothing"
    assert first["validation"] != third["validation"]
    assert (tmp_path / "c1" / classifiers.WEIGHTS).read_bytes() == (
        tmp_path / "c2" / classifiers.WEIGHTS
    ).read_bytes()
