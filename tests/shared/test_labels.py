from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.labels import MINIMUM, PATIENT, PLANE, UNITS, known_classes, labelled_rows
from components.shared.planes import CLASSES, CORONAL, NOISE, SAGITTAL, UNCERTAIN, PlaneRow

fractions = st.floats(0.001, 1.0)
seeds = st.integers(0, 2**31)


@st.composite
def row_lists(draw):
    counts = draw(
        st.dictionaries(
            st.tuples(st.sampled_from((*CLASSES, UNCERTAIN)), st.sampled_from("abcde")),
            st.integers(1, 30),
            min_size=1,
        )
    )
    return [
        PlaneRow(image=f"{label}/{patient}{n}.png", label=label, patient=patient)
        for (label, patient), count in counts.items()
        for n in range(count)
    ]


def images(rows):
    return {row.image for row in rows}


@given(row_lists(), fractions, fractions, st.sampled_from(UNITS), seeds)
def test_a_smaller_fraction_lies_inside_a_larger_one(rows, one, other, unit, seed):
    small, large = sorted((one, other))
    assert images(labelled_rows(rows, small, unit, seed)) <= images(labelled_rows(rows, large, unit, seed))


@given(row_lists(), st.sampled_from(UNITS), seeds)
def test_all_of_it_is_every_plane_of_a_class(rows, unit, seed):
    assert labelled_rows(rows, 1.0, unit, seed) == [row for row in rows if row.label in CLASSES]


@given(row_lists(), fractions, seeds)
def test_every_stratum_keeps_its_share_and_at_least_one(rows, fraction, seed):
    before = Counter((row.label, row.patient) for row in rows if row.label in CLASSES)
    after = Counter((row.label, row.patient) for row in labelled_rows(rows, fraction, PLANE, seed))
    assert after.keys() == before.keys()
    assert all(after[key] == max(1, round(fraction * before[key])) for key in before)


@given(row_lists(), fractions, seeds)
def test_a_patient_is_labelled_wholly_or_not_at_all(rows, fraction, seed):
    known = [row for row in rows if row.label in CLASSES]
    labelled = images(labelled_rows(rows, fraction, PATIENT, seed))
    patients = {row.patient for row in known}
    whole = {p for p in patients if images(row for row in known if row.patient == p) <= labelled}
    assert labelled == images(row for row in known if row.patient in whole)
    assert len(whole) >= round(fraction * len(patients))


@given(row_lists(), fractions, seeds)
def test_whole_patients_hold_every_class_as_far_as_there_are_planes(rows, fraction, seed):
    there = Counter(row.label for row in rows)
    found = Counter(row.label for row in labelled_rows(rows, fraction, PATIENT, seed))
    assert all(found[label] >= min(MINIMUM, there[label]) for label in CLASSES)


@given(st.integers(1, 30), fractions, seeds)
def test_where_every_patient_has_every_class_the_fraction_alone_says_how_many(count, fraction, seed):
    rows = [
        PlaneRow(image=f"{label}/{k}_{n}.png", label=label, patient=f"p{k}")
        for k in range(count)
        for label in CLASSES
        for n in range(MINIMUM)
    ]
    chosen = {row.patient for row in labelled_rows(rows, fraction, PATIENT, seed)}
    assert len(chosen) == max(1, round(fraction * count))


@given(row_lists(), fractions, st.sampled_from(UNITS), seeds, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, fraction, unit, seed, random):
    shuffled = random.sample(rows, len(rows))
    assert images(labelled_rows(rows, fraction, unit, seed)) == images(
        labelled_rows(shuffled, fraction, unit, seed)
    )


def test_the_seed_decides_which_planes():
    rows = [PlaneRow(image=f"noise/{n}.png", label=NOISE, patient="a") for n in range(100)]
    assert images(labelled_rows(rows, 0.2, PLANE, 0)) != images(labelled_rows(rows, 0.2, PLANE, 1))


@pytest.mark.parametrize("fraction", [0, 1.5, -1, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(InputError, match=r"^label_fraction=.*: not usable; valid: above 0, at most 1$"):
        labelled_rows([], fraction, PLANE, 0)


def test_an_unknown_unit_is_refused():
    with pytest.raises(InputError, match="label_unit=site: not usable; valid: plane or patient"):
        labelled_rows([], 0.5, "site", 0)


def test_a_class_with_fewer_than_five_planes_is_left_out():
    counts = {CORONAL: 5, SAGITTAL: 9, NOISE: 4}
    rows = [
        PlaneRow(image=f"{label}{n}", label=label) for label, count in counts.items() for n in range(count)
    ]
    assert known_classes(rows) == ([CORONAL, SAGITTAL], {NOISE: 4})
    with pytest.raises(InputError, match="it leaves 0 coronal, 9 sagittal, 4 noise planes labelled"):
        known_classes(rows[5:])
