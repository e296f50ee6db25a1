"""A volume at a glance: coronal, sagittal and axial through its centre, side by side in one small PNG.

Superior and, in the axial picture, anterior are up. Coronal and axial: the patient's right is on the left.
Sagittal: anterior is left. Shapes: X Y Z voxels, H = W = side pixels, P points.
"""

import base64
import io
import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from components.shared.arrays import Floats
from components.shared.geometry import Anatomy
from components.shared.volumes import Volume

SIDE_PX = 96
_FINER = 3  # samples along each edge of a pixel: speckle averages out
_LEVELS = 48  # of grey: enough to judge by eye, at half the bytes
_LOOK = 100_000  # voxels looked at to find how far the content reaches
# Columns and rows of each picture in right, anterior, superior.
_VIEWS = (((-1, 0, 0), (0, 0, -1)), ((0, -1, 0), (0, 0, -1)), ((-1, 0, 0), (0, -1, 0)))


def thumbnail(volume: Volume, anatomy: Anatomy) -> str:
    """Return the three pictures as a PNG of 288 x 96 pixels, in base64."""
    half_mm = _reach(volume, anatomy)
    strip_HW = np.hstack([_view(volume, anatomy, half_mm, *map(np.array, view)) for view in _VIEWS])
    buffer = io.BytesIO()
    Image.fromarray(strip_HW).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _reach(volume: Volume, anatomy: Anatomy) -> float:
    """Return how far the content reaches in millimetres; the sphere is always in the picture."""
    step = max(1, round((volume.data_XYZ.size / _LOOK) ** (1 / 3)))
    index_3P = np.stack(np.nonzero(volume.data_XYZ[::step, ::step, ::step] > anatomy.tissue)) * step
    if not index_3P.size:
        return _block(volume, anatomy)
    away_3P = volume.affine[:3, :3] @ (index_3P - anatomy.centre[:, None])
    content = np.abs(np.percentile(away_3P, [1, 99], axis=1)).max() * 1.1
    return float(max(content, anatomy.radius_mm, 1.0))


def _block(volume: Volume, anatomy: Anatomy) -> float:
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in volume.data_XYZ.shape])))
    return float(max(1.0, np.abs(volume.affine[:3, :3] @ (corners - anatomy.centre).T).max()))


def _view(
    volume: Volume, anatomy: Anatomy, half_mm: float, columns: Floats, rows: Floats
) -> NDArray[np.uint8]:
    samples = SIDE_PX * _FINER
    edge = ((np.arange(samples) + 0.5) / samples * 2 - 1) * half_mm
    to_index = np.linalg.inv(volume.affine[:3, :3])
    across, down = to_index @ columns, to_index @ rows
    index_3HW = (
        anatomy.centre[:, None, None] + across[:, None, None] * edge + down[:, None, None] * edge[:, None]
    )
    outside = float(volume.data_XYZ.min())
    fine_HW = ndimage.map_coordinates(
        volume.data_XYZ, index_3HW, output=np.float32, order=1, mode="constant", cval=outside
    )
    grey_HW = fine_HW.reshape(SIDE_PX, _FINER, SIDE_PX, _FINER).mean(axis=(1, 3))
    share_HW = (grey_HW - anatomy.low) / max(anatomy.high - anatomy.low, 1e-6)
    level_HW = np.rint(np.clip(share_HW, 0, 1) * (_LEVELS - 1))
    return np.asarray(np.rint(level_HW * (255 / (_LEVELS - 1))), np.uint8)
