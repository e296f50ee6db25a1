import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import log_softmax

from components.shared.calibration import calibration_error, mean_loss, tempered
from components.shared.faults import InputError
from components.train_classifier.temperature import calibrate, fit_temperature

scores = arrays.arrays(np.float64, (20, 3), elements=st.floats(-8, 8))
truths = arrays.arrays(np.int64, 20, elements=st.integers(0, 2))


def drawn(planes, over_confidence, seed=0):
    """Logits whose truth was drawn from their softmax, then multiplied."""
    rng = np.random.default_rng(seed)
    logits_NC = rng.normal(0, 2, (planes, 3))
    shares_NC = tempered(logits_NC, 1.0)
    truth_N = (rng.random((planes, 1)) > shares_NC.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return logits_NC * over_confidence, truth_N


@given(scores, truths)
def test_calibration_never_raises_the_loss_on_its_own_planes(scores_NC, truth_N):
    temperature = fit_temperature(scores_NC, truth_N)
    assert mean_loss(scores_NC, truth_N, temperature) <= mean_loss(scores_NC, truth_N) + 1e-6


@given(scores, st.floats(0.1, 10))
def test_a_temperature_changes_no_decision(scores_NC, temperature):
    shares_NC = tempered(scores_NC, temperature)
    assert shares_NC.sum(axis=1) == pytest.approx(1)
    chosen = scores_NC.argmax(axis=1)
    assert shares_NC[np.arange(20), chosen] == pytest.approx(shares_NC.max(axis=1))


@given(scores, truths)
def test_logits_and_log_probabilities_calibrate_alike(scores_NC, truth_N):
    from_logits = fit_temperature(scores_NC, truth_N)
    assert fit_temperature(log_softmax(scores_NC, axis=1), truth_N) == pytest.approx(from_logits, rel=1e-3)


@pytest.mark.parametrize("over_confidence", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_planted_is_found(over_confidence):
    assert fit_temperature(*drawn(20_000, over_confidence)) == pytest.approx(over_confidence, rel=0.05)


def test_calibration_lowers_loss_and_error_of_an_over_confident_model_on_planes_it_did_not_see():
    temperature = fit_temperature(*drawn(3000, 3.0))
    scores_NC, truth_N = drawn(3000, 3.0, seed=1)
    assert mean_loss(scores_NC, truth_N, temperature) < 0.8 * mean_loss(scores_NC, truth_N)
    before, after = (calibration_error(tempered(scores_NC, by), truth_N) for by in (1.0, temperature))
    assert before > 0.1 and after < 0.03


def test_the_error_of_one_confidence_is_its_distance_from_the_share_of_right_planes():
    shares_NC = np.tile([0.9, 0.1, 0.0], (10, 1))
    truth_N = np.array([0] * 6 + [1] * 4)
    assert calibration_error(shares_NC, truth_N) == pytest.approx(0.3)


def test_the_error_of_as_few_planes_as_bins_by_hand():
    shares_NC = np.array([[0.55, 0.45, 0], [0.58, 0.42, 0], [0.95, 0.05, 0], [0.97, 0.03, 0]])
    truth_N = np.array([0, 1, 0, 0])
    expected = (abs(0.55 - 1) + abs(0.58 - 0) + abs(0.95 - 1) + abs(0.97 - 1)) / 4
    assert calibration_error(shares_NC, truth_N) == pytest.approx(expected)


@given(st.permutations(range(20)), scores, truths)
def test_the_order_of_planes_does_not_count(order, scores_NC, truth_N):
    shares_NC = np.round(tempered(scores_NC, 1.0), 1)
    again = calibration_error(shares_NC[order], truth_N[order])
    assert again == pytest.approx(calibration_error(shares_NC, truth_N))


def test_a_model_that_is_never_wrong_keeps_its_temperature():
    shares_NC = np.array([[0.98, 0.02, 0.0], [0.1, 0.9, 0.0]])
    found = calibrate(shares_NC, np.array([0, 1]))
    assert (found.temperature, found.wrong, found.note) == (1.0, 0, "no validation plane is wrong")
    assert found.gauge.loss_before == found.gauge.loss_after


def test_one_wrong_plane_in_thousands_never_sharpens_beyond_four_times():
    shares_NC = np.tile([0.9, 0.1, 0.0], (5000, 1))
    found = calibrate(shares_NC, np.array([1] + [0] * 4999))
    assert found.wrong == 1
    assert 0.25 <= found.temperature < 0.26
    assert np.isfinite(found.gauge.loss_after)


def test_without_a_plane_the_temperature_stays_and_it_is_said():
    found = calibrate(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert (found.temperature, found.note, found.as_json()["loss_before"]) == (
        1.0,
        "no validation plane",
        None,
    )


def test_what_was_done_to_an_over_confident_model_is_written_down():
    scores_NC, truth_N = drawn(3000, 3.0)
    found = calibrate(tempered(scores_NC, 1.0), truth_N).as_json()
    assert found["temperature"] == pytest.approx(3, rel=0.1)
    assert found["loss_after"] < found["loss_before"] and found["ece_after"] < found["ece_before"]
    assert (found["planes"], found["note"]) == (3000, "")


def test_no_planes_are_refused():
    with pytest.raises(InputError, match="no plane to calibrate on"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))
