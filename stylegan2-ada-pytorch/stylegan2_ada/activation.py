"""The leaky ReLU, its gain and its clamp, in place: one tensor a layer is made and kept instead of three.

All that the derivative asks of what went in can be told from what comes out: which side of 0 it lay on, and
whether it was cut off. Fresh memory costs a CPU more than the arithmetic.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SLOPE = 0.2
_leaky_backward = torch.ops.aten.leaky_relu_backward
_clamp_backward = torch.ops.aten.hardtanh_backward


def activate_(x: Tensor, clamp: float | None = None, gain: float = 1.0) -> Tensor:
    """Apply the leaky ReLU times gain, then keep values within -clamp..clamp; x itself becomes the result.

    Differentiable to any order. RuntimeError where x is a parameter, or going back where another operation
    kept x as it was.
    """
    if clamp is not None:
        clamp = _held(clamp, x.dtype)
    y: Tensor = _Activation.apply(x, clamp, gain)
    return y


@cache
def _held(number: float, dtype: torch.dtype) -> float:
    """Return a number as a type holds it: what was cut off there lies on the bound, where the slope is 0."""
    return torch.tensor(number, dtype=dtype).item()


class _Activation(torch.autograd.Function):
    """The function itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clamp: float | None, gain: float) -> Tensor:
        functional.leaky_relu_(x, SLOPE)
        if gain != 1:
            x.mul_(gain)
        if clamp is not None:
            x.clamp_(-clamp, clamp)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.clamp, ctx.gain = clamp, gain
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Slope.apply(*grads, *ctx.saved_tensors, ctx.clamp, ctx.gain), None, None


class _Slope(torch.autograd.Function):
    """A gradient times the slope at y, which is linear in the gradient: it is its own derivative."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor, clamp: float | None, gain: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.clamp, ctx.gain = clamp, gain
        passed: Tensor
        if clamp is None and gain == 1:
            passed = _leaky_backward(grad, y, SLOPE, True)
        else:
            passed = grad * gain if clamp is None else _clamp_backward(grad, y, -clamp, clamp)
            if clamp is not None and gain != 1:
                passed.mul_(gain)
            _leaky_backward(passed, y, SLOPE, True, grad_input=passed)
        return passed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Slope.apply(*grads, *ctx.saved_tensors, ctx.clamp, ctx.gain), None, None, None
