"""Training images: named members of a zip, as bytes in memory, in an order that only the images seen decide.

Shapes: N images, C channels, H = W = resolution.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan2_ada.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All images at the training resolution."""

    images: Tensor  # uint8, N x C x H x W
    digest: str  # of names and contents, in order
    mirror: bool  # every image also stands mirrored in the order
    seed: int

    def batch(self, first: int, count: int, device: torch.device) -> Tensor:
        """Return training images number first to first + count of the run, float in -1..1."""
        size = len(self.images) * (2 if self.mirror else 1)
        order = self._order(first, count, size)
        images = self.images[order % len(self.images)]
        mirrored = torch.from_numpy(order >= len(self.images))[:, None, None, None]
        images = torch.where(mirrored, images.flip(3), images)
        return images.to(device).float() / 127.5 - 1

    def _order(self, first: int, count: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return indices first..first + count of a sequence of shuffled epochs, one shuffle an epoch."""
        epochs = range(first // size, (first + count - 1) // size + 1)
        shuffled = [np.random.default_rng([self.seed, epoch]).permutation(size) for epoch in epochs]
        start = first - epochs.start * size
        chosen: np.ndarray[tuple[int], np.dtype[np.int64]] = np.concatenate(shuffled)[start : start + count]
        return chosen


def load(
    archive: Path, members: Sequence[str], *, resolution: int, channels: int, mirror: bool, seed: int
) -> Dataset:
    """Read members of a zip as images of the resolution; area-averaged where they are larger."""
    if len(members) < 2:
        raise UsageError(f"{archive}: {len(members)} training image(s) named; valid: at least 2")
    if not zipfile.is_zipfile(archive):
        raise UsageError(f"{archive}: not a zip; valid: a zip of square images")
    with zipfile.ZipFile(archive) as file:
        digest = _digest(archive, file, members)
        pictures = [_read(file, name, resolution, channels) for name in members]
    return Dataset(images=torch.stack(pictures), digest=digest, mirror=mirror, seed=seed)


def image_members(archive: Path) -> list[str]:
    """Return the names of all images in a zip, sorted."""
    if not zipfile.is_zipfile(archive):
        raise UsageError(f"{archive}: not a zip; valid: a zip of square images")
    with zipfile.ZipFile(archive) as file:
        return sorted(n for n in file.namelist() if Path(n).suffix.lower() in (".png", ".jpg", ".jpeg"))


def _digest(archive: Path, file: zipfile.ZipFile, members: Sequence[str]) -> str:
    known = {info.filename: info for info in file.infolist()}
    missing = [name for name in members if name not in known]
    if missing:
        raise UsageError(f"{archive}: {missing[0]} is not in it; valid: names of members of the zip")
    rows = [(name, known[name].CRC, known[name].file_size) for name in members]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _read(file: zipfile.ZipFile, name: str, resolution: int, channels: int) -> Tensor:
    with file.open(name) as stream, Image.open(stream) as opened:
        if opened.width != opened.height:
            raise UsageError(f"{name}: {opened.width} x {opened.height} pixels; valid: a square image")
        picture = opened.convert("L" if channels == 1 else "RGB")
    if picture.width != resolution:
        larger = picture.width > resolution
        method = Image.Resampling.BOX if larger else Image.Resampling.BICUBIC
        picture = picture.resize((resolution, resolution), method)
    pixels = np.array(picture)  # a copy: tensors must own writable memory
    return torch.from_numpy(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy())
