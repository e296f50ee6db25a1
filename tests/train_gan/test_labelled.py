"""A GAN on labelled planes sees those very planes whose labels a classifier is told."""

from dataclasses import replace

import pytest

from components.shared.labels import UNITS, labelled_rows
from components.shared.planes import GAN_CLASSES, NOISE
from components.shared.splits import TRAIN
from components.train_gan.stage import Config, _labelled, train_gan
from tests.drawn_planes import SPLITS, write_planes

TINY = Config(kimg=0.008, resolution=8, gamma=0.0, batch=4, channel_base=64, snapshot_kimg=0.008)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    """Return planes of which one patient has all the noise."""
    made = write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides), per_class=6)
    rows = [row for row in made.rows if row.label != NOISE or row.patient == "c"]
    return replace(made, rows=rows)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("seed", range(5))
def test_its_rows_are_the_classifiers(planes, unit, seed):
    config = replace(TINY, label_fraction=0.3, label_unit=unit, label_seed=seed, seed=seed + 1)
    told = labelled_rows(planes.rows_of(SPLITS.patients(TRAIN)), 0.3, unit, seed)
    wanted = [row for row in told if row.label in GAN_CLASSES]
    assert list(_labelled(config, planes, SPLITS)) == wanted


def test_it_has_seen_no_patient_without_a_label(planes, tmp_path):
    config = replace(TINY, label_fraction=0.3, label_unit="patient")
    told = labelled_rows(planes.rows_of(SPLITS.patients(TRAIN)), 0.3, "patient", 0)
    seen = sorted({row.patient for row in told if row.label in GAN_CLASSES})
    assert len(seen) < 3
    assert train_gan(config, planes, SPLITS, tmp_path)["patients_seen"] == seen
