"""The notebook's way to cut planes, written from its description, and what its pictures give away.

The whole volume is rotated by splines at nine angles about two array axes. Its slices are called sagittal
(array axis 0), coronal (array axis 2) or, the first and last twenty of a stack, noise. Each is drawn through
matplotlib's grey map, stretched to its own extremes; a second pass resizes all pictures to RGB. Its faults
are kept: the loop runs over the size before rotation, and both stacks give their noise the same names.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

ANGLES_DEG = tuple(range(-21, 20, 5))  # -21, -16 .. 19: neither symmetric nor 0 among them
SIDE = 256
NOISE_SLICES = 20  # at each end of a stack
SAGITTAL, CORONAL, NOISE = "plano_sagital", "plano_coronal", "ruido"
_STACKS = ((SAGITTAL, 0, (0, 1)), (CORONAL, 2, (1, 2)))  # label, sliced axis, rotated axes


def extract(voxels_XYZ: NDArray[Any], name: str, out: Path, angles_deg: Sequence[int] = ANGLES_DEG) -> int:
    """Write every plane of a volume and return how many were written, over others or not."""
    planes = 0
    for label, axis, rotated_axes in _STACKS:
        size = voxels_XYZ.shape[axis]
        for angle in angles_deg:
            rotated = ndimage.rotate(voxels_XYZ, angle, axes=rotated_axes, reshape=True)
            for number in range(size):
                outer = number < NOISE_SLICES or number >= size - NOISE_SLICES
                path = out / (NOISE if outer else label) / f"{name}_{number}_{angle}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                imsave(path, rotated.take(number, axis), cmap="gray")
            planes += size
    resize(out)
    return planes


def resize(folder: Path) -> None:
    """Make every picture square and RGB, whatever its shape was."""
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as picture:
            square = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        square.save(path)


def pictures(folder: Path, label: str) -> Iterator[NDArray[np.uint8]]:
    """Yield the grey levels of what `extract` wrote under a label."""
    for path in sorted((folder / label).glob("*.png")):
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("L"))
