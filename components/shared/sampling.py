"""Grey levels on planes of a volume, by trilinear interpolation straight from its voxels.

They are what scipy.ndimage.map_coordinates(order=1, mode="nearest") gives, to float rounding, in a tenth of
its time. The planes stand on the grid's last axis, so that their columns are columns of voxels: four of these
are taken whole for each of a picture's. The arithmetic is the same however many threads do it.

Shapes: X Y Z voxels, N planes, H W pixels, C columns of all planes.
"""

import numpy as np
from numpy.typing import NDArray

from components.shared.arrays import Floats, Grey


def sample_upright(voxels_XYZ: Grey, x_NW: Floats, y_NW: Floats, z_H: Floats) -> Grey:
    """Return the grey levels of planes whose columns are at x, y and whose rows are at z, N x H x W.

    Points are in voxels; those outside of the block take the nearest voxel's grey level. Several planes a
    call let threads work side by side: calls into numpy for one plane are so short that threads wait for
    Python's lock most of the time.
    """
    sizes = voxels_XYZ.shape
    lines = voxels_XYZ.reshape(-1, sizes[2])
    x_C, beyond_x_C = _split(x_NW.ravel(), sizes[0])
    y_C, beyond_y_C = _split(y_NW.ravel(), sizes[1])
    row_H, beyond_z_H = _split(z_H, sizes[2])
    next_x, next_y, next_z = (int(size > 1) for size in sizes)
    line_C = x_C * sizes[1] + y_C

    def along_y(x: int) -> Grey:
        low_CZ, high_CZ = (lines.take(line_C + (x * sizes[1] + y), axis=0) for y in (0, next_y))
        return _between(low_CZ, high_CZ, beyond_y_C[:, None])

    grey_CZ = _between(along_y(0), along_y(next_x), beyond_x_C[:, None])
    grey_CH = _between(grey_CZ.take(row_H, axis=1), grey_CZ.take(row_H + next_z, axis=1), beyond_z_H)
    return grey_CH.reshape(*x_NW.shape, -1).swapaxes(1, 2)


def _split(points: Floats, size: int) -> tuple[NDArray[np.intp], Grey]:
    """Return the lower voxels on an axis, such that each has an upper neighbour, and how far beyond them."""
    inside = np.clip(points, 0, size - 1)
    lower = np.minimum(inside.astype(np.intp), max(size - 2, 0))
    return lower, (inside - lower).astype(np.float32)


def _between(low: Grey, high: Grey, share: Grey) -> Grey:
    """Return the share of the way from low to high, in the place of high."""
    high -= low
    high *= share
    high += low
    return high
