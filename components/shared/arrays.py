"""The arrays that geometry and its judges speak of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # places, directions, weights: of whatever precision
Grey = NDArray[np.float32]  # voxels and pixels, while anything is computed with them
