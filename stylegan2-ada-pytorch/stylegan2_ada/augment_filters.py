"""The wavelet filters of the augmentation pipe, and resampling by them (arXiv 2006.06676, Appendix B.2).

An image of few channels gives a convolution too little to do, so that a filter runs here as matrix products:
the axis is cut into blocks, and all of them are multiplied by one small banded matrix. The taps are constants
and the adjoint is a band again, hence one autograd Function serves every order of derivative.
Shapes: N images, C channels, H x W pixels, K taps; G is one kernel for all images or one for each.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from stylegan2_ada.devices import moved

Array = npt.NDArray[Any]

# The low-pass of the sym6 wavelet, scaled to a sum of two.
_SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
_SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
REACH = len(_SYM6) // 4  # pixels that sym6 at twice the resolution reaches over the border, each side


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

    def step(self, outputs: int) -> int:
        """Return how many inputs further the next so many outputs look."""
        return outputs * self.factor if self.adjoint else outputs // self.factor


def at(array: Array, images: Tensor) -> Tensor:
    """Return a host array as a tensor on the images' device, without waiting for the device."""
    tensor = torch.from_numpy(array)
    if tensor.is_floating_point():
        tensor = tensor.to(images.dtype)
    return moved(tensor, images.device)


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
    (outputs, inputs), step = index_OI.shape, band.step(len(index_OI))
    matrix_GOI = functional.pad(taps_GK, (0, 1))[:, index_OI]
    blocks = -(-(-(-band.length * step // outputs) + inputs - step) // step)
    flat = _laid_out(images, axis, -first, blocks * step, inputs - step)
    product = _across_rows if axis == 2 else _along_rows
    return product(flat, matrix_GOI, images.shape, blocks, step).narrow(axis, 0, band.length)


def _laid_out(images: Tensor, axis: int, before: int, length: int, rest: int) -> Tensor:
    """Return the images' memory after padding or cropping an axis to a length, and `rest` zeros beyond.

    Padding by hand, so that the last block may reach over its image's end without a copy of any block.
    """
    shape = list(images.shape)
    size, shape[axis] = shape[axis], length
    stride = shape[3] if axis == 2 else 1
    count = math.prod(shape)
    flat = images.new_empty(count + rest * stride)
    flat[count:] = 0
    padded, start = flat[:count].view(shape), max(before, 0)
    kept = min(size + min(before, 0), length - start)
    padded.narrow(axis, start, kept).copy_(images.narrow(axis, max(-before, 0), kept))
    padded.narrow(axis, 0, start).zero_()
    padded.narrow(axis, start + kept, length - start - kept).zero_()
    return flat


def _across_rows(flat: Tensor, matrix_GOI: Tensor, shape: torch.Size, blocks: int, step: int) -> Tensor:
    n, c, _, w = shape
    outputs, inputs = matrix_GOI.shape[1:]
    windows = flat.as_strided((n * c * blocks, inputs, w), (step * w, w, 1))
    each = matrix_GOI[:, None].expand(n, c * blocks, outputs, inputs).reshape(-1, outputs, inputs)
    return torch.bmm(each, windows).view(n, c, blocks * outputs, w)


def _along_rows(flat: Tensor, matrix_GOI: Tensor, shape: torch.Size, blocks: int, step: int) -> Tensor:
    n, c, h, _ = shape
    g, outputs, inputs = matrix_GOI.shape
    count = n * c * h * blocks // g
    # Rows of a matrix may not overlap, so the inputs that a block shares with the next are a second product.
    own = flat.as_strided((g, count, step), (count * step, step, 1))
    shared = flat.as_strided((g, count, inputs - step), (count * step, step, 1), step)
    matrix_GIO = matrix_GOI.mT
    rows = torch.bmm(own, matrix_GIO[:, :step]).baddbmm_(shared, matrix_GIO[:, step:])
    return rows.view(n, c, h, blocks * outputs)


@lru_cache
def _index(taps: int, factor: int, shift: int, adjoint: bool, device: torch.device) -> tuple[Tensor, int]:
    """Return which tap joins each input of a block to each output, `taps` for none; and the first input."""
    outputs = -(-taps // 16) * 16  # no fewer than taps: a block shares inputs with the next one alone
    if adjoint:
        first, last = -shift, taps - 1 - shift + factor * (outputs - 1)
        coarse, fine = np.ogrid[:outputs, first : last + 1]
    else:
        first, last = -((taps - 1 - shift) // factor), (outputs - 1 + shift) // factor
        fine, coarse = np.ogrid[:outputs, first : last + 1]
    tap = fine + shift - factor * coarse
    inside = (tap >= 0) & (tap < taps)
    return torch.from_numpy(np.where(inside, tap, taps)).to(device), first
