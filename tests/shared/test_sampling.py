from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from components.shared.sampling import sample_upright


def by_scipy(voxels: NDArray[Any], x_NW: NDArray[Any], y_NW: NDArray[Any], z_H: NDArray[Any]) -> NDArray[Any]:
    shape = (len(x_NW), len(z_H), x_NW.shape[1])
    points = [np.broadcast_to(along, shape) for along in (x_NW[:, None], y_NW[:, None], z_H[None, :, None])]
    return np.asarray(ndimage.map_coordinates(voxels, points, order=1, mode="nearest", output=np.float64))


def lines(rng: np.random.Generator, shape: Any, planes: int, columns: int, rows: int) -> list[NDArray[Any]]:
    """Return planes within the block and beyond it."""
    at = [rng.uniform(-2, size + 1, (planes, 1)) for size in shape[:2]]
    x_NW, y_NW = (start + rng.normal(0, 0.7) * (np.arange(columns) - columns / 2) for start in at)
    return [x_NW, y_NW, rng.uniform(-2, shape[2] + 1, rows)]


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    planes=st.integers(1, 3),
    order=st.sampled_from("CF"),
)
def test_it_is_map_coordinates_in_any_block_and_beyond(
    seed: int, shape: tuple[int, int, int], planes: int, order: Any
) -> None:
    rng = np.random.default_rng(seed)
    voxels = np.asarray(rng.uniform(0, 255, shape), np.float32, order=order)
    where = lines(rng, shape, planes, 11, 7)
    grey = sample_upright(voxels, *where)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, by_scipy(voxels, *where), rtol=0, atol=2e-4)


@pytest.mark.parametrize("shape", [(16, 20, 24), (1, 20, 24), (16, 1, 1)])
def test_a_linear_volume_is_read_exactly_up_to_its_very_faces(shape: tuple[int, int, int]) -> None:
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    voxels = (x + 100 * y + 10000 * z).astype(np.float32)
    x_W, y_W, z_H = (np.linspace(0, size - 1, 9) for size in shape)
    grey_HW = sample_upright(voxels, x_W[None], y_W[None], z_H)[0]
    np.testing.assert_allclose(grey_HW, (x_W + 100 * y_W)[None] + 10000 * z_H[:, None], rtol=1e-6)


def test_a_plane_is_the_same_alone_among_others_and_in_a_thread() -> None:
    rng = np.random.default_rng(1)
    voxels = rng.random((40, 44, 48), np.float32)
    x_NW, y_NW, z_H = lines(rng, voxels.shape, 64, 30, 31)
    together = sample_upright(voxels, x_NW, y_NW, z_H)

    def alone(plane: int) -> NDArray[Any]:
        return sample_upright(voxels, x_NW[plane, None], y_NW[plane, None], z_H)[0]

    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(together, pool.map(alone, range(64)), strict=True):
            np.testing.assert_array_equal(one, other)
