from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.snapshots import VolumeEntry, write_snapshot
from components.shared.splits import SPLITS, Splits
from components.split_patients.stage import FOLDS, Config, assign, split_patients


def snapshot_of(state, *patients):
    entries = [
        VolumeEntry(name=f"{p}_{n}.nrrd", size=1, digest=f"sha256:{p}{n}", patient=p, session=str(n), site="")
        for p in patients
        for n in range(2)
    ]
    return Config(state_uri=str(state), snapshot_digest=write_snapshot(str(state), entries))


def names(first, last):
    return [f"p{number:02}" for number in range(first, last)]


def test_every_patient_of_the_snapshot_has_one_side(tmp_path):
    splits = split_patients(snapshot_of(tmp_path, *names(0, 12)), tmp_path / "out" / "splits.csv")
    assert sorted(splits.sides) == names(0, 12)
    assert {side: len(splits.patients(side)) for side in SPLITS} == {"train": 6, "validation": 3, "test": 3}
    assert Splits.read(tmp_path / "out" / "splits.csv") == splits


def test_known_patients_keep_their_side_when_others_join_or_leave(tmp_path):
    first = split_patients(snapshot_of(tmp_path, *names(5, 10)), tmp_path / "a")
    more = split_patients(snapshot_of(tmp_path, *names(0, 20)), tmp_path / "b")
    assert {p: more.folds[p] for p in first.folds} == dict(first.folds)
    fewer = split_patients(snapshot_of(tmp_path, *names(2, 17)), tmp_path / "c")
    assert fewer.folds == {p: more.folds[p] for p in names(2, 17)}
    assert len(list((tmp_path / "splits").iterdir())) == 2, "a version is written only when somebody joins"


def test_three_patients_are_one_of_each_side(tmp_path):
    splits = split_patients(snapshot_of(tmp_path, "a", "b", "c"), tmp_path / "out")
    assert sorted(splits.sides.values()) == sorted(SPLITS)


def test_a_snapshot_without_a_test_patient_is_refused(tmp_path):
    splits = split_patients(snapshot_of(tmp_path, *names(0, 10)), tmp_path / "a")
    others = [patient for patient, side in splits.sides.items() if side != "test"]
    with pytest.raises(InputError, match="is in test"):
        split_patients(snapshot_of(tmp_path, *others), tmp_path / "b")


def test_runs_at_the_same_time_agree(tmp_path):
    def split(number):
        config = snapshot_of(tmp_path, *names(number, number + 8))
        return split_patients(config, tmp_path / f"out{number}")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(split, range(8)))
    last = split_patients(snapshot_of(tmp_path, *names(0, 15)), tmp_path / "last")
    for splits in found:
        assert splits.folds == {patient: last.folds[patient] for patient in splits.folds}


@given(st.sets(st.text(min_size=1), max_size=30), st.sets(st.text(min_size=1), max_size=30))
def test_folds_are_balanced_and_never_change(before, after):
    known = assign({}, before)
    folds = assign(known, after)
    assert {p: folds[p] for p in known} == known
    assert set(folds) == before | after
    sizes = [list(folds.values()).count(fold) for fold in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1
