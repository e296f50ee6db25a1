"""Whatever a model is measured with was chosen before anybody tested was looked at."""

from dataclasses import replace

import numpy as np
import pytest

from components.evaluate.stage import Config, evaluate
from components.shared import classifier as classifiers
from components.shared.metrics import measure, predictions_of
from components.shared.planes import NOISE, PlaneSet, PlaneSetWriter
from components.shared.splits import TEST, TRAIN
from components.train_classifier.stage import Config as Training
from components.train_classifier.stage import train_classifier
from tests.drawn_planes import SPLITS, write_planes

pytestmark = pytest.mark.usefixtures("small_classifiers")

UNTRAINED = Training(architecture="resnet18", epochs=0, size_px=32, batch=12, label_fraction=1.0)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides))


@pytest.fixture(scope="module")
def model(planes, tmp_path_factory):
    """Return an untrained classifier with a temperature that no planes would give it."""
    made, out = (tmp_path_factory.mktemp(name) for name in ("made", "model"))
    train_classifier(UNTRAINED, planes, SPLITS, None, made)
    classifiers.save(replace(classifiers.load(made), temperature=2.5), {}, out)
    return out


def test_the_temperature_is_the_one_that_the_classifier_came_with(planes, model, tmp_path):
    found = evaluate(Config(), planes, SPLITS, {"mine": model}, tmp_path)["models"]["mine"]
    assert found["calibration"]["temperature"] == 2.5
    rows, opened = planes.rows_of(SPLITS.patients(TEST)), classifiers.load(model)
    images_NHW = classifiers.load_pixels(planes, rows, opened.size_px)
    expected = measure(predictions_of(classifiers.probabilities(opened, images_NHW, 256), rows))
    assert found["loss"] == expected["loss"] == pytest.approx(found["calibration"]["loss_after"], abs=1e-5)
    assert found["per_patient"] == expected["per_patient"]


def lightened(planes, folder, patients):
    """Return the planes with the noise of some patients brighter than any anatomy."""
    with PlaneSetWriter(folder=folder, side=planes.side) as writer:
        for row, image_HW in zip(planes.rows, planes.images(planes.rows), strict=True):
            light = row.label == NOISE and row.patient in patients
            writer.add(np.full_like(image_HW, 250) if light else image_HW, row)
    return PlaneSet.open(folder)


def test_the_grey_level_of_noise_is_not_chosen_on_who_is_tested(planes, model, tmp_path):
    bright = lightened(planes, tmp_path / "planes", SPLITS.patients(TEST))
    result = evaluate(Config(), bright, SPLITS, {"mine": model}, tmp_path)
    assert result["models"]["mine"]["noise_by_grey"] == 0


def test_the_grey_level_of_noise_is_chosen_on_who_validates_as_well(planes, model, tmp_path):
    trains = SPLITS.patients(TRAIN)
    rows = [row for row in planes.rows if row.label != NOISE or row.patient not in trains]
    result = evaluate(Config(), replace(planes, rows=rows), SPLITS, {"mine": model}, tmp_path)
    assert result["models"]["mine"]["noise_by_grey"] == 1
