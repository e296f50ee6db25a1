from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.planes import UNCERTAIN, PlaneRow, PlaneSet, PlaneSetWriter
from components.shared.splits import SPLITS, Splits
from components.split_patients.stage import FOLDS, Config, assign, split_patients


def split(state, out, patients, uncertain=()):
    """Split the patients of a PlaneSet with two planes of each, in the order of their names here."""
    with PlaneSetWriter(folder=out / "planes", side=8) as writer:
        for patient in [*patients, *uncertain]:
            label = UNCERTAIN if patient in uncertain else "coronal"
            for number in range(2):
                row = PlaneRow(image=f"{label}/{patient}{number}.png", label=label, patient=patient)
                writer.add(np.zeros((8, 8), np.uint8), row)
    return split_patients(Config(state_uri=str(state)), PlaneSet.open(out / "planes"), out / "splits.csv")


def names(first, last):
    return [f"p{number:02}" for number in range(first, last)]


def test_everyone_with_a_plane_of_a_class_has_one_side(tmp_path):
    splits = split(tmp_path / "state", tmp_path / "out", names(0, 12), uncertain=["z"])
    assert sorted(splits.sides) == names(0, 12)
    assert {side: len(splits.patients(side)) for side in SPLITS} == {"train": 6, "validation": 3, "test": 3}
    assert Splits.read(tmp_path / "out" / "splits.csv") == splits


def test_known_patients_keep_their_side_when_others_join_or_leave(tmp_path):
    first = split(tmp_path, tmp_path / "a", names(5, 10))
    more = split(tmp_path, tmp_path / "b", names(0, 20))
    assert {p: more.folds[p] for p in first.folds} == dict(first.folds)
    fewer = split(tmp_path, tmp_path / "c", names(2, 17))
    assert fewer.folds == {p: more.folds[p] for p in names(2, 17)}
    assert len(list((tmp_path / "splits").iterdir())) == 2, "a version is written only when somebody joins"


def test_sides_do_not_depend_on_names(tmp_path):
    here = split(tmp_path / "here", tmp_path / "a", names(0, 9))
    there = split(tmp_path / "there", tmp_path / "b", [f"x{name}" for name in names(0, 9)])
    assert {f"x{name}": side for name, side in here.sides.items()} == dict(there.sides)


def test_three_patients_are_one_of_each_side(tmp_path):
    splits = split(tmp_path, tmp_path / "out", ["a", "b", "c"])
    assert sorted(splits.sides.values()) == sorted(SPLITS)


def test_planes_without_a_test_patient_are_refused(tmp_path):
    splits = split(tmp_path, tmp_path / "a", names(0, 10))
    others = [patient for patient, side in splits.sides.items() if side != "test"]
    with pytest.raises(InputError, match="is in test"):
        split(tmp_path, tmp_path / "b", others)


def test_runs_at_the_same_time_agree(tmp_path):
    split(tmp_path, tmp_path / "first", names(0, 5))  # so that every run has somebody on each side

    def run(number):
        newcomers = names(5 + number, 9 + number)
        return split(tmp_path, tmp_path / f"out{number}", [*names(0, 5), *newcomers])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(8)))
    last = split(tmp_path, tmp_path / "last", names(0, 16))
    for splits in found:
        assert splits.folds == {patient: last.folds[patient] for patient in splits.folds}


texts = st.lists(st.text(min_size=1), max_size=30)


@given(texts, texts)
def test_folds_are_balanced_and_never_change(before, after):
    known = assign({}, before)
    folds = assign(known, after)
    assert {p: folds[p] for p in known} == known
    assert set(folds) == {*before, *after}
    sizes = [list(folds.values()).count(fold) for fold in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1
