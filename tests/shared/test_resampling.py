import tracemalloc

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from components.shared import resampling
from components.shared.geometry import Anatomy, Window
from components.shared.resampling import BLUR, PITCH, overview, patient_grid
from components.shared.volumes import Volume

TILTED = Rotation.from_euler("xyz", [15, -10, 25], degrees=True).as_matrix()


def volume(values_XYZ, spacing=(1.0, 1.0, 1.0), rotation=TILTED):
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    return Volume(data_XYZ=values_XYZ, affine=affine)


def cubic(scan, half_mm=14.0, coarsest=1.0):
    middle = (np.array(scan.data_XYZ.shape) - 1) / 2
    return patient_grid(scan, middle, np.full(3, half_mm), half_mm, coarsest)


def millimetres(grid, pitch=PITCH):
    return (np.indices(grid.shape) - (np.array(grid.shape)[:, None, None, None] - 1) / 2) * pitch


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.6, 1.0, 1.0), (0.8, 1.6, 1.1)])
def test_a_point_is_blurred_alike_in_every_direction(spacing):
    """Over points that lie anywhere between the grids' voxels, as one kernel may be off by its place."""
    coarsest, spread = max(spacing), []
    for seed in range(20):
        values = np.zeros((41, 41, 41), np.float32)
        rng = np.random.default_rng(seed)
        values[tuple(rng.integers(16, 25, 3))] = 1
        grid = cubic(volume(values, spacing), 9.0 * coarsest, coarsest).astype(float)
        place = millimetres(grid, PITCH * coarsest).reshape(3, -1)
        spread.append(np.cov(place, aweights=grid.ravel(), ddof=0))
    covariance = np.mean(spread, axis=0) / coarsest**2
    least, most = np.linalg.eigvalsh(covariance)[[0, -1]]
    assert most / least < 1.1
    assert np.sqrt(covariance.trace() / 3) == pytest.approx(np.hypot(BLUR, 0.5 / np.sqrt(6)), rel=0.02)


def test_constants_and_slopes_are_kept():
    slope = np.array([0.7, -0.2, 0.4])
    x, y, z = np.indices((41, 41, 41)) - 20.0
    world = np.einsum("ij,jxyz->ixyz", TILTED, np.stack([x, y, z]))
    grid = cubic(volume((5 + np.einsum("i,ixyz->xyz", slope, world)).astype(np.float32)))
    expected = 5 + np.einsum("i,ixyz->xyz", slope, millimetres(grid))
    inside = (millimetres(grid) ** 2).sum(axis=0) < 14**2
    assert np.abs(grid - expected)[inside].max() < 1e-3


def test_the_tiles_leave_no_seam(monkeypatch):
    scan = volume(np.random.default_rng(0).random((44, 40, 48), np.float32), (1.0, 1.2, 0.9))
    whole = cubic(scan)
    monkeypatch.setattr(resampling, "_TILE", 7)
    inside = (millimetres(whole) ** 2).sum(axis=0) <= 14**2
    assert np.abs(whole - cubic(scan))[inside].max() < 1e-5
    assert (whole[inside] > 0).all()


def test_the_overview_spans_the_block():
    scan = volume(np.full((60, 7, 1), 3, np.uint8), (0.5, 1.0, 2.0))
    seen, indices = overview(scan, 2.0)
    assert seen.shape == tuple(len(at) for at in indices)
    assert np.allclose(seen, 3)
    for at, size in zip(indices, scan.data_XYZ.shape, strict=True):
        assert at.mean() == pytest.approx((size - 1) / 2)
        assert 0 <= at.min() <= at.max() <= size - 1


def test_of_a_scan_in_bytes_no_floats_of_the_whole_are_made():
    rng, edge = np.random.default_rng(0), 384
    data_XYZ = np.zeros((edge, edge, edge), np.uint8)
    data_XYZ[80:300, 90:310, 70:320] = rng.integers(20, 200, (220, 220, 250), dtype=np.uint8)
    volume = Volume(data_XYZ=data_XYZ, affine=np.diag([0.25, 0.25, 0.25, 1.0]))
    tracemalloc.start()
    try:
        Anatomy.of(volume, Window(field_of_view_mm=90, side_px=64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4.5 * data_XYZ.nbytes
