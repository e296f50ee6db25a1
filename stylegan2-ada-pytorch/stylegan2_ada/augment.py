"""The differentiable augmentation pipe of ADA (arXiv 2006.06676, Appendix B).

Every operation is drawn and gated on its own for every image; those on geometry are gathered into one 3x3
matrix and those on colour into one 4x4 matrix, so that an image is resampled once however many apply.
Shapes: N images, C channels, H x W pixels; `inverse_N33` maps output points to input points, in pixels from
the centre.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from stylegan2_ada.resampling import downsample, upsample

BLIT = ("xflip", "rotate90", "xint")
GEOM = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
SETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "blit": BLIT,
    "geom": GEOM,
    "color": COLOR,
    "bg": BLIT + GEOM,
    "bgc": BLIT + GEOM + COLOR,
}

# The low-pass of the sym6 wavelet, scaled to a sum of one.
_SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
_REACH = len(_SYM6) // 4  # pixels that the filter reaches over the image's border, each side


class Draws(Protocol):
    """Where an augmentation's chances come from."""

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw N numbers from [low, high)."""

    def normal(self, deviation: float) -> Tensor:
        """Draw N numbers from a normal distribution about zero."""

    def gate(self, probability: float) -> Tensor:
        """Draw N booleans."""


@dataclass(frozen=True, kw_only=True)
class RandomDraws:
    """Chances from a random generator, for `count` images."""

    count: int
    rng: torch.Generator

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw N numbers from [low, high)."""
        return self._rand() * (high - low) + low

    def normal(self, deviation: float) -> Tensor:
        """Draw N numbers from a normal distribution about zero."""
        return torch.randn(self.count, generator=self.rng, device=self.rng.device) * deviation

    def gate(self, probability: float) -> Tensor:
        """Draw N booleans."""
        return self._rand() < probability

    def _rand(self) -> Tensor:
        return torch.rand(self.count, generator=self.rng, device=self.rng.device)


def augment(images: Tensor, operations: Collection[str], p: float, draws: Draws) -> Tensor:
    """Return images N x C x H x W after the operations, each applied with probability p."""
    if not operations or p == 0:
        return images
    height, width = images.shape[-2:]
    images = warp(images, geometry_matrix(operations, p, draws, height, width))
    return recolour(images, colour_matrix(operations, p, draws, images.shape[1]))


def geometry_matrix(operations: Collection[str], p: float, draws: Draws, height: int, width: int) -> Tensor:
    """Draw the inverse of the combined blitting and geometric transformation (Appendix B.2)."""
    inverse_N33 = torch.eye(3, device=draws.gate(0.0).device)[None]
    if "xflip" in operations:
        flip = _gated(draws.uniform(0, 2).floor(), draws.gate(p), 0.0)
        inverse_N33 = inverse_N33 @ _scaling(1 - 2 * flip, torch.ones_like(flip))
    if "rotate90" in operations:
        quarter = _gated(draws.uniform(0, 4).floor(), draws.gate(p), 0.0)
        inverse_N33 = inverse_N33 @ _rotation(quarter * (math.pi / 2))
    if "xint" in operations:
        x, y = _gated_pair(draws.uniform(-0.125, 0.125), draws.uniform(-0.125, 0.125), draws.gate(p))
        inverse_N33 = inverse_N33 @ _translation(-(x * width).round(), -(y * height).round())
    if "scale" in operations:
        scale = _gated(draws.normal(0.2).exp2(), draws.gate(p), 1.0)
        inverse_N33 = inverse_N33 @ _scaling(1 / scale, 1 / scale)
    # Rotating before and after the stretch, each with this probability, rotates with p in all.
    p_rotate = 1 - math.sqrt(1 - p)
    if "rotate" in operations:
        angle = _gated(draws.uniform(-math.pi, math.pi), draws.gate(p_rotate), 0.0)
        inverse_N33 = inverse_N33 @ _rotation(angle)
    if "aniso" in operations:
        scale = _gated(draws.normal(0.2).exp2(), draws.gate(p), 1.0)
        inverse_N33 = inverse_N33 @ _scaling(1 / scale, scale)
    if "rotate" in operations:
        angle = _gated(draws.uniform(-math.pi, math.pi), draws.gate(p_rotate), 0.0)
        inverse_N33 = inverse_N33 @ _rotation(angle)
    if "xfrac" in operations:
        x, y = _gated_pair(draws.normal(0.125), draws.normal(0.125), draws.gate(p))
        inverse_N33 = inverse_N33 @ _translation(-x * width, -y * height)
    return inverse_N33


def colour_matrix(operations: Collection[str], p: float, draws: Draws, channels: int) -> Tensor:
    """Draw the combined colour transformation of homogeneous RGB, N x 4 x 4 (Appendix B.2)."""
    device = draws.gate(0.0).device
    matrix_N44 = torch.eye(4, device=device)[None]
    grey = torch.tensor([1.0, 1.0, 1.0, 0.0], device=device) / math.sqrt(3)
    grey_44 = torch.outer(grey, grey)  # projects onto the luma axis
    if "brightness" in operations:
        shift = _gated(draws.normal(0.2), draws.gate(p), 0.0)
        lift_44 = torch.zeros(4, 4, device=device)
        lift_44[:3, 3] = 1
        matrix_N44 = (torch.eye(4, device=device) + shift[:, None, None] * lift_44) @ matrix_N44
    if "contrast" in operations:
        scale = _gated(draws.normal(0.5).exp2(), draws.gate(p), 1.0)
        matrix_N44 = (
            torch.diag_embed(torch.stack([scale, scale, scale, torch.ones_like(scale)], 1)) @ matrix_N44
        )
    if "lumaflip" in operations:
        flip = _gated(draws.uniform(0, 2).floor(), draws.gate(p), 0.0)
        matrix_N44 = (torch.eye(4, device=device) - 2 * flip[:, None, None] * grey_44) @ matrix_N44
    if "hue" in operations and channels > 1:
        angle = _gated(draws.uniform(-math.pi, math.pi), draws.gate(p), 0.0)
        matrix_N44 = _hue_rotation(angle, grey_44) @ matrix_N44
    if "saturation" in operations and channels > 1:
        scale = _gated(draws.normal(1.0).exp2(), draws.gate(p), 1.0)
        rest_44 = torch.eye(4, device=device) - grey_44
        keep_44 = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0], device=device)) - grey_44
        matrix_N44 = (rest_44 - keep_44 + grey_44 + scale[:, None, None] * keep_44) @ matrix_N44
    return matrix_N44


def warp(images: Tensor, inverse_N33: Tensor) -> Tensor:
    """Resample the images whose matrix is not the identity (Appendix B.2, Figure 12)."""
    identity = torch.eye(3, device=images.device)
    moved = (inverse_N33 != identity).flatten(1).any(dim=1).nonzero()[:, 0]
    if len(moved) == 0:
        return images
    return images.index_copy(0, moved, _resample(images[moved], inverse_N33[moved]))


def _resample(images: Tensor, inverse_N33: Tensor) -> Tensor:
    """Transform at twice the resolution, band-limited before and after, over reflected borders."""
    height, width = images.shape[-2:]
    taps = torch.tensor(_SYM6, device=images.device, dtype=images.dtype) / math.sqrt(2)
    x, y = _margins(inverse_N33, height, width)
    images = upsample(functional.pad(images, (x, x, y, y), mode="reflect"), taps)
    wide, tall = (width + 2 * _REACH) * 2, (height + 2 * _REACH) * 2  # the output raster
    # The upsampling filter has an even length: it shifts the raster by half of a fine pixel.
    shift = torch.full_like(inverse_N33[:, 0, 0], -0.5)
    two = torch.full_like(shift, 2.0)
    inverse_N33 = _scaling(two, two) @ inverse_N33 @ _scaling(1 / two, 1 / two)
    inverse_N33 = _translation(shift, shift) @ inverse_N33 @ _translation(-shift, -shift)
    # affine_grid measures in half sizes of input and output.
    to_input = _scaling(two / images.shape[-1], two / images.shape[-2])
    from_output = _scaling(wide / two, tall / two)
    theta_N23 = (to_input @ inverse_N33 @ from_output)[:, :2]
    grid_NHW2 = functional.affine_grid(
        theta_N23, [len(images), images.shape[1], tall, wide], align_corners=False
    )
    return downsample(grid_sample(images, grid_NHW2), taps, crop=2 * _REACH, flip=True)


def _margins(inverse_N33: Tensor, height: int, width: int) -> tuple[int, int]:
    """Return how many pixels beyond the border, at the sides and at top and bottom, are read at most."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners_34 = inverse_N33.new_tensor([[-x, x, -x, x], [-y, -y, y, y], [1, 1, 1, 1]])
    far = (inverse_N33 @ corners_34)[:, :2].abs().amax(dim=(0, 2))
    beyond = (far - far.new_tensor([x, y]) + 2 * _REACH).ceil()
    # Reflection has no more than the image to show.
    return tuple(int(b.clamp(0, n - 1)) for b, n in zip(beyond, (width, height), strict=True))  # type: ignore[return-value]


def recolour(images: Tensor, matrix_N44: Tensor) -> Tensor:
    """Apply colour matrices; a grey image is taken for R = G = B and averaged again."""
    n, channels, height, width = images.shape
    if channels == 1:
        mean_N4 = matrix_N44[:, :3].mean(dim=1)
        scale, shift = mean_N4[:, :3].sum(dim=1), mean_N4[:, 3]
        return images * scale[:, None, None, None] + shift[:, None, None, None]
    flat_NCP = matrix_N44[:, :3, :3] @ images.reshape(n, channels, height * width) + matrix_N44[:, :3, 3:]
    return flat_NCP.reshape(images.shape)


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


def _gated(value: Tensor, gate: Tensor, neutral: float) -> Tensor:
    return torch.where(gate, value, torch.full_like(value, neutral))


def _gated_pair(x: Tensor, y: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    return _gated(x, gate, 0.0), _gated(y, gate, 0.0)


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(list(row), dim=1) for row in rows], dim=1)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _rotation(angle: Tensor) -> Tensor:
    """Return the rotation by an angle, x towards y."""
    zero, one, c, s = torch.zeros_like(angle), torch.ones_like(angle), angle.cos(), angle.sin()
    return _matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _hue_rotation(angle: Tensor, grey_44: Tensor) -> Tensor:
    """Rotate colours about the luma axis (Rodrigues' formula)."""
    s = 1 / math.sqrt(3)
    cross_44 = grey_44.new_tensor([[0, -s, s, 0], [s, 0, -s, 0], [-s, s, 0, 0], [0, 0, 0, 0]])
    keep_44 = torch.diag(grey_44.new_tensor([1.0, 1.0, 1.0, 0.0])) - grey_44
    fixed_44 = torch.eye(4, device=grey_44.device) - keep_44
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return fixed_44 + cosine * keep_44 + sine * cross_44
