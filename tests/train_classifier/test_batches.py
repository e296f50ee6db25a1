from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train_classifier.batches import batches


@st.composite
def shown(draw):
    """Targets and which are synthetic: classes 0, 1 may have synthetic planes, class 2 never has."""
    real = [draw(st.integers(1, 30)) for _ in range(3)]
    synthetic = [draw(st.integers(0, 60)) for _ in range(2)]
    targets_N = np.repeat([0, 1, 2, 0, 1], [*real, *synthetic])
    return targets_N, np.arange(len(targets_N)) >= sum(real)


@settings(max_examples=50)
@given(shown(), st.integers(2, 40), st.integers(0, 5))
def test_at_least_half_of_every_batch_is_real_and_classes_share_it(planes, batch, seed):
    targets_N, synthetic_N = planes
    dealt = list(islice(batches(targets_N, synthetic_N, batch, seed), 12))
    for chosen_N in dealt:
        assert len(chosen_N) == batch
        assert synthetic_N[chosen_N].sum() <= batch / 2
        counts = np.bincount(targets_N[chosen_N], minlength=3)
        assert counts.max() - counts.min() <= 1
    totals = np.bincount(targets_N[np.concatenate(dealt)], minlength=3)
    assert totals.max() - totals.min() <= 1


@settings(max_examples=50)
@given(shown(), st.integers(2, 40))
def test_a_synthetic_plane_is_drawn_no_more_often_than_a_real_one_of_its_class(planes, batch):
    targets_N, synthetic_N = planes
    drawn_N = np.bincount(
        np.concatenate(list(islice(batches(targets_N, synthetic_N, batch, 0), 30))), minlength=len(targets_N)
    )
    for place in (0, 1):
        real, synthetic = (
            drawn_N[(targets_N == place) & ~synthetic_N],
            drawn_N[(targets_N == place) & synthetic_N],
        )
        if len(synthetic):
            assert synthetic.mean() <= real.mean() + 1e-9


@given(shown(), st.integers(0, 5))
def test_the_seed_alone_decides(planes, seed):
    one, other = (list(islice(batches(*planes, 8, seed), 5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_all_planes_of_a_class_come_by_before_one_comes_again():
    targets_N = np.repeat([0, 1], [10, 3])
    first = np.concatenate(list(islice(batches(targets_N, np.zeros(13, bool), 4, 0), 5)))
    assert sorted(first[first < 10]) == list(range(10))
