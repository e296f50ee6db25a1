import json
from dataclasses import replace

import pytest

from components.evaluate.stage import Config, calibration_lines, evaluate
from components.shared.faults import InputError
from components.shared.metrics import EVALUATION
from components.shared.planes import CORONAL, NOISE, SAGITTAL
from components.shared.splits import TEST, TRAIN, VALIDATION
from components.train_classifier.stage import Config as Training
from components.train_classifier.stage import train_classifier
from tests.drawn_planes import SPLITS, splits_of, write_planes

pytestmark = pytest.mark.usefixtures("small_classifiers")

TRAINING = Training(
    architecture="resnet18", epochs=6, size_px=32, batch=12, learning_rate=3e-3, label_fraction=1.0
)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides))


@pytest.fixture(scope="module")
def models(planes, tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("supervised", "round_000")}
    train_classifier(TRAINING, planes, SPLITS, None, folders["supervised"])
    few = replace(TRAINING, epochs=1, size_px=24, label_fraction=0.2, learning_rate=1e-5)
    train_classifier(few, planes, SPLITS, None, folders["round_000"])
    return folders


def test_a_trained_model_beats_an_untrained_one_on_the_same_test_planes(planes, models, tmp_path):
    result = evaluate(Config(), planes, SPLITS, models, tmp_path)
    assert json.loads((tmp_path / EVALUATION).read_text()) == result
    assert result["patients"] == ["t", "u"]
    assert result["planes"] == {CORONAL: 16, SAGITTAL: 16, NOISE: 16}
    trained, untrained = result["models"]["supervised"], result["models"]["round_000"]
    assert trained["balanced_accuracy"] > 0.9 > untrained["accuracy"]
    assert trained["balanced_accuracy_interval"] is None  # two test patients hold none
    assert trained["per_patient"].keys() == {"t", "u"}


def test_calibration_is_told_before_and_after_whichever_way_it_went(planes, models, tmp_path):
    result = evaluate(Config(), planes, SPLITS, models, tmp_path)
    found = result["models"]["round_000"]["calibration"]
    assert found["temperature"] != 1
    assert found["loss_before"] != found["loss_after"] and found["ece_before"] != found["ece_after"]
    first, second = calibration_lines(result)
    assert first.startswith("supervised: temperature 1.00: loss ")
    assert f"loss {found['loss_before']:.3f} to {found['loss_after']:.3f} nats" in second


@pytest.mark.parametrize(("left", "told"), [(4, False), (5, True)])
def test_a_class_of_under_five_test_planes_is_left_out(left, told, planes, models, tmp_path):
    noise = [row for row in planes.rows if row.label == NOISE and row.patient in "tu"]
    fewer = replace(planes, rows=[row for row in planes.rows if row not in noise[left:]])
    found = evaluate(Config(), fewer, SPLITS, models, tmp_path)["models"]["supervised"]
    assert (found["recall"][NOISE] is not None, found["noise_by_grey"] is not None) == (told, told)
    assert found["recall"][CORONAL] > 0.9


def test_noise_is_told_by_its_grey_level_here(planes, models, tmp_path):
    result = evaluate(Config(), planes, SPLITS, models, tmp_path)
    assert {metrics["noise_by_grey"] for metrics in result["models"].values()} == {1.0}


def test_twice_is_the_same_bytes_and_progress_ends(planes, models, tmp_path):
    events = []
    for name in "12":
        evaluate(Config(), planes, SPLITS, models, tmp_path / name, lambda *event: events.append(event))
    assert (tmp_path / "1" / EVALUATION).read_bytes() == (tmp_path / "2" / EVALUATION).read_bytes()
    assert events[-1] == (96, 96)


@pytest.mark.parametrize("patient", ["a", "v"], ids=["learnt from", "chosen by"])
def test_a_model_that_saw_a_test_patient_is_refused_by_name(patient, planes, models, tmp_path):
    moved = splits_of({**SPLITS.sides, patient: TEST})
    words = rf"model supervised \(\w{{12}}\): made from patients {patient} \(test\), by"
    with pytest.raises(InputError, match=words):
        evaluate(Config(), planes, moved, models, tmp_path)


def test_planes_in_which_one_scan_has_two_patients_are_refused(planes, models, tmp_path):
    rows = [replace(row, volume="one scan") if row.patient in "at" else row for row in planes.rows]
    with pytest.raises(InputError, match=r"volume one scan of patients a \(train\), t \(test\), by"):
        evaluate(Config(), replace(planes, rows=rows), SPLITS, models, tmp_path)


def test_planes_without_a_test_patient_are_refused(planes, models, tmp_path):
    nobody = splits_of({**dict.fromkeys("abctu", TRAIN), "v": VALIDATION})
    with pytest.raises(InputError, match="holds none of a test patient"):
        evaluate(Config(), planes, nobody, models, tmp_path)
