"""Classical augmentation, for a whole batch at once: the notebooks' transforms in one resampling.

Shapes: N planes, H x W pixels; angles in radians.
"""

import math

import torch
from torch import Tensor, nn

_LEAST_AREA = 0.75  # of a random crop, as the notebooks' min_scale
_ASPECT = 0.1  # largest logarithm of a crop's width over height
_ROTATION_DEG = 10.0
_CONTRAST = 0.2  # largest relative change
_BRIGHTNESS = 0.1  # largest change, of the full range


def augment(grey_NHW: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, turn, mirror and re-light planes of grey levels 0..1 at random."""
    theta_N23 = _crops(len(grey_NHW), generator).to(grey_NHW.device)
    grid = nn.functional.affine_grid(theta_N23, [len(grey_NHW), 1, *grey_NHW.shape[1:]], align_corners=False)
    moved_NHW = nn.functional.grid_sample(grey_NHW[:, None], grid, align_corners=False)[:, 0]
    gain_N = 1 + _CONTRAST * _symmetric(len(grey_NHW), generator).to(grey_NHW.device)
    shift_N = _BRIGHTNESS * _symmetric(len(grey_NHW), generator).to(grey_NHW.device)
    return (moved_NHW * gain_N[:, None, None] + shift_N[:, None, None]).clamp(0, 1)


def _crops(count: int, generator: torch.Generator) -> Tensor:
    """Return affine maps from the output's square to a turned, perhaps mirrored crop inside the plane."""
    area_N = _LEAST_AREA + (1 - _LEAST_AREA) * torch.rand(count, generator=generator)
    stretch_N = torch.exp(_ASPECT / 2 * _symmetric(count, generator))
    width_N = (area_N.sqrt() * stretch_N).clamp(max=1)
    height_N = (area_N.sqrt() / stretch_N).clamp(max=1)
    angle_N = math.radians(_ROTATION_DEG) * _symmetric(count, generator)
    mirror_N = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    x_N = (1 - width_N) * _symmetric(count, generator)
    y_N = (1 - height_N) * _symmetric(count, generator)
    cos_N, sin_N = angle_N.cos(), angle_N.sin()
    rows = [
        cos_N * width_N * mirror_N,
        -sin_N * height_N,
        x_N,
        sin_N * width_N * mirror_N,
        cos_N * height_N,
        y_N,
    ]
    return torch.stack(rows, dim=1).reshape(count, 2, 3)


def _symmetric(count: int, generator: torch.Generator) -> Tensor:
    """Draw from -1 .. 1."""
    return 2 * torch.rand(count, generator=generator) - 1
