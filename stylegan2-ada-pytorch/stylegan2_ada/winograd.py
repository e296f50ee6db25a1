"""3x3 convolutions on a CPU with fewer multiplications (Winograd, arXiv 1509.09308).

Convolution and weight gradient are bilinear and each other's derivatives: two functions serve every order of
differentiation. What comes from tiles (winograd_tiles.py) and what from PyTorch's direct sum was measured
(benchmarks/gan_convolutions.py). In float32, from tiles the convolution at stride 1, from 128 channels on,
everywhere; the gradient of weights also at stride 2 where PyTorch's takes longer: in wide layers on Intel's
processors, and where there is no AVX-512 in thin ones too. In bfloat16 both, at stride 1 and in wide layers
alone, where vectors multiply that type and not matrix units.
Shapes: N images, I in, O out channels, H x W pixels, K taps.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from stylegan2_ada import devices, winograd_tiles

_local = threading.local()


def suits(image: Tensor, weight_OIKK: Tensor, results: tuple[int, int], stride: int = 1) -> bool:
    """Tell whether tiles serve a convolution with so many results, or its weights' gradient, better."""
    height, width = results
    return (
        image.device.type == "cpu"
        and image.dtype == weight_OIKK.dtype
        and weight_OIKK.shape[-1] == 3
        and len(image) > 0
        and height % 4 == width % 4 == 0
        and (_wide(weight_OIKK, results, stride) or _slow_gradient(weight_OIKK, results))
    )


def _wide(weight_OIKK: Tensor, results: tuple[int, int], stride: int) -> bool:
    """Tell whether the convolution itself is faster by tiles."""
    channels, pixels = min(weight_OIKK.shape[:2]), results[0] * results[1]
    if stride != 1:
        return False
    if weight_OIKK.dtype == torch.bfloat16:
        return channels >= 256 and pixels >= 256 and _has_vectors_for_bfloat16()
    return weight_OIKK.dtype == torch.float32 and channels >= 128 and pixels >= 64


def _has_vectors_for_bfloat16() -> bool:
    """Tell whether vectors multiply the type here, and not matrix units, which would wait for tiles."""
    return "avx512_bf16" in devices.processor() and "amx_bf16" not in devices.processor()


def _gradient_by_tiles(y_NOHW: Tensor, stride: int) -> bool:
    """Tell whether the gradient of weights that a forward pass by tiles asks for is faster by them too."""
    n, _, height, width = y_NOHW.shape
    return y_NOHW.dtype == torch.float32 or (stride == 1 and n * height * width >= 1024)


def _slow_gradient(weight_OIKK: Tensor, results: tuple[int, int]) -> bool:
    """Tell whether PyTorch's gradient of weights is slower than tiles, by what was measured."""
    least = min(weight_OIKK.shape[:2])
    large = weight_OIKK.dtype == torch.float32 and least * results[0] * results[1] >= 1 << 15
    return large and least >= _least_channels()


def _least_channels() -> float:
    """Return from how many channels on it is, on this processor."""
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX2":
        return 64
    return 128 if capability == "AVX512" and devices.INTEL in devices.processor() else math.inf


def convolve(x_NIHW: Tensor, weight_OIKK: Tensor, bias_O: Tensor | None = None, *, stride: int = 1) -> Tensor:
    """Correlate as conv2d; differentiable to any order.

    Stride 1 reads zeros beyond the border; stride 2 reads none and takes images of 2H + 1 x 2W + 1 pixels.
    """
    y_NOHW: Tensor = _Convolution.apply(x_NIHW, weight_OIKK, bias_O, _Plan(stride))
    return y_NOHW


def convolve_transposed(x_NIHW: Tensor, weight_IOKK: Tensor) -> Tensor:
    """Convolve between inserted zeros as conv_transpose2d of stride 2: N x O x 2H + 1 x 2W + 1."""
    y_NOHW: Tensor = _Convolution.apply(x_NIHW, weight_IOKK, None, _Plan(2, transposed=True))
    return y_NOHW


@contextmanager
def no_weight_gradients() -> Iterator[None]:
    """Skip gradients of weights where they are not asked for, which a Python function cannot tell."""
    before, _local.skip = getattr(_local, "skip", False), True
    try:
        yield
    finally:
        _local.skip = before


@dataclass(frozen=True)
class _Plan:
    """A convolution, or its transpose: the adjoint in the image."""

    stride: int
    transposed: bool = False


class _Convolution(torch.autograd.Function):
    """What a plan says; its derivative in the image is the plan transposed."""

    @staticmethod
    def forward(ctx: Any, image_NCHW: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:
        ctx.save_for_backward(image_NCHW, weight)
        ctx.plan = plan
        height, width = image_NCHW.shape[2:]
        if _wide(weight, (height, width), plan.stride):
            return winograd_tiles.convolve(image_NCHW, weight, bias, turned=plan.transposed)
        direct = functional.conv_transpose2d if plan.transposed else functional.conv2d
        return direct(image_NCHW, weight, bias, stride=plan.stride, padding=2 - plan.stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (image_NCHW, weight), plan = ctx.saved_tensors, ctx.plan
        (grad,) = grads
        to_image = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            adjoint = replace(plan, transposed=not plan.transposed)
            to_image = _Convolution.apply(grad, weight, None, adjoint)
        if ctx.needs_input_grad[1] and not getattr(_local, "skip", False):
            x_NIHW, y_NOHW = (grad, image_NCHW) if plan.transposed else (image_NCHW, grad)
            to_weight = _WeightGradient.apply(x_NIHW, y_NOHW, plan.stride)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(dim=(0, 2, 3))
        return to_image, to_weight, to_bias, None


class _WeightGradient(torch.autograd.Function):
    """What the gradient y of the results makes of the weights, O x I x 3 x 3."""

    @staticmethod
    def forward(ctx: Any, x_NIHW: Tensor, y_NOHW: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x_NIHW, y_NOHW)
        ctx.stride = stride
        if _gradient_by_tiles(y_NOHW, stride):
            return winograd_tiles.weight_gradient(x_NIHW, y_NOHW, stride)
        shape = (y_NOHW.shape[1], x_NIHW.shape[1], 3, 3)
        direct: Tensor = conv2d_weight(x_NIHW, shape, y_NOHW, stride, 2 - stride)  # type: ignore[no-untyped-call]
        return direct

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_NIHW, y_NOHW = ctx.saved_tensors
        weight_OIKK, plan = grads[0], _Plan(ctx.stride)
        to_x = to_y = None
        if ctx.needs_input_grad[0]:
            to_x = _Convolution.apply(y_NOHW, weight_OIKK, None, replace(plan, transposed=True))
        if ctx.needs_input_grad[1]:
            to_y = _Convolution.apply(x_NIHW, weight_OIKK, None, plan)
        return to_x, to_y, None
