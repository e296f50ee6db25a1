"""Which patient may stand behind what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.planes import Seen
from components.shared.splits import FOLDS, TEST, TRAIN, VALIDATION, Splits
from components.shared.splits import SPLITS as NAMES
from tests.drawn_planes import SPLITS, write_planes


def test_who_is_named_under_another_key_is_nobody_else():
    splits = Splits({"3fa1-0000000001": 2}, {"3fa1-0000000001": TRAIN})
    with pytest.raises(InputError, match=r"^it: its patients are named under key ffff and these under 3fa1"):
        splits.require_only((TRAIN,), Seen(patients=frozenset({"ffff-0000000001"})), "it")


def test_only_patients_of_another_side_cross():
    SPLITS.require_only((TRAIN,), Seen(patients=frozenset({"a", "b", "of another data set"})), "it")
    with pytest.raises(
        InputError,
        match=r"^it: made from patients t \(test\), v \(validation\), by splits.csv \w+; valid: an",
    ):
        SPLITS.require_only((TRAIN,), Seen(patients=frozenset("avt")), "it")


def test_the_digest_is_of_the_table():
    assert Splits.parse(SPLITS.text()).digest == SPLITS.digest
    moved = Splits(SPLITS.folds, {**SPLITS.sides, "a": TEST})
    assert moved.digest != SPLITS.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,0,test\na,2,train", "patient a: listed twice; valid: one side for all sessions"),
        ("a,2,train\na,2,train", "patient a: listed twice"),
        ("a,0,testing", "patient a: split testing; valid: train, validation, test"),
        ("a,,test", "patient a: fold ; valid: 0, 1, 2, 3, 4"),
        ("a,5,test", "patient a: fold 5; valid: 0, 1, 2, 3, 4"),
        ("a,-1,test", "patient a: fold -1; valid: 0, 1, 2, 3, 4"),
    ],
)
def test_a_table_in_which_a_patient_has_no_one_side_is_refused(text, words):
    with pytest.raises(InputError, match=f"^splits.csv: {words}"):
        Splits.parse(f"patient,fold,split\n{text}\n")


@given(st.dictionaries(st.from_regex(r"[0-9a-f]{4}-[0-9a-f]{10}", fullmatch=True), st.integers(0, FOLDS - 1)))
def test_turned_about_every_patient_is_tested_once_and_nobody_is_on_two_sides(folds):
    turns = [Splits(folds, {}).testing(fold) for fold in range(FOLDS)]
    tested = [patient for splits in turns for patient in splits.patients(TEST)]
    assert sorted(tested) == sorted(folds)
    for splits in turns:
        assert sorted(p for side in NAMES for p in splits.patients(side)) == sorted(folds)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    made = write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides), per_class=4)
    return replace(made, rows=[replace(row, volume=f"scan of {row.patient}") for row in made.rows])


def test_scans_of_one_patient_each_are_apart(planes):
    SPLITS.require_apart(planes)


def test_a_scan_of_who_validates_is_none_of_those_that_train(planes):
    seen = Seen(scans=frozenset({"scan of a", "scan of v"}))
    with pytest.raises(InputError, match=r"^it: has seen scans scan of v of v \(validation\), by"):
        SPLITS.require_only((TRAIN,), seen, "it", planes)
    SPLITS.require_only((TRAIN, VALIDATION), seen, "it", planes)


def test_one_scan_under_two_patients_is_refused_by_its_content(planes):
    rows = [replace(row, volume="scan of a") if row.patient == "t" else row for row in planes.rows]
    with pytest.raises(
        InputError, match=r"^planes \w{12}: volume scan of a of patients a \(train\), t \(test\), by splits"
    ):
        SPLITS.require_apart(replace(planes, rows=rows))


def test_one_scan_under_three_patients_is_no_better(planes):
    rows = [replace(row, volume="scan of a") if row.patient in "tv" else row for row in planes.rows]
    with pytest.raises(InputError, match=r"of patients a \(train\), t \(test\), v \(validation\), by"):
        SPLITS.require_apart(replace(planes, rows=rows))


def test_more_equal_pictures_than_blank_ones_are_one_scan(planes):
    """A plane of each class may be blank in both, and no more."""
    ours = [row for row in planes.rows if row.patient == "a"][:3]
    copy = [replace(row, image=f"{row.image}2", patient="t", volume="packed anew") for row in ours]
    SPLITS.require_apart(replace(planes, rows=[*planes.rows, *copy[:2]]))
    with pytest.raises(InputError, match=r"3 equal pictures of patients a \(train\), t \(test\)"):
        SPLITS.require_apart(replace(planes, rows=[*planes.rows, *copy]))


def test_one_scan_that_was_packed_anew_is_known_by_its_pictures(planes):
    ours = [row for row in planes.rows if row.patient == "a"]
    copy = [replace(row, image=f"{row.image}2", patient="t", volume="packed anew") for row in ours]
    others = [row for row in planes.rows if row.patient != "t"]
    with pytest.raises(InputError, match=r"8 equal pictures of patients a \(train\), t \(test\)"):
        SPLITS.require_apart(replace(planes, rows=[*others, *copy]))


def test_a_blank_picture_may_be_in_many_scans(planes):
    blank = [replace(row, sha256="blank" if "_000" in row.image else row.sha256) for row in planes.rows]
    SPLITS.require_apart(replace(planes, rows=blank))
