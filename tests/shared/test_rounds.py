"""The rules of the rounds, as pure functions of what was sealed."""

import pytest

from components.shared.rounds import MAX_ROUNDS, NO_GAIN, POOL_EMPTY, RoundRule, best_round, stop_reason


def rule(**changes):
    values = {"max_rounds": 5, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
    return RoundRule(**{**values, **changes})


def sealed(losses, below=None):
    below = below or [10] * len(losses)
    return [
        {"round": k, "below": below[k], "newly_accepted": 3, "validation": {"mean_patient_loss": loss}}
        for k, loss in enumerate(losses)
    ]


def test_nothing_sealed_stops_nothing():
    assert stop_reason([], rule()) == ""


def test_falling_loss_goes_on_until_max_rounds():
    losses = [0.6, 0.5, 0.4, 0.3]
    assert [stop_reason(sealed(losses[:k]), rule(max_rounds=3)) for k in range(1, 5)] == [
        "",
        "",
        "",
        MAX_ROUNDS,
    ]


@pytest.mark.parametrize(("patience", "expected"), [(1, NO_GAIN), (2, "")])
def test_patience_counts_rounds_without_gain(patience, expected):
    assert stop_reason(sealed([0.5, 0.6]), rule(patience=patience)) == expected


def test_a_gain_resets_patience():
    assert stop_reason(sealed([0.5, 0.6, 0.4, 0.45]), rule(patience=2)) == ""


def test_min_gain_makes_a_small_fall_no_gain():
    assert stop_reason(sealed([0.5, 0.49]), rule(min_gain=0.05)) == NO_GAIN


def test_under_four_validation_patients_the_loss_stops_nothing():
    assert stop_reason(sealed([0.5, 0.9, 0.9]), rule(validation_patients=3)) == ""


def test_used_up_pool_is_trained_on_before_it_stops():
    rounds = sealed([0.5, 0.4], below=[0, 0])
    remaining = rule(relabel="remaining")
    assert stop_reason(rounds[:1], remaining) == ""
    assert stop_reason(rounds, remaining) == POOL_EMPTY


def test_relabelling_all_never_uses_the_pool_up():
    assert stop_reason(sealed([0.5, 0.4], below=[0, 0]), rule(relabel="all")) == ""


def test_best_round_is_a_pseudo_label_round_by_validation_loss():
    rounds = sealed([0.1, 0.5, 0.3, 0.4])
    assert best_round(rounds, rule()) == 2
    assert best_round(rounds, rule(validation_patients=3)) == 3
    assert best_round(rounds[:1], rule()) == 0
