"""A volume brought once onto a cubic grid in the patient's own axes, equally blurred in every direction.

Whatever scanner grid a plane is sampled from shows in the plane's power spectrum: as another sharpness
along an axis of other spacing, and as faint copies of the picture's frequencies along the grid's axes, which
are tilted in one class and not in the other. A regression on log power spectra told coronal from sagittal
planes of pure speckle so (12 to 16 volumes; 0.5 is chance):

    sampled straight from the scanner's grid, by trilinear interpolation    12 degrees oblique 0.93,
                                                                            one axis 1.6 times coarser 1.00
    the same after Gaussians that bring every axis to the coarsest FWHM     0.93 and 1.00
    by a Gaussian kernel onto cubic voxels in the scanner's axes            1.00 and 0.54
    as here                                                                 0.48 and 0.47

From here on a coronal plane and a sagittal one are the same computation, turned by 90 degrees. The price is
sharpness: with everything after it, a standard deviation of 0.80 of the coarsest spacing (FWHM 1.9 of it),
where straight trilinear interpolation has 0.41. Speckle is independent from voxel to voxel in that
measurement, which is the hardest case: a scanner's own resolution is some voxels.

Shapes: X Y Z voxels of either grid.
"""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from components.shared.arrays import Floats, Grey
from components.shared.volumes import Volume

# All in units of the coarsest spacing.
BLUR = 0.7  # standard deviation
PITCH = 0.9  # of the cubic grid
MARGIN = 1.5  # what a voxel's kernel needs of the block around it
_FINE = 0.5  # spacing in the scanner's axes between the two steps
_OVERVIEW = 2.0  # spacing of the overview

_TAPS = 5.0  # where the Gaussian ends, in standard deviations
_SLAB = 1 << 22  # voxels of which floats are made at a time
_TILE = 64  # voxels along the edge of what is computed at a time: bounds the memory


def spacing_mm(volume: Volume) -> Floats:
    """Return the distances between neighbouring voxels, 3."""
    lengths: Floats = np.linalg.norm(volume.affine[:3, :3], axis=0)
    return lengths


def overview(volume: Volume, coarsest_mm: float) -> tuple[Grey, Sequence[Floats]]:
    """Return the whole block, coarsely but as blurred as every plane, and its voxels' indices by axis."""
    indices = [
        _spread(size, _OVERVIEW * coarsest_mm / spacing)
        for size, spacing in zip(volume.data_XYZ.shape, spacing_mm(volume), strict=True)
    ]
    return _blurred(volume, indices, BLUR * coarsest_mm), indices


def patient_grid(
    volume: Volume, centre: Floats, half_mm: Floats, radius_mm: float, coarsest_mm: float
) -> Grey:
    """Return cubic voxels in right, anterior and superior, the middle one on the centre.

    Args:
        volume: the scan.
        centre: the middle, in the scan's voxels, 3.
        half_mm: how far the grid reaches from its middle, 3.
        radius_mm: tiles beyond this sphere are left 0; infinite where all are needed.
        coarsest_mm: what to blur to.

    """
    pitch = PITCH * coarsest_mm
    half = np.ceil(half_mm / pitch).astype(int) + 1
    grid = np.zeros(2 * half + 1, np.float32)

    def fill(corner: tuple[int, ...]) -> None:
        low = np.array(corner) - half
        high = np.minimum(low + _TILE, half + 1)
        if np.linalg.norm(np.clip(0, low, high - 1)) <= radius_mm / pitch + 1:
            tile = tuple(slice(first, last) for first, last in zip(low + half, high + half, strict=True))
            _fill(volume, centre, low * pitch, coarsest_mm, grid[tile])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, itertools.product(*(range(0, size, _TILE) for size in grid.shape))))
    return grid


def _fill(volume: Volume, centre: Floats, low_mm: Floats, coarsest_mm: float, tile_XYZ: Grey) -> None:
    """Fill a part of the grid that begins at low_mm from the centre."""
    pitch = PITCH * coarsest_mm
    step = _FINE * coarsest_mm / spacing_mm(volume)  # in the scan's voxels
    matrix = np.linalg.inv(volume.affine[:3, :3]) / step[:, None]  # millimetres to fine voxels
    start, sweep = matrix @ low_mm, matrix * (np.array(tile_XYZ.shape) - 1) * pitch
    first = np.floor(start + np.minimum(sweep, 0).sum(axis=1)).astype(int)
    last = np.ceil(start + np.maximum(sweep, 0).sum(axis=1)).astype(int)
    indices = [c + s * np.arange(a, b + 1) for c, s, a, b in zip(centre, step, first, last, strict=True)]
    fine_XYZ = _blurred(volume, indices, BLUR * coarsest_mm)
    ndimage.affine_transform(
        fine_XYZ, matrix * pitch, start - first, output=tile_XYZ, order=1, mode="nearest"
    )


def _spread(size: int, step: float) -> Floats:
    """Return indices that are evenly spaced about the middle of an axis."""
    count = int((size - 1) / 2 / step)
    return (size - 1) / 2 + step * np.arange(-count, count + 1)


def _blurred(volume: Volume, indices: Sequence[Floats], sigma_mm: float) -> Grey:
    """Return Gaussian means about every combination of the indices, axis by axis."""
    spacing = spacing_mm(volume)
    weights, parts = [], []
    for axis, at in enumerate(indices):
        first, matrix = _gaussian(volume.data_XYZ.shape[axis], at, float(sigma_mm / spacing[axis]))
        weights.append(matrix)
        parts.append(slice(first, first + matrix.shape[1]))
    grey: NDArray[Any] = volume.data_XYZ[tuple(parts)]
    for matrix in weights:  # each turns the axes on by one: after three they are as they were
        grey = _mixed(matrix, grey)
    return grey


def _mixed(matrix: Any, grey_XYZ: NDArray[Any]) -> Grey:
    """Return the mixtures along the first axis, as the last one.

    A slab at a time: of a large scan in bytes, floats of the whole would take four times its memory.
    """
    size, rows, columns = grey_XYZ.shape
    mixed_YZX = np.empty((rows, columns, matrix.shape[0]), np.float32)
    for first in range(0, rows, step := max(1, _SLAB // (size * columns))):
        slab_XYZ = grey_XYZ[:, first : first + step].astype(np.float32)
        mixed = (matrix @ slab_XYZ.reshape(size, -1)).reshape(-1, *slab_XYZ.shape[1:])
        mixed_YZX[first : first + step] = np.moveaxis(mixed, 0, -1)
    return mixed_YZX


def _gaussian(size: int, at: Floats, sigma: float) -> tuple[int, Any]:
    """Return the first voxel that counts, and the weights of it and the next ones as a sparse matrix.

    A row adds up to 1, so that a constant stays one; beyond the block its outermost voxels count alone.
    """
    first = int(np.clip(np.floor(at.min() - _TAPS * sigma), 0, size - 1))
    last = int(np.clip(np.ceil(at.max() + _TAPS * sigma), first, size - 1))
    squares = ((at[:, None] - np.arange(first, last + 1)) / sigma) ** 2
    nearest = squares.min(axis=1, keepdims=True)
    rows = np.where(squares <= np.maximum(nearest, _TAPS**2), np.exp((nearest - squares) / 2), 0)
    return first, sparse.csr_array((rows / rows.sum(axis=1, keepdims=True)).astype(np.float32))
