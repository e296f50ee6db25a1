"""The rules of the rounds, as pure functions of what was sealed."""

import pytest

from components.shared.rounds import (
    MAX_ROUNDS,
    NO_GAIN,
    NOTHING_ACCEPTED,
    POOL_EMPTY,
    STABLE,
    RoundRule,
    best_round,
    stop_reason,
    unsteady,
)


def rule(**changes):
    values = {"max_rounds": 5, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
    return RoundRule(**{**values, **changes})


def sealed(losses, **changes):
    """Return a round a loss, which other values may be given, one a round."""
    usual = {"below": 10, "capped": 0, "changed": 0.5, "accepted": {"coronal": 3}, "stop_reason": ""}
    return [
        {"round": k, "validation": {"mean_patient_loss": loss}, **usual}
        | {name: values[k] for name, values in changes.items()}
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


def test_a_capped_image_is_still_in_the_pool():
    rounds = sealed([0.5, 0.4], below=[0, 0], capped=[1, 0])
    assert stop_reason(rounds, rule(relabel="remaining")) == ""


@pytest.mark.parametrize(("changed", "expected"), [(0.0099, STABLE), (0.01, "")])
def test_an_accepted_set_that_changes_by_under_a_hundredth_ends_the_loop(changed, expected):
    assert stop_reason(sealed([0.5, 0.4], changed=[None, changed]), rule()) == expected


def test_where_nothing_is_accepted_the_next_round_would_be_round_0_again():
    nothing = {"coronal": 0, "sagittal": 0}
    assert stop_reason(sealed([0.5], accepted=[nothing]), rule()) == NOTHING_ACCEPTED
    later = sealed([0.5, 0.4], accepted=[{"coronal": 3}, nothing], changed=[None, 1.0])
    assert stop_reason(later, rule()) == NOTHING_ACCEPTED
    assert best_round(later, rule()) == 1


def test_a_reason_that_was_sealed_stands():
    rounds = sealed([0.5, 0.4], stop_reason=["", STABLE])
    assert stop_reason(rounds, rule()) == STABLE


@pytest.mark.parametrize(("again", "flips", "warned"), [(100, 21, True), (100, 20, False), (19, 19, False)])
def test_labels_that_contradict_the_round_before_are_warned_of(again, flips, warned):
    said = unsteady({"round": 2, "taught": again, "taught_flips": flips})
    assert (f"the {again} images" in said and f"gives {flips} another label" in said) == warned
    assert warned or said == ""


def test_best_round_is_a_pseudo_label_round_by_validation_loss():
    rounds = sealed([0.1, 0.5, 0.3, 0.4])
    assert best_round(rounds, rule()) == 2
    assert best_round(rounds, rule(validation_patients=3)) == 3
    assert best_round(rounds[:1], rule()) == 0
