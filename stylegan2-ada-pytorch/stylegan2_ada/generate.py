"""Images from seeds, and grids of images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylegan2_ada.networks import LATENT, Generator


def latents(seeds: Sequence[int]) -> Tensor:
    """Return one latent a seed, N x Z, the same for a seed whatever its neighbours."""
    rows = [np.random.RandomState(_words(seed)).randn(LATENT) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).float()


def _words(seed: int) -> int | list[int]:
    """Return a seed as RandomState takes it: from 2**32 on, which it refuses, as 32-bit words, low first."""
    return seed if seed < 2**32 else [seed % 2**32, seed // 2**32]


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images from -1..1 to 0..255."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def generate(
    generator: Generator, seeds: Sequence[int], truncation_psi: float, batch: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield images of the seeds in their order, a batch at a time: N x H x W, or N x H x W x 3."""
    device = generator.mapping.w_avg.device
    for first in range(0, len(seeds), batch):
        z_NZ = latents(seeds[first : first + batch]).to(device)
        with torch.inference_mode():
            images = to_uint8(generator(z_NZ, truncation=truncation_psi, noise="const"))
        yield _channels_last(images)


def save_grid(images: Tensor, path: Path, columns: int = 8) -> None:
    """Write uint8 images, N x C x H x W, as one PNG, row by row; an unfilled row is left out."""
    columns = min(columns, len(images))
    rows = len(images) // columns
    n, channels, height, width = images[: rows * columns].shape
    tiled = images[:n].reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    picture = _channels_last(tiled.reshape(1, channels, rows * height, columns * width))[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _channels_last(images: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = images.permute(0, 2, 3, 1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
