"""Small zips of drawn images."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path: Path, count: int = 12, side: int = 8, seed: int = 0) -> list[str]:
    """Write squares of random place and brightness; return the members' names."""
    rng = np.random.default_rng(seed)
    names = [f"images/{number:03}.png" for number in range(count)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            image = np.full((side, side), 30)
            y, x = rng.integers(0, side // 2, 2)
            image[y : y + side // 2, x : x + side // 2] = rng.integers(100, 250)
            archive.writestr(name, png(image))
    return names
