from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from components.shared.sampling import sample_plane

EDGE = np.linspace(-9.0, 9.0, 24)
DISC = EDGE[:, None] ** 2 + EDGE[None, :] ** 2 <= 64


def by_scipy(
    voxels: NDArray[Any], start: NDArray[Any], across: NDArray[Any], down: NDArray[Any], inside: NDArray[Any]
) -> NDArray[Any]:
    row, column = np.nonzero(inside)
    points = start[:, None] + across[:, None] * EDGE[column] + down[:, None] * EDGE[row]
    return np.asarray(
        ndimage.map_coordinates(voxels.astype(np.float32), points, order=1, mode="nearest", output=np.float64)
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    dtype=st.sampled_from([np.uint8, np.float32]),
    order=st.sampled_from("CF"),
    reach=st.sampled_from([0.0, 0.3, 3.0]),
)
def test_it_is_map_coordinates_in_any_block_and_beyond(
    seed: int, shape: tuple[int, int, int], dtype: type, order: Any, reach: float
) -> None:
    rng = np.random.default_rng(seed)
    voxels = np.asarray(rng.integers(0, 256, shape), dtype, order=order)
    start = rng.uniform(-2, np.array(shape) + 1)
    across, down = rng.normal(0, reach, (2, 3))
    inside = rng.random(DISC.shape) < rng.random()
    grey = sample_plane(voxels, start, across, down, EDGE, inside)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, by_scipy(voxels, start, across, down, inside), rtol=0, atol=2e-4)


@pytest.mark.parametrize("shape", [(16, 20, 24), (1, 20, 24), (16, 1, 1)])
def test_a_linear_volume_is_read_exactly_at_its_very_faces(shape: tuple[int, int, int]) -> None:
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    voxels = (x + 100 * y + 10000 * z).astype(np.float32)
    last = np.array(shape) - 1.0
    middle, half = last / 2, last / 2 / 9
    grey = sample_plane(voxels, middle, half, 0 * half, EDGE, np.ones(DISC.shape, bool))
    expected = (middle + half * EDGE[:, None]) @ np.array([1, 100, 10000])
    np.testing.assert_allclose(grey.reshape(DISC.shape), np.tile(expected, (len(EDGE), 1)), rtol=1e-6)


def test_an_empty_mask_gives_no_points() -> None:
    nothing = np.zeros(DISC.shape, bool)
    assert sample_plane(np.ones((3, 3, 3), np.uint8), *np.ones((3, 3)), EDGE, nothing).size == 0


def test_views_that_are_not_contiguous_are_read_alike() -> None:
    rng = np.random.default_rng(0)
    voxels = rng.random((20, 18, 16), np.float32)
    start, across, down = rng.uniform(4, 8, 3), rng.normal(0, 0.4, 3), rng.normal(0, 0.4, 3)
    flipped = np.ascontiguousarray(voxels[::-1])[::-1]
    expected = sample_plane(voxels, start, across, down, EDGE, DISC)
    np.testing.assert_array_equal(sample_plane(flipped, start, across, down, EDGE, DISC), expected)


def test_threads_give_the_bytes_that_one_gives() -> None:
    rng = np.random.default_rng(1)
    voxels = rng.random((40, 44, 48), np.float32)
    cuts = [(rng.uniform(15, 25, 3), *rng.normal(0, 1, (2, 3))) for _ in range(64)]

    def cut(lines: Any) -> bytes:
        return sample_plane(voxels, *lines, EDGE, DISC).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(cut, cuts)) == [cut(lines) for lines in cuts]
