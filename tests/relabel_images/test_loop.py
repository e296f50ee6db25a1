"""The loop's decisions on planted ledgers: every stop reason is reached, and its rounds are counted."""

import csv

import pytest

from components.open_round.stage import GO, SEALED, STOP, open_round, round_ids
from components.relabel_images.stage import Config, relabel_images
from components.shared.faults import InputError
from components.shared.ledger import Ledger
from components.shared.pool import accepted_labels, pool_of
from components.shared.rounds import MAX_ROUNDS, NO_GAIN, POOL_EMPTY, best_round

POOL = [f"synthetic/{k}.png" for k in range(10)]


def begin(tmp_path, **changes):
    rule = {"max_rounds": 4, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
    ledger = Ledger(state_uri=str(tmp_path / "state"), run="r")
    ledger.begin({"rule": {**rule, **changes}})
    return ledger


def classifier(loss):
    validation = {"mean_patient_loss": loss, "accuracy": 0.9}
    return {"labelled": 20, "pseudo": {}, "validation": validation, "digest": "d"}


def score(folder, confidences, label="coronal"):
    """Write predictions of images -> confidence as classify_images does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "coronal", "sagittal", "noise", "label", "confidence"])
        writer.writerows([image, 0, 0, 0, label, value] for image, value in confidences.items())
    return folder


def play(tmp_path, ledger, losses, confidence_of):
    """Run the whole loop with given validation losses and confidences; return the gates' answers."""
    rule, answers = ledger.rule(), []
    for k in round_ids(rule.max_rounds):
        answers.append(open_round(ledger, k, "run"))
        if answers[-1] == GO:
            pool = pool_of(ledger, k, rule.relabel, POOL)
            folder = score(tmp_path / f"p{k}", {image: confidence_of(k, image) for image in pool})
            config = Config(round=k, confidence_threshold=0.75, relabel=rule.relabel)
            relabel_images(config, ledger, folder, classifier(losses[k]), "run")
    return answers


def test_max_rounds_ends_the_loop(tmp_path):
    ledger = begin(tmp_path, max_rounds=2)
    answers = play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.9 if image < POOL[5] else 0.1)
    assert answers == [GO, GO, GO]
    assert [entry["stop_reason"] for entry in ledger.rounds()] == ["", "", MAX_ROUNDS]


def test_no_gain_on_validation_patients_ends_the_loop(tmp_path):
    ledger = begin(tmp_path, max_rounds=4)
    answers = play(
        tmp_path, ledger, [0.5, 0.4, 0.45, 0.1, 0.1], lambda k, image: 0.9 if image < POOL[5] else 0.1
    )
    assert answers == [GO, GO, GO, STOP, STOP]
    assert [entry["stop_reason"] for entry in ledger.rounds()] == ["", "", NO_GAIN]
    assert best_round(ledger.rounds(), ledger.rule()) == 1


def test_a_used_up_pool_ends_the_loop(tmp_path):
    ledger = begin(tmp_path, relabel="remaining")
    answers = play(tmp_path, ledger, [0.5, 0.4, 0.3, 0.2, 0.1], lambda k, image: 0.9 if k == 1 else 0.1)
    assert answers == [GO, GO, GO, STOP, STOP]
    rounds = ledger.rounds()
    assert [entry["stop_reason"] for entry in rounds] == ["", "", POOL_EMPTY]
    assert [entry["pool"] for entry in rounds] == [10, 10, 0]
    assert set(accepted_labels(ledger, 2)) == set(POOL)


def test_relabelling_all_judges_every_image_each_round(tmp_path):
    ledger = begin(tmp_path, max_rounds=2)
    play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.9 if (image < POOL[5]) == (k == 0) else 0.1)
    assert [entry["pool"] for entry in ledger.rounds()] == [10, 10, 10]
    assert set(accepted_labels(ledger, 1)).isdisjoint(accepted_labels(ledger, 2))


def test_remaining_keeps_what_was_accepted(tmp_path):
    ledger = begin(tmp_path, relabel="remaining", max_rounds=2)
    play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.9 if image == POOL[k] else 0.1)
    assert [entry["pool"] for entry in ledger.rounds()] == [10, 9, 8]
    assert set(accepted_labels(ledger, 2)) == {POOL[0], POOL[1]}


def test_nothing_is_accepted_after_the_last_training(tmp_path):
    ledger = begin(tmp_path, max_rounds=1)
    play(tmp_path, ledger, [0.5, 0.4], lambda k, image: 0.9)
    assert [entry["newly_accepted"] for entry in ledger.rounds()] == [10, 0]
    assert {row.status for row in ledger.labels(1)} == {"scored"}


def test_images_outside_gan_classes_are_rejected_and_never_trained_on(tmp_path):
    ledger = begin(tmp_path)
    folder = score(tmp_path / "p", dict.fromkeys(POOL, 0.99), label="noise")
    config = Config(round=0, confidence_threshold=0.75, relabel="all")
    sealed = relabel_images(config, ledger, folder, classifier(0.5), "run")
    assert (sealed["rejected"], sealed["newly_accepted"]) == (10, 0)
    assert accepted_labels(ledger, 1) == {}


def test_confidence_at_the_threshold_is_not_above_it(tmp_path):
    ledger = begin(tmp_path)
    folder = score(tmp_path / "p", {POOL[0]: 0.75, POOL[1]: 0.7500001})
    config = Config(round=0, confidence_threshold=0.75, relabel="all")
    assert relabel_images(config, ledger, folder, classifier(0.5), "run")["below"] == 1
    assert set(accepted_labels(ledger, 1)) == {POOL[1]}


def test_a_repeated_run_finds_its_rounds_sealed(tmp_path):
    ledger = begin(tmp_path, max_rounds=2)
    play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.9)
    assert [open_round(ledger, k, "again") for k in range(3)] == [SEALED] * 3


def test_a_round_whose_predecessor_is_missing_is_refused(tmp_path):
    ledger = begin(tmp_path)
    with pytest.raises(InputError, match="round 2: round 0 is not sealed"):
        open_round(ledger, 2, "run")
