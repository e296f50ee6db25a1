import io

import numpy as np
import pytest
import torch
from stylegan2_ada.sampler import Sampler, subset_of

from tests.stylegan2_ada.parity import full

# Of the authors' sampler for 10 images and seed 0: the first 60 shown.
FIRST = "284916230978156438219675840967312847631825439865127394065738"


def test_the_order_is_the_reference_s() -> None:
    assert "".join(map(str, Sampler(10, 0).next(60))) == FIRST


def test_the_order_on_two_ranks_is_every_second_of_the_reference_s() -> None:
    ops = full("ops")
    shown = Sampler(10, 0).next(60)
    assert shown.tolist() == ops["sampler_n10_seed0_first60"]
    assert shown[1::2].tolist() == ops["sampler_n10_seed0_rank1of2_first30"]


@pytest.mark.parametrize(("size", "window"), [(3, 2), (5, 2), (7, 4), (9, 4)])
def test_half_of_an_odd_list_is_rounded_to_even(size: int, window: int) -> None:
    """The reference's rule, one index at a time: after it is shown, the place changes with one behind it."""
    rng = np.random.RandomState(0)
    order = np.arange(size)
    rng.shuffle(order)
    shown = []
    for place in range(100):
        here, there = place % size, (place - rng.randint(window)) % size
        shown.append(order[here])
        order[[here, there]] = order[[there, here]]
    assert Sampler(size, 0).next(100).tolist() == shown


def test_a_subset_is_the_reference_s() -> None:
    assert subset_of(20, 8, 0).tolist() == [1, 6, 8, 10, 13, 17, 18, 19]


def test_how_the_indices_are_asked_for_does_not_matter() -> None:
    whole, parts = Sampler(1000, 3), Sampler(1000, 3)
    counts = np.random.default_rng(0).integers(0, 70, 100)
    assert whole.next(int(counts.sum())).tolist() == [i for count in counts for i in parts.next(count)]


def test_the_state_goes_through_a_checkpoint_to_the_bit() -> None:
    sampler, other = Sampler(50, 1), Sampler(50, 9)
    sampler.next(77)
    buffer = io.BytesIO()
    torch.save(sampler.state(), buffer)
    expected = sampler.next(500)  # what was saved must not follow the sampler
    buffer.seek(0)
    other.next(3)
    other.restore(torch.load(buffer, weights_only=True))
    assert other.next(500).tolist() == expected.tolist()
    with pytest.raises(ValueError, match="51 images"):
        Sampler(51, 1).restore(sampler.state())


@pytest.mark.parametrize("size", [1, 2, 3, 8, 101])
def test_every_image_comes_as_often(size: int) -> None:
    shown = Sampler(size, 5).next(300 * size)
    counts = np.bincount(shown, minlength=size)
    assert counts.min() > 270 and counts.max() < 330


def test_an_image_does_not_come_again_at_once() -> None:
    shown = Sampler(100, 0).next(5000)
    last: dict[int, int] = {}
    gaps = []
    for time_, index in enumerate(shown.tolist()):
        gaps.append(time_ - last.get(index, -1000))
        last[index] = time_
    assert min(gaps) >= 50 and len(set(gaps)) > 50
