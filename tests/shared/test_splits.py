"""Which patient may stand behind what."""

import pytest

from components.shared.faults import InputError
from components.shared.splits import TEST, TRAIN, Splits
from tests.drawn_planes import SPLITS


def test_only_patients_of_another_side_cross():
    SPLITS.require_only((TRAIN,), ["a", "b", "of another data set"], "it")
    with pytest.raises(InputError, match="it: made from patients t, v, who are not in train;"):
        SPLITS.require_only((TRAIN,), ["a", "v", "t"], "it")


def test_the_digest_is_of_the_table():
    assert Splits.parse(SPLITS.text()).digest == SPLITS.digest
    moved = Splits(SPLITS.folds, {**SPLITS.sides, "a": TEST})
    assert moved.digest != SPLITS.digest
