"""Images times one factor per feature map, and the sum of products that its derivative asks for.

Either is bilinear and the other's derivative, so both are differentiable to any order. Where all products at
once were fresh memory from the system, which costs a CPU more than the arithmetic, they go image by image.
Shapes: N images, C channels, H x W pixels.
"""

from typing import Any

import torch
from torch import Tensor

FRESH = 32 << 20  # bytes, above which glibc gives a freed block back


def scaled(x_NCHW: Tensor, scale_NC: Tensor) -> Tensor:
    """Multiply every feature map by its factor."""
    y_NCHW: Tensor = _Scale.apply(x_NCHW, scale_NC)
    return y_NCHW


class _Scale(torch.autograd.Function):
    """The product."""

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, scale_NC: Tensor) -> Tensor:
        ctx.save_for_backward(x_NCHW, scale_NC)
        return x_NCHW * scale_NC[:, :, None, None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad_NCHW,), (x_NCHW, scale_NC) = grads, ctx.saved_tensors
        to_x = _Scale.apply(grad_NCHW, scale_NC) if ctx.needs_input_grad[0] else None
        to_scale = _Dot.apply(grad_NCHW, x_NCHW) if ctx.needs_input_grad[1] else None
        return to_x, to_scale


class _Dot(torch.autograd.Function):
    """The sum of products over each feature map, N x C."""

    @staticmethod
    def forward(ctx: Any, a_NCHW: Tensor, b_NCHW: Tensor) -> Tensor:
        ctx.save_for_backward(a_NCHW, b_NCHW)
        if a_NCHW.device.type != "cpu" or a_NCHW.nbytes <= FRESH:
            return (a_NCHW * b_NCHW).sum(dim=(2, 3))
        products_CHW = torch.empty_like(a_NCHW[0])
        pairs = zip(a_NCHW, b_NCHW, strict=True)
        return torch.stack([torch.mul(*pair, out=products_CHW).sum(dim=(1, 2)) for pair in pairs])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad_NC,), (a_NCHW, b_NCHW) = grads, ctx.saved_tensors
        to_a = _Scale.apply(b_NCHW, grad_NC) if ctx.needs_input_grad[0] else None
        to_b = _Scale.apply(a_NCHW, grad_NC) if ctx.needs_input_grad[1] else None
        return to_a, to_b
