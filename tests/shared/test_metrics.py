import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.shared.metrics import (
    Predictions,
    _patient_counts,
    accuracy,
    balanced_accuracy,
    confusion,
    grey_threshold,
    log_losses,
    macro_f1,
    mean_patient_loss,
    measure,
    noise_by_grey,
    patient_interval,
    per_patient,
    plane_interval,
    recall,
    shares_of_patients,
)
from components.shared.planes import CLASSES, NOISE

reference = pytest.importorskip("sklearn.metrics")


@st.composite
def predictions(draw, least=1):
    count = draw(st.integers(least, 40))
    weights_NC = draw(arrays.arrays(np.float64, (count, 3), elements=st.floats(0.01, 1.0)))
    return Predictions(
        probabilities=weights_NC / weights_NC.sum(axis=1, keepdims=True),
        truth=draw(arrays.arrays(np.int64, count, elements=st.integers(0, 2))),
        patients=draw(arrays.arrays(np.dtype("<U1"), count, elements=st.sampled_from("abcd"))),
    )


@given(predictions())
def test_confusion_accuracy_f1_and_recall_are_sklearns(found):
    table = confusion(found.truth, found.predicted)
    assert np.array_equal(table, reference.confusion_matrix(found.truth, found.predicted, labels=[0, 1, 2]))
    assert accuracy(table) == pytest.approx(reference.accuracy_score(found.truth, found.predicted))
    assert macro_f1(table) == pytest.approx(
        reference.f1_score(found.truth, found.predicted, average="macro", zero_division=0)
    )
    for place, label in enumerate(CLASSES):
        present = (found.truth == place).any()
        expected = (
            reference.recall_score(found.truth, found.predicted, labels=[place], average="macro")
            if present
            else None
        )
        assert recall(table)[label] == (pytest.approx(expected) if present else None)


@given(predictions())
def test_the_loss_is_sklearns(found):
    expected = reference.log_loss(found.truth, found.probabilities, labels=[0, 1, 2])
    assert log_losses(found).mean() == pytest.approx(expected)


def test_the_loss_of_a_class_the_model_does_not_know_is_finite():
    found = Predictions(
        probabilities=np.array([[0.5, 0.5, 0.0]]), truth=np.array([2]), patients=np.array(["a"])
    )
    assert log_losses(found)[0] == pytest.approx(-np.log(1e-7))


@given(predictions())
def test_balanced_accuracy_looks_at_two_classes_alone(found):
    pair_N = found.truth < 2
    both = {0, 1} <= set(found.truth)
    likelier_N = found.probabilities[pair_N, :2].argmax(axis=1)
    expected = reference.balanced_accuracy_score(found.truth[pair_N], likelier_N) if both else None
    assert balanced_accuracy(found) == (pytest.approx(expected) if both else None)


@given(predictions())
def test_a_patient_counts_once_however_many_planes_he_has(found):
    twice = Predictions(
        probabilities=np.concatenate([found.probabilities, found.probabilities[found.patients == "a"]]),
        truth=np.concatenate([found.truth, found.truth[found.patients == "a"]]),
        patients=np.concatenate([found.patients, found.patients[found.patients == "a"]]),
    )
    assert mean_patient_loss(twice) == pytest.approx(mean_patient_loss(found))
    losses = [values["loss"] for values in per_patient(found).values()]
    assert mean_patient_loss(found) == pytest.approx(np.mean(losses))


@given(predictions(least=10))
def test_the_interval_holds_the_value_and_lies_on_the_scale(found):
    interval, value = patient_interval(found), balanced_accuracy(found)
    if interval is not None:
        assert 0 <= interval[0] <= value <= interval[1] <= 1
        assert plane_interval(found)[0] <= value <= plane_interval(found)[1]


@given(predictions(least=10))
def test_patients_shares_average_to_the_balanced_accuracy_of_all_planes(found):
    counts_P4 = _patient_counts(found)
    if ((counts_P4[:, [1, 3]] > 0).sum(axis=0) > 1).all():
        assert shares_of_patients(counts_P4).mean() == pytest.approx(balanced_accuracy(found))


def test_patients_of_equal_length_share_their_own_balanced_accuracy():
    counts_P4 = np.array([[9, 10, 18, 20], [5, 10, 20, 20], [10, 10, 4, 20]])
    assert shares_of_patients(counts_P4) == pytest.approx([0.9, 0.75, 0.6])


def test_names_of_patients_do_not_count():
    rng = np.random.default_rng(0)
    truth_N, patients_N = np.tile([0, 1], 40), np.repeat(["d", "a", "c", "b"], 20)
    found = Predictions(probabilities=rng.random((80, 3)), truth=truth_N, patients=patients_N)
    renamed = np.char.translate(patients_N, str.maketrans("abcd", "dabc"))
    again = Predictions(probabilities=found.probabilities, truth=truth_N, patients=renamed)
    assert patient_interval(found) == patient_interval(again)


def test_under_three_patients_of_a_class_have_no_interval():
    found = Predictions(
        probabilities=np.eye(3)[[0, 1, 0, 1, 0]],
        truth=np.array([0, 1, 0, 1, 0]),
        patients=np.array(list("aabbc")),
    )
    assert patient_interval(found) is None
    assert measure(found)["balanced_accuracy_interval"] is None
    assert plane_interval(found) == [1, 1]  # what calling planes independent claims of three patients
    assert plane_interval(found.of(found.truth == 0)) is None


def test_patients_who_differ_widen_the_interval_and_equal_ones_do_not_close_it():
    truth_N = np.tile([0, 1], 40)
    patients_N = np.repeat([f"{n}" for n in range(8)], 10)
    right_NC = np.eye(3)[truth_N]
    wrong_NC = np.where((patients_N < "2")[:, None], np.eye(3)[1 - truth_N], right_NC)
    equal = patient_interval(Predictions(probabilities=right_NC, truth=truth_N, patients=patients_N))
    differ = patient_interval(Predictions(probabilities=wrong_NC, truth=truth_N, patients=patients_N))
    # With eight patients who are all right, one in four of all there are may yet be wrong throughout.
    assert 0.6 < equal[0] < 0.8 and equal[1] == 1
    assert differ[0] < 0.5 and differ[1] > 0.9


@given(
    arrays.arrays(np.float64, 20, elements=st.integers(0, 8).map(float)),
    arrays.arrays(np.bool_, 20, elements=st.booleans()),
)
def test_no_other_grey_level_tells_noise_better(grey_N, noise_N):
    threshold = grey_threshold(grey_N, noise_N)
    if noise_N.all() or not noise_N.any():
        assert threshold is None
        return

    def worth(level: float) -> float:
        return (grey_N[noise_N] <= level).mean() + (grey_N[~noise_N] > level).mean()

    assert worth(threshold) == pytest.approx(max(worth(level) for level in grey_N))


def test_recall_of_noise_by_grey():
    truth_N = np.array([0, 1, 2, 2])
    assert noise_by_grey(np.array([50.0, 60, 3, 20]), truth_N, 10.0) == 0.5
    assert noise_by_grey(np.array([50.0, 60, 3, 20]), truth_N, None) is None
    assert noise_by_grey(np.array([50.0]), np.array([0]), 10.0) is None


@given(predictions())
def test_every_metric_is_plain_json(found):
    import json

    again = json.loads(json.dumps(measure(found), allow_nan=False))
    assert again["confusion"]["classes"] == list(CLASSES)
    assert again["error_rate"] == pytest.approx(1 - again["accuracy"])
    assert NOISE in again["recall"]
