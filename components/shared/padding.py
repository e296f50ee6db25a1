"""What a program filled in where the scanner saw nothing, far below the picture's greys.

Left as it is, -1024 about a picture of 0 to 255 is all that a threshold between tissue and background sees.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.volumes import Volume


def padding_of(voxels_XYZ: NDArray[Any]) -> tuple[float, float] | None:
    """Return the filled level and the picture's lowest, where the former is negative and apart; else None.

    Apart is farther below than the picture's greys reach. Where no grey is negative nothing is padding: a
    masked brain has nought about it, far below its own greys, and that is its background.
    """
    low, high = voxels_XYZ.min(), voxels_XYZ.max()
    if low >= 0 or high < 0:
        return None
    lowest = voxels_XYZ.min(where=voxels_XYZ > low, initial=high)
    apart = lowest >= 0 and float(lowest) - float(low) > float(high) - float(lowest) > 0
    return (float(low), float(lowest)) if apart else None


def without_padding(volume: Volume) -> Volume:
    """Return a volume whose padding is as dark as its picture's darkest."""
    found = padding_of(volume.data_XYZ)
    if found is None:
        return volume
    darkest = volume.data_XYZ.dtype.type(found[1])
    return replace(volume, data_XYZ=np.maximum(volume.data_XYZ, darkest))
