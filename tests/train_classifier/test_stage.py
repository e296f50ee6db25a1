import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.shared import classifier as classifiers
from components.shared.faults import InputError
from components.shared.metrics import measure, predictions_of
from components.shared.planes import CORONAL, NOISE, SAGITTAL, PlaneSet
from components.train_classifier.stage import Config, PseudoLabels, train_classifier
from tests.drawn_planes import SPLITS, splits_of, write_planes, write_synthetic

TINY = Config(architecture="resnet18", epochs=2, size_px=32, batch=12, learning_rate=3e-3, label_fraction=1.0)


@pytest.fixture(scope="module")
def planes(tmp_path_factory) -> PlaneSet:
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides))


@pytest.fixture(scope="module")
def trained(planes, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, train_classifier(replace(TINY, epochs=6), planes, SPLITS, None, out)


def test_it_learns_the_drawn_shapes_and_measures_every_validation_plane(trained):
    _, about = trained
    assert about["validation"]["balanced_accuracy"] > 0.9
    assert about["validation"]["per_patient"].keys() == {"v"}
    assert about["validation"]["per_patient"]["v"]["planes"] == 24
    assert about["history"][-1]["loss"] < about["history"][0]["loss"]


def test_the_json_is_the_returned_one_and_says_who_was_seen(trained):
    out, about = trained
    assert json.loads((out / "classifier.json").read_text()) == about
    assert about["patients_seen"] == ["a", "b", "c"]
    assert about["labelled"] == 72
    assert about["pretrained"] is None
    assert classifiers.is_whole(out)


def test_the_temperature_is_fitted_on_the_validation_planes_and_applied_to_them(planes, tmp_path):
    rough = replace(TINY, epochs=3, learning_rate=1e-3, augment=False)
    about = train_classifier(rough, planes, SPLITS, None, tmp_path)
    found = about["calibration"]
    assert found["planes"] == 24 and found["wrong"] > 0, "a model that errs is needed here"
    assert about["temperature"] == found["temperature"] != 1
    assert found["loss_after"] < found["loss_before"]
    assert about["validation"]["loss"] == pytest.approx(found["loss_after"], abs=1e-4)
    model = classifiers.load(tmp_path)
    rows = planes.rows_of(["v"])
    images_NHW = classifiers.load_pixels(planes, rows, model.size_px)
    predictions = predictions_of(classifiers.probabilities(model, images_NHW, 12), rows)
    assert measure(predictions) == about["validation"]


def test_a_model_that_is_never_wrong_stays_as_it_is(trained):
    _, about = trained
    assert about["validation"]["accuracy"] == 1
    assert about["temperature"] == 1
    assert about["calibration"]["note"] == "no validation plane is wrong"


def test_without_validation_patients_the_temperature_stays(planes, tmp_path):
    splits = splits_of({patient: side for patient, side in SPLITS.sides.items() if side != "validation"})
    about = train_classifier(replace(TINY, epochs=1), planes, splits, None, tmp_path)
    assert (about["temperature"], about["validation"]) == (1, None)
    assert about["calibration"]["note"] == "no validation plane"


def test_without_augmentation_planes_are_seen_as_they_are(planes, tmp_path, monkeypatch):
    monkeypatch.setattr("components.train_classifier.fit.augment", lambda grey_NHW, generator: 1 - grey_NHW)
    one = replace(TINY, epochs=1)
    losses = [
        train_classifier(replace(one, augment=augment), planes, SPLITS, None, tmp_path)["history"][0]["loss"]
        for augment in (True, False)
    ]
    assert losses[0] != losses[1]


def test_equal_inputs_give_equal_bytes_whatever_ran_before(planes, tmp_path):
    first = train_classifier(TINY, planes, SPLITS, None, tmp_path / "1")
    torch.rand(3)
    second = train_classifier(TINY, planes, SPLITS, None, tmp_path / "2")
    assert first == second
    weights = [(tmp_path / n / classifiers.WEIGHTS).read_bytes() for n in "12"]
    assert weights[0] == weights[1]


def test_training_leaves_the_callers_random_numbers_alone(planes, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    train_classifier(replace(TINY, epochs=1), planes, SPLITS, None, tmp_path)
    assert torch.equal(torch.rand(2), expected)


def test_accepted_synthetic_planes_join_and_bring_their_generators_patients(planes, tmp_path):
    synthetic = write_synthetic(tmp_path / "synthetic", ["a", "b"], [CORONAL, SAGITTAL] * 8)
    labels = {row.image: (CORONAL, SAGITTAL)[row.seed % 2] for row in synthetic.rows[:9]}
    config = replace(TINY, label_unit="patient", label_fraction=0.1, epochs=1)
    about = train_classifier(
        config, planes, SPLITS, PseudoLabels(images=synthetic, labels=labels), tmp_path / "c"
    )
    assert about["pseudo"] == {CORONAL: 5, SAGITTAL: 4, NOISE: 0}
    assert about["labelled"] == 24
    assert set(about["patients_seen"]) >= {"a", "b"}
    assert about["digests"]["synthetic"] == synthetic.digest


def test_synthetic_planes_of_another_side_are_refused(planes, tmp_path):
    synthetic = write_synthetic(tmp_path / "synthetic", ["a", "t"], [CORONAL])
    with pytest.raises(
        InputError, match=r"synthetic planes \w{12}: made from patients t \(test\), by splits"
    ):
        train_classifier(TINY, planes, SPLITS, PseudoLabels(images=synthetic, labels={}), tmp_path / "c")


def test_a_class_with_too_few_labels_is_left_out_and_said(tmp_path):
    planes = write_planes(tmp_path / "planes", ["a", "v"], classes=(CORONAL, SAGITTAL))
    about = train_classifier(replace(TINY, epochs=1), planes, SPLITS, None, tmp_path / "c")
    assert about["classes"] == [CORONAL, SAGITTAL]
    assert about["left_out"] == {NOISE: 0}
    assert about["validation"]["recall"][NOISE] is None


def test_one_class_alone_is_refused(tmp_path):
    planes = write_planes(tmp_path / "planes", ["a", "v"], classes=(CORONAL,))
    with pytest.raises(InputError, match="label_fraction: it leaves 8 coronal, 0 sagittal, 0 noise"):
        train_classifier(TINY, planes, SPLITS, None, tmp_path / "c")


def test_a_loss_that_is_not_finite_is_told_by_what_can_be_set(planes, tmp_path):
    with pytest.raises(InputError, match=r"^seed=0: .*diverged, .*valid: another seed, or more epochs"):
        train_classifier(replace(TINY, learning_rate=1e20), planes, SPLITS, None, tmp_path)


def test_an_unknown_architecture_is_refused(planes, tmp_path):
    with pytest.raises(InputError, match="classifier=vgg: unknown; valid: convnext_tiny or resnet18"):
        train_classifier(replace(TINY, architecture="vgg"), planes, SPLITS, None, tmp_path)


def test_progress_ends_at_its_total(planes, tmp_path):
    events: list[tuple[int, int]] = []
    train_classifier(
        replace(TINY, epochs=1),
        planes,
        SPLITS,
        None,
        tmp_path,
        lambda done, total: events.append((done, total)),
    )
    assert events[-1][0] == events[-1][1] == 12 * 6
    assert np.all(np.diff([done for done, _ in events]) > 0)


def test_pretrained_weights_start_with_the_head_frozen(planes, trained, tmp_path: Path):
    folder, _ = trained
    config = replace(TINY, epochs=1, pretrained_uri=str(folder / classifiers.WEIGHTS), frozen_epochs=1)
    about = train_classifier(config, planes, SPLITS, None, tmp_path)
    assert about["pretrained"]["head"] == "kept"
    assert about["config"]["pretrained_uri"] == classifiers.WEIGHTS
    assert [entry["epoch"] for entry in about["history"]] == [1, 2]
    assert about["history"][0]["loss"] < 0.5  # from scratch it begins near log 3


@pytest.mark.parametrize("side", ["validation", "test"])
def test_weights_that_saw_a_patient_to_measure_on_are_refused(planes, trained, tmp_path, side):
    folder, _ = trained
    splits = splits_of({**SPLITS.sides, "b": side})
    config = replace(TINY, pretrained_uri=str(folder / classifiers.WEIGHTS))
    with pytest.raises(InputError, match=rf"^pretrained_uri=.*made from patients b \({side}\), by splits"):
        train_classifier(config, planes, splits, None, tmp_path)


def test_patients_behind_the_starting_weights_are_seen_too(planes, trained, tmp_path):
    folder, _ = trained
    splits = splits_of({patient: side for patient, side in SPLITS.sides.items() if patient != "b"})
    config = replace(TINY, epochs=1, pretrained_uri=str(folder / classifiers.WEIGHTS))
    about = train_classifier(config, planes, splits, None, tmp_path)
    assert about["patients_seen"] == ["a", "b", "c"]  # b is of another data set now
    assert about["scans_seen"] == ["scan of a", "scan of b", "scan of c"]
