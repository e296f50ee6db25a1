"""What gives a class away, as a picture: coronal, sagittal, and sagittal less coronal.

In the third, mid-grey is no difference; its largest difference is white or black.
Shapes: N planes, H = W = side pixels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.audit_shortcuts.blanks import Pictures
from components.audit_shortcuts.judges import PIXELS, log_power

_SIDE = 256  # of each of the three
_GAP = 4


def draw_traces(path: Path, judge: str, pictures: Pictures) -> None:
    """Write the mean pictures, or the mean log power spectra, of the two classes side by side as a PNG."""
    coronal_HW, sagittal_HW = (
        _mean(judge, pictures.images_NHW[pictures.sagittal_N == wanted]) for wanted in (False, True)
    )
    both = np.stack([coronal_HW, sagittal_HW])
    low, high = float(both.min()), float(both.max())
    shown = [_grey(coronal_HW, low, high), _grey(sagittal_HW, low, high)]
    most = max(float(np.abs(sagittal_HW - coronal_HW).max()), 1e-9)
    shown.append(_grey(sagittal_HW - coronal_HW, -most, most))
    gap = np.full((_SIDE, _GAP), 255, np.uint8)
    Image.fromarray(np.hstack([shown[0], gap, shown[1], gap, shown[2]])).save(path, "PNG")


def _mean(judge: str, images_NHW: NDArray[np.uint8]) -> NDArray[np.float64]:
    total_HW = np.zeros(images_NHW.shape[1:])
    for image_HW in images_NHW:
        total_HW += image_HW if judge == PIXELS else np.fft.fftshift(log_power(image_HW))
    mean: NDArray[np.float64] = total_HW / len(images_NHW)
    return mean


def _grey(values_HW: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    scaled = np.clip((values_HW - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(scaled).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
