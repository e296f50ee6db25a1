"""FIR resampling: zero insertion, padding, convolution and decimation as one operator with a cheap adjoint.

The taps are constants, so the operator is linear in the image alone: its derivative is its adjoint and the
derivative of that is the operator again. One autograd Function therefore serves every order, where the double
backward of a grouped convolution would run one convolution a channel.
Shapes: N images, C channels, H x W pixels; taps are K (separable) or K x K.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Padding = tuple[int, int, int, int]  # left, right, top, bottom; negative crops
Pair = tuple[int, int]  # vertical, horizontal


def binomial_filter() -> Tensor:
    """Return the low-pass filter [1, 3, 3, 1] x [1, 3, 3, 1] / 64 of StyleGAN2."""
    taps_K = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps_K, taps_K) / 64


def fir(
    x_NCHW: Tensor,
    taps: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = (0, 0, 0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Insert zeros, pad, convolve and decimate; `padding` counts pixels of the zero-inserted image."""
    left, right, top, bottom = padding
    if taps.ndim == 2:
        return _pass(x_NCHW, taps * gain, (up, up), (down, down), padding)
    row, column = taps[None, :] * gain**0.5, taps[:, None] * gain**0.5
    x_NCHW = _pass(x_NCHW, row, (1, up), (1, down), (left, right, 0, 0))
    return _pass(x_NCHW, column, (up, 1), (down, 1), (0, 0, top, bottom))


def upsample(x_NCHW: Tensor, taps: Tensor) -> Tensor:
    """Double the image's size, keeping its mean."""
    k = taps.shape[-1]
    before, after = (k + 1) // 2, (k - 2) // 2
    return fir(x_NCHW, taps, up=2, padding=(before, after, before, after), gain=4.0)


def downsample(x_NCHW: Tensor, taps: Tensor) -> Tensor:
    """Halve the image's size."""
    k = taps.shape[-1]
    before, after = (k - 1) // 2, (k - 2) // 2
    return fir(x_NCHW, taps, down=2, padding=(before, after, before, after))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A gather: pad, then correlate with the kernel every `stride` pixels. Its adjoint is a scatter."""

    stride: Pair
    padding: Padding
    inner: Pair  # size of what is gathered from and scattered to
    adjoint: bool


def _pass(x_NCHW: Tensor, taps_KK: Tensor, up: Pair, down: Pair, padding: Padding) -> Tensor:
    """Apply one 2-D filter: as a gather where nothing is inserted, else as a scatter."""
    taps_KK = taps_KK.to(x_NCHW.dtype)
    height, width = x_NCHW.shape[-2:]
    if up == (1, 1):
        # A gather correlates, so the taps of a convolution are turned round.
        plan = _Plan(stride=down, padding=padding, inner=(height, width), adjoint=False)
        return _apply(x_NCHW, taps_KK.flip((0, 1)), plan)
    left, right, top, bottom = padding
    tall, wide = taps_KK.shape
    inner = (height * up[0] + top + bottom - tall + 1, width * up[1] + left + right - wide + 1)
    crop = (wide - 1 - left, wide - up[1] - right, tall - 1 - top, tall - up[0] - bottom)
    plan = _Plan(stride=up, padding=crop, inner=inner, adjoint=True)
    return _apply(x_NCHW, taps_KK, plan)[:, :, :: down[0], :: down[1]]


class _Fir(torch.autograd.Function):
    """Run a plan; its derivative is the plan with gather and scatter exchanged."""

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, kernel: Tensor, plan: _Plan) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.plan = plan
        return (_scatter if plan.adjoint else _gather)(x_NCHW, kernel, plan)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (kernel,) = ctx.saved_tensors
        return _apply(grads[0], kernel, replace(ctx.plan, adjoint=not ctx.plan.adjoint)), None, None


def _apply(x_NCHW: Tensor, kernel: Tensor, plan: _Plan) -> Tensor:
    y_NCHW: Tensor = _Fir.apply(x_NCHW, kernel, plan)
    return y_NCHW


def _gather(x_NCHW: Tensor, kernel: Tensor, plan: _Plan) -> Tensor:
    left, right, top, bottom = plan.padding
    symmetric = left == right >= 0 and top == bottom >= 0
    padded = x_NCHW if symmetric else functional.pad(x_NCHW, plan.padding)
    inside = (top, left) if symmetric else (0, 0)
    channels = x_NCHW.shape[1]
    weight = kernel.expand(channels, 1, *kernel.shape)
    return functional.conv2d(padded, weight, stride=plan.stride, padding=inside, groups=channels)


def _scatter(x_NCHW: Tensor, kernel: Tensor, plan: _Plan) -> Tensor:
    if plan.stride == (1, 1):
        return _gather(x_NCHW, kernel.flip((0, 1)), _turned(plan, kernel))
    if x_NCHW.device.type == "cpu" and x_NCHW.dtype == torch.bfloat16:
        return _scatter_by_gather(x_NCHW, kernel, plan)
    left, right, top, bottom = plan.padding
    # What the stride did not reach at the far end was never gathered from, so nothing is scattered there.
    rest_y = plan.inner[0] + top + bottom - (x_NCHW.shape[-2] - 1) * plan.stride[0] - kernel.shape[0]
    rest_x = plan.inner[1] + left + right - (x_NCHW.shape[-1] - 1) * plan.stride[1] - kernel.shape[1]
    symmetric = left == right >= 0 and top == bottom >= 0 and rest_y == rest_x == 0
    inside = (top, left) if symmetric else (0, 0)
    channels = x_NCHW.shape[1]
    weight = kernel.expand(channels, 1, *kernel.shape)
    y_NCHW = functional.conv_transpose2d(x_NCHW, weight, stride=plan.stride, padding=inside, groups=channels)
    return y_NCHW if symmetric else functional.pad(y_NCHW, (-left, rest_x - right, -top, rest_y - bottom))


def _turned(plan: _Plan, kernel: Tensor) -> _Plan:
    """Return the gather by the kernel turned round that is the scatter at stride 1, and a third faster."""
    (left, right, top, bottom), (tall, wide) = plan.padding, kernel.shape
    padding = (wide - 1 - left, wide - 1 - right, tall - 1 - top, tall - 1 - bottom)
    return replace(plan, padding=padding, adjoint=False)


def _scatter_by_gather(x_NCHW: Tensor, kernel: Tensor, plan: _Plan) -> Tensor:
    """Write pixels between zeros and correlate with the kernel turned round.

    The same sums; PyTorch's own way is slow in bfloat16 on a CPU (benchmarks/gan_training.py).
    """
    channels, (tall, wide) = x_NCHW.shape[1], kernel.shape
    size = (len(x_NCHW), channels, plan.inner[0] + tall - 1, plan.inner[1] + wide - 1)
    read_NCHW = torch.empty(size, dtype=x_NCHW.dtype, memory_format=_layout(x_NCHW)).zero_()
    rows = _places(x_NCHW.shape[2], size[2], plan.stride[0], tall - 1 - plan.padding[2])
    columns = _places(x_NCHW.shape[3], size[3], plan.stride[1], wide - 1 - plan.padding[0])
    read_NCHW[:, :, rows[1], columns[1]] = x_NCHW[:, :, rows[0], columns[0]]
    return functional.conv2d(read_NCHW, kernel.flip((0, 1)).expand(channels, 1, tall, wide), groups=channels)


def _layout(x_NCHW: Tensor) -> torch.memory_format:
    last = x_NCHW.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _places(pixels: int, size: int, step: int, first: int) -> tuple[slice, slice]:
    """Return which pixels lie within `size` places, and where, if pixel 0 lies at `first`."""
    begin = max(0, -(first // step))
    end = min(pixels, -((first - size) // step))
    return slice(begin, end), slice(first + begin * step, max(0, first + (end - 1) * step + 1), step)
