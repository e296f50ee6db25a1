"""The wavelet filters of the augmentation pipe, and resampling by them (arXiv 2006.06676, Appendix B.2).

An image of few channels gives a convolution too little to do, so that a filter runs here as matrix products:
the axis is cut into blocks, and all of them are multiplied by one small banded matrix. The taps are constants
and the adjoint is a band again, hence one autograd Function serves every order of derivative.
Shapes: N images, C channels, H x W pixels, K taps; G is one kernel for all images or one for each.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Array = npt.NDArray[Any]

# The low-pass of the sym6 wavelet, scaled to a sum of two.
_SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
_SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
REACH = len(_SYM6) // 4  # pixels that sym6 at twice the resolution reaches over the border, each side
_BLOCK = 16  # positions of the coarser side: more waste products with zeros, fewer waste registers


@dataclass(frozen=True, kw_only=True)
class Band:
    """Along an axis, fine[j] = sum of taps[j + shift - factor * i] coarse[i] over i; or the adjoint of it."""

    factor: int
    shift: int
    coarse: int  # length of the axis
    fine: int
    adjoint: bool = False

    @property
    def length(self) -> int:
        """Positions of the result."""
        return self.coarse if self.adjoint else self.fine


def at(array: Array, images: Tensor) -> Tensor:
    """Return a host array as a tensor on the images' device, without waiting for the device."""
    tensor = torch.from_numpy(array)
    if tensor.is_floating_point():
        tensor = tensor.to(images.dtype)
    if images.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(images.device, non_blocking=True)


def upsample(images: Tensor) -> Tensor:
    """Double the images' size by the sym6 low-pass; the raster moves by half of a fine pixel."""
    taps_1K = _sym6(images.device, images.dtype)
    for axis in (3, 2):
        size = images.shape[axis]
        images = filtered(images, taps_1K, Band(factor=2, shift=5, coarse=size, fine=2 * size), axis)
    return images


def downsample(images: Tensor) -> Tensor:
    """Halve the images' size by the reversed sym6 low-pass, less the REACH at each side."""
    taps_1K = _sym6(images.device, images.dtype) / 2
    for axis in (2, 3):
        size = images.shape[axis]
        band = Band(factor=2, shift=-1, coarse=size // 2 - 2 * REACH, fine=size, adjoint=True)
        images = filtered(images, taps_1K, band, axis)
    return images


@lru_cache
def _sym6(device: torch.device, dtype: torch.dtype) -> Tensor:
    return (torch.tensor(_SYM6, dtype=torch.float64) * 2**0.5)[None].to(device, dtype)


@lru_cache
def filter_bank() -> Array:
    """Return symmetric filters for four octaves, the lowest first: 4 x 43 taps that add up to an impulse."""
    low = np.convolve(_SYM2, _SYM2[::-1]) / 2
    high = low * np.array([-1, 1, -1, 1, -1, 1, -1])
    below = np.ones(1)  # what is left to split
    bands: list[Array] = []
    for octave in range(3):
        bands.insert(0, np.convolve(below, _stretched(high, 2**octave)))
        below = np.convolve(below, _stretched(low, 2**octave))
    bands.insert(0, below)
    return np.stack([np.pad(band, (len(below) - len(band)) // 2) for band in bands])


def _stretched(taps_K: Array, factor: int) -> Array:
    stretched = np.zeros((len(taps_K) - 1) * factor + 1)
    stretched[::factor] = taps_K
    return stretched


def amplify(images: Tensor, gains_N4: Array) -> Tensor:
    """Multiply the four octaves of every image by its gains; borders are reflected."""
    taps_NK = at(gains_N4 @ filter_bank(), images)
    reach = taps_NK.shape[1] // 2
    height, width = images.shape[-2:]
    # Reflection has no more than the image to show; beyond lies zero.
    y, x = min(reach, height - 1), min(reach, width - 1)
    images = functional.pad(images, (x, x, y, y), mode="reflect")
    for axis, size, margin in ((3, width, x), (2, height, y)):
        band = Band(factor=1, shift=reach + margin, coarse=size + 2 * margin, fine=size)
        images = filtered(images, taps_NK, band, axis)
    return images


def filtered(images: Tensor, taps_GK: Tensor, band: Band, axis: int) -> Tensor:
    """Apply a band along axis 2 or 3 by one kernel for all images or one for each; zero lies outside."""
    y_NCHW: Tensor = _Filtered.apply(images, taps_GK, band, axis)
    return y_NCHW


class _Filtered(torch.autograd.Function):
    """A band; its derivative is the adjoint band."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, taps_GK: Tensor, band: Band, axis: int) -> Tensor:
        ctx.save_for_backward(taps_GK)
        ctx.band, ctx.axis = band, axis
        return _in_blocks(images, taps_GK, band, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (taps_GK,) = ctx.saved_tensors
        adjoint = replace(ctx.band, adjoint=not ctx.band.adjoint)
        return filtered(grads[0], taps_GK, adjoint, ctx.axis), None, None, None


def _in_blocks(images: Tensor, taps_GK: Tensor, band: Band, axis: int) -> Tensor:
    """Multiply every block of the axis, with what its results see around it, by the matrix of the band."""
    index_OI, first = _index(taps_GK.shape[1], band.factor, band.shift, band.adjoint, images.device)
    matrix_GOI = functional.pad(taps_GK, (0, 1))[:, index_OI]
    (outputs, inputs), step = index_OI.shape, _BLOCK * (band.factor if band.adjoint else 1)
    blocks = -(-band.length // outputs)
    after = first + (blocks - 1) * step + inputs - images.shape[axis]
    padded = functional.pad(images, (-first, after) if axis == 3 else (0, 0, -first, after))
    windows = padded.unfold(axis, inputs, step)
    if axis == 3:
        rows = windows.reshape(len(matrix_GOI), -1, inputs) @ matrix_GOI.mT
        return rows.reshape(*images.shape[:3], -1)[..., : band.length]
    columns = matrix_GOI[:, None, None] @ windows.mT
    return columns.flatten(2, 3)[:, :, : band.length]


@lru_cache
def _index(taps: int, factor: int, shift: int, adjoint: bool, device: torch.device) -> tuple[Tensor, int]:
    """Return which tap joins each input of a block to each output, `taps` for none; and the first input."""
    if adjoint:
        first, last = -shift, taps - 1 - shift + factor * (_BLOCK - 1)
        coarse, fine = np.ogrid[:_BLOCK, first : last + 1]
    else:
        first, last = -((taps - 1 - shift) // factor), (factor * _BLOCK - 1 + shift) // factor
        fine, coarse = np.ogrid[: factor * _BLOCK, first : last + 1]
    tap = fine + shift - factor * coarse
    inside = (tap >= 0) & (tap < taps)
    return torch.from_numpy(np.where(inside, tap, taps)).to(device), first
