"""Thresholds and caps by class."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.relabel_images.stage import judge
from components.relabel_images.thresholds import adaptive_thresholds, capped, class_thresholds
from components.shared.labels import MINIMUM
from components.shared.ledger import LabelRow
from components.shared.planes import CLASSES, GAN_CLASSES


def rows_of(scored):
    return [
        LabelRow(image=f"synthetic/{k:04}.png", label=label, confidence=confidence, status="scored")
        for k, (label, confidence) in enumerate(scored)
    ]


pools = st.lists(st.tuples(st.sampled_from(CLASSES), st.floats(1 / 3, 1)), max_size=80).map(rows_of)


def test_one_threshold_is_the_same_for_every_class():
    rows = rows_of([("coronal", 0.9)] * 9 + [("sagittal", 0.5)])
    assert class_thresholds(rows, 0.75, "global") == {"coronal": 0.75, "sagittal": 0.75}


def test_the_adaptive_threshold_of_the_less_known_class_is_as_in_the_paper():
    # 40 and 10 are surely known, 5 are not: 10 / 40 = 1/4, and (1/4) / (2 - 1/4) = 1/7
    rows = rows_of([("coronal", 0.9)] * 40 + [("sagittal", 0.9)] * 10 + [("sagittal", 0.5)] * 5)
    found = adaptive_thresholds(rows, 0.7)
    assert found == {"coronal": 0.7, "sagittal": pytest.approx(0.1)}


def test_while_most_are_unused_they_are_what_is_divided_by():
    rows = rows_of([("coronal", 0.9)] * 10 + [("sagittal", 0.9)] * 5 + [("coronal", 0.5)] * 20)
    found = adaptive_thresholds(rows, 0.8)
    assert found == {
        "coronal": pytest.approx(0.8 * 0.5 / 1.5),
        "sagittal": pytest.approx(0.8 * 0.25 / 1.75),
    }


def test_what_is_predicted_outside_the_classes_of_the_gan_counts_for_nothing():
    rows = rows_of([("coronal", 0.9)] * 10 + [("sagittal", 0.9)] * 10)
    noise = rows_of([("noise", 0.9)] * 500)
    assert adaptive_thresholds([*rows, *noise], 0.75) == adaptive_thresholds(rows, 0.75)


@given(pools, st.floats(0, 0.99))
def test_adaptive_thresholds_lie_between_nought_and_the_common_one(rows, threshold):
    found = adaptive_thresholds(rows, threshold)
    assert found.keys() == set(GAN_CLASSES)
    assert all(0 <= value <= threshold for value in found.values())
    looser = Counter(row.status for row in judge(rows, found))
    stricter = Counter(row.status for row in judge(rows, dict.fromkeys(GAN_CLASSES, threshold)))
    assert looser["accepted"] >= stricter["accepted"]


@given(pools, st.floats(1, 10), st.integers(0, 20), st.integers(0, 20))
def test_no_class_has_more_than_its_share_and_the_surest_are_kept(rows, ratio, coronal, sagittal):
    carried = {"coronal": coronal, "sagittal": sagittal}
    judged = judge(rows, dict.fromkeys(GAN_CLASSES, 0.5))
    found = capped(judged, carried, ratio)
    accepted = Counter(row.label for row in judged if row.status == "accepted") + Counter(carried)
    limit = max(MINIMUM, int(ratio * min(accepted[label] for label in GAN_CLASSES)))
    for label in GAN_CLASSES:
        kept = [row.confidence for row in found if (row.status, row.label) == ("accepted", label)]
        dropped = [row.confidence for row in found if (row.status, row.label) == ("capped", label)]
        assert len(kept) <= max(0, limit - carried[label])
        assert not dropped or len(kept) == max(0, limit - carried[label])
        assert not (kept and dropped) or max(dropped) <= min(kept)
    assert [(row.image, row.label, row.confidence) for row in found] == [
        (row.image, row.label, row.confidence) for row in rows
    ]


def test_a_class_alone_may_have_as_many_as_can_be_learnt():
    judged = judge(rows_of([("coronal", 0.9)] * 30), dict.fromkeys(GAN_CLASSES, 0.5))
    assert Counter(row.status for row in capped(judged, {}, 3.0)) == {"accepted": MINIMUM, "capped": 25}
