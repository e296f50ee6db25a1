"""Patients are known by their scans, counted in their folds, and the least sure training tells the reach."""

from dataclasses import replace

import numpy as np
import pytest

from components.shared.comparisons import averaged, compare, training_noise
from components.shared.faults import InputError
from components.shared.intervals import difference_interval, mean_interval
from components.shared.labels import PATIENT, labelled_rows
from components.shared.ledger import Ledger
from components.shared.planes import CLASSES, NOISE, PlaneRow
from components.shared.splits import FOLDS, SPLITS, Splits
from components.shared.study import ARMS, Grid
from tests.drawn_planes import SPLITS as SIDES
from tests.drawn_planes import write_planes


@pytest.mark.parametrize("sizes", [[8, 2, 2], [3, 3, 3], [1, 9]])
def test_trainings_of_a_large_fold_count_for_its_patients(sizes):
    """Of unequal folds the mean over patients is not the mean over folds, and so is what trainings add."""
    rng, folds_P = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    means, told = [], []
    for _ in range(4000):
        trained_KP = rng.normal(0, 0.05, (3, len(sizes)))[:, folds_P]
        means.append(trained_KP.mean())
        told.append(training_noise(trained_KP, folds_P).variance)
    assert np.mean(told) == pytest.approx(np.var(means), rel=0.1)


@pytest.mark.parametrize("gans", [[], [0, 1, 0]])
def test_a_comparison_has_the_noise_of_its_folds_and_gans(gans):
    rng, folds_P = np.random.default_rng(3), np.array([0, 0, 0, 0, 1, 1, 1, 2])
    one_KP, other_KP = rng.uniform(0.6, 0.9, (3, 8)), rng.uniform(0.5, 0.8, (3, 8))
    found = compare(one_KP, other_KP, folds_P, 0, gans)
    noise = training_noise(one_KP - other_KP, folds_P, gans)
    expected = difference_interval(averaged(one_KP - other_KP), noise)
    assert found.interval == pytest.approx(tuple(expected))
    assert found.other_low == pytest.approx(min(mean_interval(each_P)[0] for each_P in other_KP))


def test_which_patients_are_labelled_does_not_depend_on_their_names():
    """They are pseudonyms under a secret key: another key would label other patients."""
    rows = [
        PlaneRow(image=f"{label}/{k}_{n}.png", label=label, patient=f"p{k}", volume=f"scan {k}")
        for k in range(10)
        for label in CLASSES
        for n in range(6)
    ]
    renamed = [replace(row, patient=f"{9 - int(row.patient[1])}q") for row in rows]
    for seed in range(5):
        told, again = (labelled_rows(each, 0.3, PATIENT, seed) for each in (rows, renamed))
        assert [row.image for row in told] == [row.image for row in again]


def test_a_scan_that_shows_only_noise_is_one_patients_too(tmp_path):
    planes = write_planes(tmp_path, sorted(SIDES.sides), per_class=2)
    rows = [
        replace(row, volume=f"scan of {'a' if row.label == NOISE else row.patient}") for row in planes.rows
    ]
    with pytest.raises(InputError, match="volume scan of a of patients a "):
        SIDES.require_apart(replace(planes, rows=rows))


def test_a_ledger_is_opened_with_everybody_whom_it_trains_on(tmp_path):
    ledger = Ledger(state_uri=str(tmp_path), run="r")
    ledger.begin({"folds": {"a": 2}, "sides": {"a": "train"}})
    with pytest.raises(InputError, match=r"other sides of patients n \(none, now train\)"):
        ledger.require_same_sides(Splits({"a": 2, "n": 3}, {"a": "train", "n": "train"}))


def test_a_cell_with_a_pool_begins_with_arm_c_of_its_fold_fraction_and_seed():
    grid = Grid(folds=2, fractions=[0.2, 0.5], seeds=3, gans=2, arms="ABCDEFG")
    for cell in grid.all_cells():
        if ARMS[cell.arm].pool:
            assert cell.start == replace(cell, arm="C")


def test_a_fold_is_tested_when_it_is_its_turn_and_the_next_one_validates():
    splits = Splits({f"p{k}": k for k in range(FOLDS)}, {})
    for fold in range(FOLDS):
        sides = splits.testing(fold).sides
        assert (sides[f"p{fold}"], sides[f"p{(fold + 1) % FOLDS}"]) == ("test", "validation")
        assert sorted(sides.values()) == sorted([*SPLITS, "train", "train"])
