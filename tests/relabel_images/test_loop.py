"""The loop's decisions on planted ledgers: every stop reason is reached, and its rounds are counted."""

import csv
from itertools import cycle

import pytest

from components.open_round.stage import GO, SEALED, STOP, open_round, round_ids
from components.relabel_images.stage import Config, relabel_images
from components.shared.faults import InputError
from components.shared.ledger import Ledger
from components.shared.pool import accepted_labels, pool_of
from components.shared.rounds import (
    MAX_ROUNDS,
    NO_GAIN,
    NOTHING_ACCEPTED,
    POOL_EMPTY,
    STABLE,
    best_round,
    unsteady,
)

SETTINGS = {"confidence_threshold": 0.75, "relabel": "all"}
POOL = [f"synthetic/{k}.png" for k in range(10)]


def begin(tmp_path, **changes):
    rule = {"max_rounds": 4, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
    ledger = Ledger(state_uri=str(tmp_path / "state"), run="r")
    ledger.begin({"rule": {**rule, **changes}})
    return ledger


def classifier(loss):
    validation = {"mean_patient_loss": loss, "accuracy": 0.9}
    return {"labelled": 20, "pseudo": {}, "validation": validation, "digest": "d"}


def score(folder, confidences, label=None):
    """Write predictions of images -> confidence as classify_images does, of the two classes in turn."""
    label = label or dict(zip(confidences, cycle(("coronal", "sagittal"))))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "coronal", "sagittal", "noise", "label", "confidence"])
        labels = label if isinstance(label, dict) else dict.fromkeys(confidences, label)
        writer.writerows([image, 0, 0, 0, labels[image], value] for image, value in confidences.items())
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
    answers = play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.9 if image < POOL[5 - k] else 0.1)
    assert answers == [GO, GO, GO]
    assert [entry["stop_reason"] for entry in ledger.rounds()] == ["", "", MAX_ROUNDS]


def test_no_gain_on_validation_patients_ends_the_loop(tmp_path):
    ledger = begin(tmp_path, max_rounds=4)
    answers = play(
        tmp_path, ledger, [0.5, 0.4, 0.45, 0.1, 0.1], lambda k, image: 0.9 if image < POOL[5 - k] else 0.1
    )
    assert answers == [GO, GO, GO, STOP, STOP]
    assert [entry["stop_reason"] for entry in ledger.rounds()] == ["", "", NO_GAIN]
    assert best_round(ledger.rounds(), ledger.rule()) == 1


def test_a_used_up_pool_ends_the_loop(tmp_path):
    ledger = begin(tmp_path, relabel="remaining")
    answers = play(
        tmp_path, ledger, [0.5, 0.4, 0.3, 0.2, 0.1], lambda k, image: 0.9 if k or image < POOL[5] else 0.1
    )
    assert answers == [GO, GO, GO, STOP, STOP]
    rounds = ledger.rounds()
    assert [entry["stop_reason"] for entry in rounds] == ["", "", POOL_EMPTY]
    assert [entry["pool"] for entry in rounds] == [10, 5, 0]
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


def test_an_accepted_set_that_stays_ends_the_loop_and_its_images_were_trained_on(tmp_path):
    ledger = begin(tmp_path)
    answers = play(tmp_path, ledger, [0.5, 0.4], lambda k, image: 0.9 if image < POOL[5] else 0.1)
    assert answers == [GO, GO, STOP, STOP, STOP]
    assert [entry["stop_reason"] for entry in ledger.rounds()] == ["", STABLE]
    assert [row.status for row in ledger.labels(1)] == ["scored"] * 5 + ["below"] * 5


def test_where_round_0_accepts_nothing_it_is_the_last_and_the_best(tmp_path):
    ledger = begin(tmp_path)
    assert play(tmp_path, ledger, [0.5], lambda k, image: 0.1) == [GO, STOP, STOP, STOP, STOP]
    [entry] = ledger.rounds()
    assert (entry["stop_reason"], entry["below"]) == (NOTHING_ACCEPTED, 10)
    assert best_round([entry], ledger.rule()) == 0


def test_a_round_says_what_it_changed_of_the_one_before(tmp_path):
    ledger, pool = begin(tmp_path, patience=5), POOL[:6]
    first = {image: ("coronal", "sagittal")[k % 2] for k, image in enumerate(pool)}
    second = {**first, pool[0]: "sagittal", pool[1]: "coronal", pool[5]: "noise"}
    for k, labels in enumerate((first, second)):
        confidences = {**dict.fromkeys(pool, 0.9), pool[1 + k]: 0.5}  # first 1, then 2 is not accepted
        folder = score(tmp_path / f"p{k}", confidences, labels)
        relabel_images(Config(round=k, **SETTINGS), ledger, folder, classifier(0.5 - k / 10), "run")
    said = [
        {name: entry[name] for name in ("changed", "flips", "evicted", "taught", "taught_flips")}
        for entry in ledger.rounds()
    ]
    assert said[0] == {"changed": None, "flips": 0, "evicted": 0, "taught": 0, "taught_flips": 0}
    # accepted: 0 2 3 4 5, then 0 (flipped) 1 3 4: of 0c 0s 1 2 3 4 5, five are of one round alone
    assert said[1] == {
        "changed": pytest.approx(5 / 7), "flips": 3, "evicted": 2, "taught": 5, "taught_flips": 2
    }  # fmt: skip


def test_shuffled_labels_are_noticed_in_their_round_and_in_the_next(tmp_path, capsys):
    ledger, pool = begin(tmp_path, patience=5), [f"synthetic/{k:03}.png" for k in range(200)]
    labels = {image: ("coronal", "sagittal")[k % 2] for k, image in enumerate(pool)}
    for k in range(4):
        unsure = {pool[k]: 0.5}  # so that no two rounds accept the same
        folder = score(tmp_path / f"p{k}", {**dict.fromkeys(pool, 0.9), **unsure}, labels)
        config = Config(round=k, **SETTINGS, shuffle_seed=7 if k == 2 else None)
        relabel_images(config, ledger, folder, classifier(0.5 - k / 10), "run")
        warned = "warning" in capsys.readouterr().out
        assert warned == (k in {2, 3})
    assert [bool(unsteady(entry)) for entry in ledger.rounds()] == [False, False, True, True]


def test_the_thresholds_and_the_cap_are_sealed_with_the_round(tmp_path):
    ledger, pool = begin(tmp_path), [f"synthetic/{k:03}.png" for k in range(60)]
    labels = {image: "sagittal" if k < 10 else "coronal" for k, image in enumerate(pool)}
    folder = score(tmp_path / "p", {image: 0.8 + k / 1000 for k, image in enumerate(pool)}, labels)
    config = Config(round=0, **SETTINGS, threshold_rule="adaptive", max_class_ratio=2.0)
    entry = relabel_images(config, ledger, folder, classifier(0.5), "run")
    assert entry["thresholds"] == {"coronal": 0.75, "sagittal": pytest.approx(0.75 * 0.2 / 1.8)}
    assert (entry["accepted"], entry["capped"]) == ({"coronal": 20, "sagittal": 10}, 30)
    capped = [row.image for row in ledger.labels(0) if row.status == "capped"]
    assert capped == pool[10:40], "the least sure"


def test_a_repeated_run_finds_its_rounds_sealed(tmp_path):
    ledger = begin(tmp_path, max_rounds=2)
    play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.9 if image < POOL[5 - k] else 0.1)
    assert [open_round(ledger, k, "again") for k in range(3)] == [SEALED] * 3


def test_a_round_whose_predecessor_is_missing_is_refused(tmp_path):
    ledger = begin(tmp_path)
    with pytest.raises(InputError, match="round 2: round 0 is not sealed"):
        open_round(ledger, 2, "run")


def test_no_round_overrules_an_expert(tmp_path):
    ledger = begin(tmp_path, max_rounds=2, patience=9)
    ledger.keep_expert_labels(
        "number,image,generator,predicted,confidence,label\n"
        f"1,{POOL[0]},g,coronal,0.1,sagittal\n2,{POOL[1]},g,coronal,0.1,none\n"
    )
    play(tmp_path, ledger, [0.5, 0.4, 0.3], lambda k, image: 0.1 if image == POOL[0] else 0.99)
    assert accepted_labels(ledger, 1)[POOL[0]] == "sagittal"
    for number in range(len(ledger.rounds())):
        labels = {row.image: row for row in ledger.labels(number)}
        assert (labels[POOL[0]].label, labels[POOL[0]].confidence) == ("sagittal", 1.0)
        assert labels[POOL[1]].status == "rejected"
