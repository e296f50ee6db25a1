"""Matrices of the augmentation pipe, and the images they move (arXiv 2006.06676, Appendix B.2).

Matrices are made on the host, where they cost microseconds and where margins can be read without waiting for
the device. Shapes: N images, C channels, H x W pixels; `inverse_N33` maps output points to input points, in
pixels from the centre.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stylegan2_ada.augment_filters import REACH, Array, at, downsample, upsample


def scaling(x_N: Array, y_N: Array) -> Array:
    """Return N x 3 x 3 matrices that multiply x and y."""
    matrix_N33 = _identities(len(x_N))
    matrix_N33[:, 0, 0], matrix_N33[:, 1, 1] = x_N, y_N
    return matrix_N33


def rotation(angle_N: Array) -> Array:
    """Return N x 3 x 3 matrices that turn x towards y, by radians."""
    matrix_N33 = _identities(len(angle_N))
    matrix_N33[:, 0, 0] = matrix_N33[:, 1, 1] = np.cos(angle_N)
    matrix_N33[:, 1, 0] = np.sin(angle_N)
    matrix_N33[:, 0, 1] = -matrix_N33[:, 1, 0]
    return matrix_N33


def translation(x_N: Array, y_N: Array) -> Array:
    """Return N x 3 x 3 matrices that add to x and y."""
    matrix_N33 = _identities(len(x_N))
    matrix_N33[:, 0, 2], matrix_N33[:, 1, 2] = x_N, y_N
    return matrix_N33


def _identities(count: int) -> Array:
    return np.tile(np.eye(3), (count, 1, 1))


def warp(images: Tensor, inverse_N33: Array) -> Tensor:
    """Resample at twice the resolution, band-limited before and after, over reflected borders (Figure 12)."""
    height, width = images.shape[-2:]
    x, y = _margins(inverse_N33, height, width)
    fine = upsample(functional.pad(images, (x, x, y, y), mode="reflect"))
    wide, tall = (width + 2 * REACH) * 2, (height + 2 * REACH) * 2  # the output raster
    # An even number of taps shifts the raster by half of a fine pixel.
    to_fine, from_fine = np.diag([2, 2, 1.0]), np.diag([0.5, 0.5, 1])
    to_fine[:2, 2], from_fine[:2, 2] = -0.5, 0.25
    # affine_grid measures in half sizes of input and output.
    to_input = np.diag([2 / fine.shape[-1], 2 / fine.shape[-2], 1])
    from_output = np.diag([wide / 2, tall / 2, 1])
    theta_N33 = to_input @ to_fine @ inverse_N33 @ from_fine @ from_output
    size = [*images.shape[:2], tall, wide]
    grid_NHW2 = functional.affine_grid(at(theta_N33[:, :2], images), size, align_corners=False)
    return downsample(grid_sample(fine, grid_NHW2))


def _margins(inverse_N33: Array, height: int, width: int) -> tuple[int, int]:
    """Return how many pixels beyond the border, at the sides and at top and bottom, are read at most."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners_34 = np.array([[-x, x, -x, x], [-y, -y, y, y], [1, 1, 1, 1]])
    far_x, far_y, _ = np.abs(inverse_N33 @ corners_34).max(axis=(0, 2))
    # Reflection has no more than the image to show.
    beyond_x, beyond_y = math.ceil(far_x - x + 2 * REACH), math.ceil(far_y - y + 2 * REACH)
    return min(max(beyond_x, 0), width - 1), min(max(beyond_y, 0), height - 1)


class _GridSample(torch.autograd.Function):
    """Bilinear sampling, differentiable any number of times in the image; the grid is a constant."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid_NHW2: Tensor) -> Tensor:
        ctx.save_for_backward(grid_NHW2)
        ctx.shape = images.shape
        return functional.grid_sample(
            images, grid_NHW2, mode="bilinear", padding_mode="zeros", align_corners=False
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grid_NHW2,) = ctx.saved_tensors
        return _GridSampleAdjoint.apply(grads[0], grid_NHW2, ctx.shape), None


class _GridSampleAdjoint(torch.autograd.Function):
    """The adjoint of `_GridSample`: spread the gradient of samples over the image."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, grid_NHW2: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid_NHW2)
        # The operator reads of its input no more than the shape.
        blank = grad.new_empty(1).expand(shape)
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            grad, blank, grid_NHW2, 0, 0, False, (True, False)
        )[0]
        return spread

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grid_NHW2,) = ctx.saved_tensors
        return _GridSample.apply(grads[0], grid_NHW2), None, None


def grid_sample(images: Tensor, grid_NHW2: Tensor) -> Tensor:
    """Sample images at grid points in -1..1, zero outside."""
    sampled: Tensor = _GridSample.apply(images, grid_NHW2)
    return sampled
