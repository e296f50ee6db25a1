"""The three convolutions of StyleGAN2: at one size, to twice the size and to half of it.

Weights come scaled and in the type of the image; a 3x3 that changes the size keeps a low-pass filter on the
side of the larger image, so that nothing aliases (arXiv 1912.04958, Section 4.1).
Convolution and weight gradient are bilinear and each other's derivatives, so two functions serve every order.
PyTorch's own second derivative, which R1 and path length would take, makes of a weight's gradient a
convolution whose kernel is a whole image, for which neither cuDNN nor a CPU has a fast way.
Shapes: N images, I and O feature maps, H x W pixels, K x K taps.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stylegan2_ada import winograd, winograd_tiles
from stylegan2_ada.resampling import downsample, fir


def conv(x_NIHW: Tensor, weight_OIKK: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Correlate at the input's size, N x O x H x W."""
    return convolve(x_NIHW, weight_OIKK, bias_O)


def conv_up(x_NIHW: Tensor, weight_OIKK: Tensor, taps: Tensor) -> Tensor:
    """Convolve with a 3x3 between inserted zeros, then low-pass, N x O x 2H x 2W."""
    y_NOHW = convolve(x_NIHW, weight_OIKK.transpose(0, 1), stride=2, transposed=True)
    return fir(y_NOHW, taps, padding=(1, 1, 1, 1), gain=4.0)


def conv_down(x_NIHW: Tensor, weight_OIKK: Tensor, bias_O: Tensor | None, taps: Tensor) -> Tensor:
    """Low-pass, then correlate with a 3x3 or 1x1 at every second pixel, N x O x H/2 x W/2."""
    if weight_OIKK.shape[-1] == 1:
        # Only every second pixel is read, so only those are filtered.
        return convolve(downsample(x_NIHW, taps), weight_OIKK, bias_O)
    height, width = x_NIHW.shape[-2:]
    x_NIHW = fir(x_NIHW, taps, padding=(2, 2 - width % 2, 2, 2 - height % 2))  # so that every pixel is read
    return convolve(x_NIHW, weight_OIKK, bias_O, stride=2)


def convolve(
    x_NIHW: Tensor,
    weight: Tensor,
    bias_O: Tensor | None = None,
    *,
    stride: int = 1,
    transposed: bool = False,
) -> Tensor:
    """Do as conv2d (weight O x I x K x K) or conv_transpose2d (I x O x K x K); differentiable to any order.

    Stride 1 reads zeros beyond the border; stride 2 reads none, and takes images of 2H + K - 2 pixels a side.
    """
    padding = weight.shape[-1] // 2 if stride == 1 else 0
    plan = _Plan(stride=stride, padding=padding, transposed=transposed, asked=_here.asked)
    y_NOHW: Tensor = _Convolution.apply(x_NIHW, weight, bias_O, plan)
    return y_NOHW


@contextmanager
def no_weight_gradients() -> Iterator[None]:
    """Skip gradients of weights where they are not asked for, which a Python function cannot tell.

    It holds for convolutions of this thread, wherever going back runs: on a GPU that is another thread.
    """
    asked, before = _here.asked, _here.asked.weights
    asked.weights = False
    try:
        yield
    finally:
        asked.weights = before


class _Asked:
    """What gradients the convolutions of a thread are to have."""

    weights = True


class _Here(threading.local):
    """One for each thread."""

    def __init__(self) -> None:
        self.asked = _Asked()


_here = _Here()


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A convolution, or its transpose: the adjoint in the image."""

    stride: int
    padding: int
    transposed: bool
    asked: _Asked


class _Convolution(torch.autograd.Function):
    """What a plan says; its derivative in the image is the plan transposed."""

    @staticmethod
    def forward(ctx: Any, image_NCHW: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:
        ctx.save_for_backward(image_NCHW, weight)
        ctx.plan = plan
        if winograd.convolves(image_NCHW, weight, plan.stride):
            return winograd_tiles.convolve(image_NCHW, weight, bias, turned=plan.transposed)
        direct = functional.conv_transpose2d if plan.transposed else functional.conv2d
        return direct(image_NCHW, weight, bias, stride=plan.stride, padding=plan.padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (image_NCHW, weight), plan = grads, ctx.saved_tensors, ctx.plan
        wanted = [
            asked and (plan.asked.weights or i == 0) for i, asked in enumerate(ctx.needs_input_grad[:3])
        ]
        x_NIHW, y_NOHW = (grad, image_NCHW) if plan.transposed else (image_NCHW, grad)
        if not torch.is_grad_enabled() and not _by_tiles(image_NCHW, y_NOHW, weight, plan):
            return (*_derivatives(grad, image_NCHW, weight, plan, wanted), None)
        to_image = to_weight = to_bias = None
        if wanted[0]:
            to_image = _Convolution.apply(grad, weight, None, replace(plan, transposed=not plan.transposed))
        if wanted[1]:
            to_weight = _WeightGradient.apply(x_NIHW, y_NOHW, weight.detach(), plan)
        if wanted[2]:
            to_bias = grad.sum(dim=(0, 2, 3))
        return to_image, to_weight, to_bias, None


def _by_tiles(image_NCHW: Tensor, y_NOHW: Tensor, weight: Tensor, plan: _Plan) -> bool:
    """Tell whether tiles serve any derivative."""
    stride = plan.stride
    return winograd.convolves(image_NCHW, weight, stride) or winograd.makes_gradient(y_NOHW, weight, stride)


def _derivatives(
    grad: Tensor, image: Tensor, weight: Tensor, plan: _Plan, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of image, weight and bias that are wanted, by PyTorch's own sums at once."""
    stride, padding, outputs = [plan.stride] * 2, [plan.padding] * 2, [grad.shape[1]]
    found: list[Tensor | None] = torch.ops.aten.convolution_backward(
        grad, image, weight, outputs, stride, padding, [1, 1], plan.transposed, [0, 0], 1, wanted
    )
    return found


class _WeightGradient(torch.autograd.Function):
    """What the gradient y of the results makes of the weights; of `weight` the shape alone counts."""

    @staticmethod
    def forward(ctx: Any, x_NIHW: Tensor, y_NOHW: Tensor, weight: Tensor, plan: _Plan) -> Tensor | None:
        ctx.save_for_backward(x_NIHW, y_NOHW)
        ctx.plan = plan
        if winograd.makes_gradient(y_NOHW, weight, plan.stride):
            return winograd_tiles.weight_gradient(x_NIHW, y_NOHW, plan.stride)
        once = replace(plan, transposed=False)
        return _derivatives(y_NOHW, x_NIHW, weight, once, [False, True, False])[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad_OIKK,), (x_NIHW, y_NOHW), plan = grads, ctx.saved_tensors, ctx.plan
        to_x = to_y = None
        if ctx.needs_input_grad[0]:
            to_x = _Convolution.apply(y_NOHW, grad_OIKK, None, replace(plan, transposed=True))
        if ctx.needs_input_grad[1]:
            to_y = _Convolution.apply(x_NIHW, grad_OIKK, None, replace(plan, transposed=False))
        return to_x, to_y, None, None
