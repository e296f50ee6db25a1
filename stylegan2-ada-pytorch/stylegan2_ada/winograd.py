"""3x3 convolution in float32 on a CPU with a quarter of the multiplications (Winograd, arXiv 1509.09308).

F(4x4, 3x3) takes tiles of 6 x 6 pixels to 4 x 4 results by 36 products where the sum itself takes 144:
y = A^T [(G w G^T) * (B^T x B)] A, summed over channels, so that the work is 36 products of matrices. The
points 0, +-2/3, +-4/3 and infinity keep the rounding error near that of a direct sum; the usual 0, +-1, +-2
lose 2.6 times as much. Convolution and weight gradient are bilinear and each other's derivatives: two
functions serve every order of differentiation.
Shapes: N images, I in, O out channels, H x W pixels (multiples of 4), T tiles, P = 36 points.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TILE = 4  # results a side
_READ = _TILE + 2  # pixels read a side
_CHUNK = 12 << 20  # bytes of one scratch array: a few images stay in the cache


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return A^T (16 x 36), G (36 x 9) and B^T (36 x 36) of both axes (Toom and Cook)."""
    points = (0, 2 / 3, -2 / 3, 4 / 3, -4 / 3)

    def evaluate(coefficients: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        infinity = [0.0] * (coefficients - 1) + [1.0]
        return np.array([[p**k for k in range(coefficients)] for p in points] + [infinity])

    a_t, g, b_t = evaluate(_TILE).T, evaluate(3), np.linalg.inv(evaluate(_READ)).T
    both = [torch.from_numpy(np.kron(m, m)).float() for m in (a_t, g, b_t)]
    return both[0], both[1], both[2]


_A_T, _G, _B_T = _matrices()
_local = threading.local()


def suits(x_NIHW: Tensor, weight_OIKK: Tensor) -> bool:
    """Tell whether `convolve` takes these and is faster than a direct sum: measured from 128 channels on."""
    height, width = x_NIHW.shape[-2:]
    return (
        x_NIHW.device.type == "cpu"
        and x_NIHW.dtype == weight_OIKK.dtype == torch.float32
        and weight_OIKK.shape[-1] == 3
        and min(weight_OIKK.shape[:2]) >= 128
        and height % _TILE == width % _TILE == 0
        and height * width >= 64
    )


def convolve(x_NIHW: Tensor, weight_OIKK: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Correlate with zeros beyond the border, as conv2d with padding 1; differentiable to any order."""
    y_NOHW: Tensor = _Convolution.apply(x_NIHW, weight_OIKK, bias_O, False)
    return y_NOHW


@contextmanager
def no_weight_gradients() -> Iterator[None]:
    """Skip gradients of weights where they are not asked for, which a Python function cannot tell."""
    before, _local.skip = getattr(_local, "skip", False), True
    try:
        yield
    finally:
        _local.skip = before


class _Convolution(torch.autograd.Function):
    """The convolution, or its adjoint in the image: the kernel turned round and its channels exchanged."""

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, weight_OIKK: Tensor, bias: Tensor | None, adjoint: bool) -> Tensor:
        ctx.save_for_backward(x_NCHW, weight_OIKK)
        ctx.adjoint = adjoint
        return _convolve(x_NCHW, weight_OIKK, bias, adjoint)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_NCHW, weight_OIKK = ctx.saved_tensors
        (grad,) = grads
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _Convolution.apply(grad, weight_OIKK, None, not ctx.adjoint)
        if ctx.needs_input_grad[1] and not getattr(_local, "skip", False):
            to_weight = _WeightGradient.apply(*((grad, x_NCHW) if ctx.adjoint else (x_NCHW, grad)))
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(dim=(0, 2, 3))
        return to_x, to_weight, to_bias, None


class _WeightGradient(torch.autograd.Function):
    """What the gradient y of the results makes of the weights, O x I x 3 x 3."""

    @staticmethod
    def forward(ctx: Any, x_NIHW: Tensor, y_NOHW: Tensor) -> Tensor:
        ctx.save_for_backward(x_NIHW, y_NOHW)
        return _correlate(x_NIHW, y_NOHW)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_NIHW, y_NOHW = ctx.saved_tensors
        weight_OIKK = grads[0]
        to_x = _Convolution.apply(y_NOHW, weight_OIKK, None, True) if ctx.needs_input_grad[0] else None
        to_y = _Convolution.apply(x_NIHW, weight_OIKK, None, False) if ctx.needs_input_grad[1] else None
        return to_x, to_y


def _convolve(x_NIHW: Tensor, weight_OIKK: Tensor, bias: Tensor | None, adjoint: bool) -> Tensor:
    x_NHWI = x_NIHW.permute(0, 2, 3, 1)
    n, height, width, inputs = x_NHWI.shape
    points_PIO = _transform_weight(weight_OIKK, adjoint)
    outputs = points_PIO.shape[2]
    y_NHWO = x_NIHW.new_empty(n, height, width, outputs)
    for part in _parts(n, height * width * max(inputs, outputs)):
        x_PTI = _transform_image(x_NHWI[part])
        y_PTO = torch.bmm(x_PTI, points_PIO, out=_scratch("products", 36, x_PTI.shape[1], outputs))
        flat = _scratch("results", 16, x_PTI.shape[1] * outputs)
        torch.mm(_A_T, y_PTO.view(36, -1), out=flat)
        tiles = _tiles(y_NHWO[part])
        torch.add(flat.view(tiles.shape), 0 if bias is None else bias, out=tiles)
    return y_NHWO.permute(0, 3, 1, 2)


def _correlate(x_NIHW: Tensor, y_NOHW: Tensor) -> Tensor:
    x_NHWI, y_NHWO = x_NIHW.permute(0, 2, 3, 1), y_NOHW.permute(0, 2, 3, 1)
    n, height, width, inputs = x_NHWI.shape
    outputs = y_NHWO.shape[3]
    sum_POI = _scratch("weights", 36, outputs, inputs)
    for part in _parts(n, height * width * max(inputs, outputs)):
        x_PTI, tiles = _transform_image(x_NHWI[part]), _tiles(y_NHWO[part])
        flat = _scratch("results", *tiles.shape).copy_(tiles).view(16, -1)
        y_PTO = _scratch("products", 36, x_PTI.shape[1], outputs)
        torch.mm(_A_T.T, flat, out=y_PTO.view(36, -1))
        sum_POI.baddbmm_(y_PTO.transpose(1, 2), x_PTI, beta=float(part.start > 0))
    weight_9 = _G.T @ sum_POI.view(36, -1)
    return weight_9.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)


def _transform_weight(weight_OIKK: Tensor, adjoint: bool) -> Tensor:
    """Return the kernel at the points, P x in x out of the convolution or of its adjoint."""
    outputs, inputs = weight_OIKK.shape[:2]
    kernel_9 = weight_OIKK.permute(2, 3, 0, 1).reshape(9, -1)
    points = _scratch("weights", 36, outputs * inputs)
    torch.mm(_G.flip(1) if adjoint else _G, kernel_9, out=points)
    points_POI = points.view(36, outputs, inputs)
    return points_POI if adjoint else points_POI.transpose(1, 2)


def _transform_image(x_NHWC: Tensor) -> Tensor:
    """Return the tiles, which overlap by two pixels, at the points: P x T x C."""
    n, height, width, channels = x_NHWC.shape
    padded = _scratch("padded", n, height + 2, width + 2, channels)
    for border in (padded[:, 0], padded[:, -1], padded[:, :, 0], padded[:, :, -1]):
        border.zero_()
    padded[:, 1:-1, 1:-1] = x_NHWC
    to_n, to_y, to_x, _ = padded.stride()
    shape = (_READ, _READ, n, height // _TILE, width // _TILE, channels)
    tiles = padded.as_strided(shape, (to_y, to_x, to_n, _TILE * to_y, _TILE * to_x, 1))
    flat = _scratch("tiles", *shape).copy_(tiles).view(36, -1)
    points = torch.mm(_B_T, flat, out=_scratch("points", 36, flat.shape[1]))
    return points.view(36, -1, channels)


def _tiles(y_NHWC: Tensor) -> Tensor:
    """View an image as 4 x 4 x N x H/4 x W/4 x C."""
    n, height, width, channels = y_NHWC.shape
    cut = y_NHWC.reshape(n, height // _TILE, _TILE, width // _TILE, _TILE, channels)
    return cut.permute(2, 4, 0, 1, 3, 5)


def _parts(n: int, values: int) -> list[slice]:
    """Cut n images of so many values so that one scratch array of tiles is about `_CHUNK` bytes."""
    step = max(_CHUNK // (values * 4 * 36 // 16), 1)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _scratch(name: str, *shape: int) -> Tensor:
    """Return memory of this thread for one use of a name: fresh pages cost more than the arithmetic."""
    size = math.prod(shape)
    held: Tensor | None = getattr(_local, name, None)
    if held is None or held.numel() < size:
        with torch.inference_mode(False):
            held = torch.empty(size)
        setattr(_local, name, held)
    return held[:size].view(shape)
