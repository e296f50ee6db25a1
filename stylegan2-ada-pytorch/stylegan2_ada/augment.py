"""The differentiable augmentation pipe of ADA (arXiv 2006.06676, Appendix B).

Every operation is drawn and gated on its own for every image; those on geometry are gathered into one 3x3
matrix and those on colour into one 4x4 matrix, so that an image is resampled once however many apply. Chances
and matrices are made on the host: nothing here waits for the images' device.
Shapes: N images, C channels, H x W pixels; M of the images, those that an operation changes.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stylegan2_ada.augment_filters import Array, amplify, at
from stylegan2_ada.augment_geometry import rotation, scaling, translation, warp

BLIT = ("xflip", "rotate90", "xint")
GEOM = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
SETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "blit": BLIT,
    "geom": GEOM,
    "color": COLOR,
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": BLIT + GEOM,
    "bgc": BLIT + GEOM + COLOR,
    "bgcf": (*BLIT, *GEOM, *COLOR, "imgfilter"),
    "bgcfn": (*BLIT, *GEOM, *COLOR, "imgfilter", "noise"),
    "bgcfnc": (*BLIT, *GEOM, *COLOR, "imgfilter", "noise", "cutout"),
}

_POWER = np.array([10, 1, 1, 1]) / 13  # of natural images in the four octaves of the image filter
_LUMA_44 = np.pad(np.full((3, 3), 1 / 3), (0, 1))  # projects onto the luma axis
_CHROMA_44 = np.diag([1.0, 1, 1, 0]) - _LUMA_44
_LIFT_44 = np.outer([1, 1, 1, 0], [0, 0, 0, 1.0])
_TURN_44 = np.array([[0, -1, 1, 0], [1, 0, -1, 0], [-1, 1, 0, 0], [0, 0, 0, 0]]) / math.sqrt(3)


class Draws(Protocol):
    """Where an augmentation's chances come from."""

    def uniform(self, low: float, high: float) -> Array:
        """Draw N numbers from [low, high)."""

    def normal(self, deviation: float) -> Array:
        """Draw N numbers from a normal distribution about zero."""

    def magnitude(self, deviation: float) -> Array:
        """Draw N absolute values of numbers from a normal distribution about zero."""

    def gate(self, probability: float) -> Array:
        """Draw N booleans."""

    def field(self, chosen_M: Array, shape: Sequence[int], device: torch.device) -> Tensor:
        """Draw M x shape numbers from N(0, 1) on a device, for the images at the chosen indices."""


@dataclass(frozen=True, kw_only=True)
class RandomDraws:
    """Chances from a CPU generator, for `count` images or, of those, the ones at `rows`.

    However a batch is cut into rows, an image gets the same chances.
    """

    count: int
    rng: torch.Generator
    rows: Tensor | None = None

    def uniform(self, low: float, high: float) -> Array:
        """Draw N numbers from [low, high)."""
        drawn = torch.rand(self.count, generator=self.rng, dtype=torch.float64)
        return self._cut(drawn) * (high - low) + low

    def normal(self, deviation: float) -> Array:
        """Draw N numbers from a normal distribution about zero."""
        drawn = torch.randn(self.count, generator=self.rng, dtype=torch.float64)
        return self._cut(drawn) * deviation

    def magnitude(self, deviation: float) -> Array:
        """Draw N absolute values of numbers from a normal distribution about zero."""
        return np.abs(self.normal(deviation))

    def gate(self, probability: float) -> Array:
        """Draw N booleans."""
        return self.uniform(0, 1) < probability

    def field(self, chosen_M: Array, shape: Sequence[int], device: torch.device) -> Tensor:
        """Draw M x shape numbers from N(0, 1) on a device, for the images at the chosen indices."""
        seeds_N = self._cut(torch.randint(2**62, (self.count,), generator=self.rng))
        field = torch.empty(len(chosen_M), *shape, device=device)
        for one, seed in zip(field, seeds_N[chosen_M].tolist(), strict=True):
            one.normal_(generator=torch.Generator(device).manual_seed(seed))
        return field

    def _cut(self, drawn: Tensor) -> Array:
        return (drawn if self.rows is None else drawn[self.rows]).numpy()


def augment(images: Tensor, operations: Collection[str], p: float, draws: Draws) -> Tensor:
    """Return images N x C x H x W after the operations, each applied with probability p."""
    if not operations or p == 0:
        return images
    height, width = images.shape[-2:]
    images = transform(images, geometry_matrix(operations, p, draws, height, width))
    images = recolour(images, colour_matrix(operations, p, draws, images.shape[1]))
    if "imgfilter" in operations:
        images = equalise(images, octave_gains(p, draws))
    if "noise" in operations:
        images = add_noise(images, p, draws)
    if "cutout" in operations:
        images = cut_out(images, p, draws)
    return images


def geometry_matrix(operations: Collection[str], p: float, draws: Draws, height: int, width: int) -> Array:
    """Draw the inverse of the combined blitting and geometric transformation, N x 3 x 3 (Appendix B.2)."""
    inverse_N33 = np.eye(3)[None]
    if "xflip" in operations:
        flip = _gated(np.floor(draws.uniform(0, 2)), draws.gate(p), 0)
        inverse_N33 = inverse_N33 @ scaling(1 - 2 * flip, np.ones_like(flip))
    if "rotate90" in operations:
        quarter = _gated(np.floor(draws.uniform(0, 4)), draws.gate(p), 0)
        inverse_N33 = inverse_N33 @ rotation(quarter * (math.pi / 2))
    if "xint" in operations:
        x, y, gate = draws.uniform(-0.125, 0.125), draws.uniform(-0.125, 0.125), draws.gate(p)
        x, y = np.rint(_gated(x, gate, 0) * width), np.rint(_gated(y, gate, 0) * height)
        inverse_N33 = inverse_N33 @ translation(-x, -y)
    if "scale" in operations:
        scale = _gated(np.exp2(draws.normal(0.2)), draws.gate(p), 1)
        inverse_N33 = inverse_N33 @ scaling(1 / scale, 1 / scale)
    if "rotate" in operations:
        inverse_N33 = inverse_N33 @ _half_of_the_turns(p, draws)
    if "aniso" in operations:
        scale = _gated(np.exp2(draws.normal(0.2)), draws.gate(p), 1)
        inverse_N33 = inverse_N33 @ scaling(1 / scale, scale)
    if "rotate" in operations:
        inverse_N33 = inverse_N33 @ _half_of_the_turns(p, draws)
    if "xfrac" in operations:
        x, y, gate = draws.normal(0.125), draws.normal(0.125), draws.gate(p)
        inverse_N33 = inverse_N33 @ translation(-_gated(x, gate, 0) * width, -_gated(y, gate, 0) * height)
    return inverse_N33


def _half_of_the_turns(p: float, draws: Draws) -> Array:
    """Draw a rotation with the probability that, drawn before and after the stretch, gives p in all."""
    angle = draws.uniform(-math.pi, math.pi)
    return rotation(_gated(angle, draws.gate(1 - math.sqrt(1 - p)), 0))


def colour_matrix(operations: Collection[str], p: float, draws: Draws, channels: int) -> Array:
    """Draw the combined transformation of homogeneous RGB, N x 4 x 4 (Appendix B.2)."""
    one_44 = np.eye(4)
    matrix_N44 = one_44[None]
    if "brightness" in operations:
        shift = _gated(draws.normal(0.2), draws.gate(p), 0)
        matrix_N44 = (one_44 + shift[:, None, None] * _LIFT_44) @ matrix_N44
    if "contrast" in operations:
        scale = _gated(np.exp2(draws.normal(0.5)), draws.gate(p), 1)
        matrix_N44 = (one_44 + (scale - 1)[:, None, None] * (_LUMA_44 + _CHROMA_44)) @ matrix_N44
    if "lumaflip" in operations:
        flip = _gated(np.floor(draws.uniform(0, 2)), draws.gate(p), 0)
        matrix_N44 = (one_44 - 2 * flip[:, None, None] * _LUMA_44) @ matrix_N44
    if "hue" in operations and channels > 1:
        angle = _gated(draws.uniform(-math.pi, math.pi), draws.gate(p), 0)[:, None, None]
        # Rodrigues' formula, about the luma axis
        matrix_N44 = (one_44 + (np.cos(angle) - 1) * _CHROMA_44 + np.sin(angle) * _TURN_44) @ matrix_N44
    if "saturation" in operations and channels > 1:
        scale = _gated(np.exp2(draws.normal(1)), draws.gate(p), 1)
        matrix_N44 = (one_44 + (scale - 1)[:, None, None] * _CHROMA_44) @ matrix_N44
    return matrix_N44


def octave_gains(p: float, draws: Draws) -> Array:
    """Draw the gains of four octaves, N x 4; each draw keeps an image's expected power (Appendix B.2)."""
    gains_N4 = np.ones((1, 4))
    for octave in range(4):
        gain = _gated(np.exp2(draws.normal(1)), draws.gate(p), 1)
        drawn_N4 = np.ones((len(gain), 4))
        drawn_N4[:, octave] = gain
        gains_N4 = gains_N4 * drawn_N4 / np.sqrt(drawn_N4**2 @ _POWER)[:, None]
    return gains_N4


def transform(images: Tensor, inverse_N33: Array) -> Tensor:
    """Resample the images whose matrix is not the identity."""
    moved_M = np.flatnonzero((inverse_N33 != np.eye(3)).any(axis=(1, 2)))
    return _change(images, moved_M, lambda part: warp(part, inverse_N33[moved_M]))


def recolour(images: Tensor, matrix_N44: Array) -> Tensor:
    """Apply colour matrices; a grey image is taken for R = G = B and averaged again."""
    if (matrix_N44 == np.eye(4)).all():
        return images
    if images.shape[1] == 1:
        mean_N4 = matrix_N44[:, :3].mean(axis=1)
        affine_2N = at(np.stack([mean_N4[:, :3].sum(axis=1), mean_N4[:, 3]]), images)
        scale_N111, shift_N111 = affine_2N[:, :, None, None, None].unbind()
        return images * scale_N111 + shift_N111
    matrix_N34 = at(matrix_N44[:, :3], images)
    return torch.baddbmm(matrix_N34[:, :, 3:], matrix_N34[:, :, :3], images.flatten(2)).view_as(images)


def equalise(images: Tensor, gains_N4: Array) -> Tensor:
    """Filter the images whose octaves do not all have gain one."""
    filtered_M = np.flatnonzero((gains_N4 != 1).any(axis=1))
    return _change(images, filtered_M, lambda part: amplify(part, gains_N4[filtered_M]))


def add_noise(images: Tensor, p: float, draws: Draws) -> Tensor:
    """Add white noise, of a strength drawn for every image (Appendix B.2)."""
    sigma_N = _gated(draws.magnitude(0.1), draws.gate(p), 0)
    noisy_M = np.flatnonzero(sigma_N)
    # Drawn even for no image, so that what is drawn after it does not depend on which images are here.
    field = draws.field(noisy_M, images.shape[1:], images.device)
    if len(noisy_M) == 0:
        return images
    noise = field.to(images.dtype) * at(sigma_N[noisy_M, None, None, None], images)
    return images.index_add(0, at(noisy_M, images), noise)


def cut_out(images: Tensor, p: float, draws: Draws) -> Tensor:
    """Blank a square of half the image's sides at a random centre (Appendix B.2)."""
    gate_N1, (height, width) = draws.gate(p)[:, None], images.shape[-2:]
    x_N1, y_N1 = draws.uniform(0, 1)[:, None], draws.uniform(0, 1)[:, None]
    if not gate_N1.any():
        return images
    inside_NW = np.abs((np.arange(width) + 0.5) / width - x_N1) < 0.25
    inside_NH = np.abs((np.arange(height) + 0.5) / height - y_N1) < 0.25
    inside_NH1, inside_N1W = at((inside_NH & gate_N1)[:, :, None], images), at(inside_NW[:, None], images)
    return images.masked_fill((inside_NH1 & inside_N1W)[:, None], 0)


def _change(images: Tensor, chosen_M: Array, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change the chosen images alone."""
    if len(chosen_M) == 0:
        return images
    if len(chosen_M) == len(images):
        return change(images)
    index_M = at(chosen_M, images)
    return images.index_copy(0, index_M, change(images.index_select(0, index_M)))


def _gated(value_N: Array, gate_N: Array, neutral: float) -> Array:
    return np.where(gate_N, value_N, neutral)
