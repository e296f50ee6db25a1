import math

import numpy as np
import pytest
import torch
from stylegan2_ada.augment import transform
from stylegan2_ada.augment_geometry import grid_sample, rotation, scaling, translation, warp
from torch import Tensor


def smooth_images(count: int, height: int = 32) -> Tensor:
    x, y = torch.meshgrid(torch.arange(32.0), torch.arange(float(height)), indexing="xy")
    return torch.stack([torch.sin(x / 8 + n) + torch.cos(y / 5 - x / 9) for n in range(count)])[:, None]


def one(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value]) for value in values)


@pytest.mark.parametrize("height", [32, 20])
def test_the_whole_chain_on_identity_matrices_changes_nothing(height: int) -> None:
    images = smooth_images(4, height)
    matrices = np.tile(np.eye(3), (4, 1, 1))
    assert torch.allclose(warp(images, matrices), images, atol=1e-5)
    assert transform(images, matrices) is images


def test_only_images_whose_matrix_moved_are_resampled() -> None:
    images = smooth_images(4)
    matrices = np.tile(np.eye(3), (4, 1, 1))
    matrices[2] = scaling(*one(-1, 1))[0]
    warped = transform(images, matrices)
    assert torch.equal(warped[[0, 1, 3]], images[[0, 1, 3]])
    assert (warped[2] - images[2].flip(2)).abs().mean() < 0.01  # the wavelet is not quite symmetric


def test_quarter_turns_and_whole_pixels_move_the_image() -> None:
    images = smooth_images(1)
    turned = warp(images, rotation(*one(math.pi / 2)))
    assert (turned - images.rot90(1, (2, 3))).abs().mean() < 0.01
    shifted = warp(images, translation(*one(2, 0)))
    assert torch.allclose(shifted[..., :-2], images[..., 2:], atol=1e-5)


@pytest.mark.parametrize(
    "inverse", [rotation(*one(0.7)), scaling(*one(1.4, 0.6)), translation(*one(9.3, -4.6))]
)
def test_an_image_does_not_depend_on_how_far_others_of_its_batch_move(inverse: np.ndarray) -> None:
    images = smooth_images(2)
    beside = warp(images, np.concatenate([inverse, translation(*one(20, -15))]))
    assert torch.allclose(warp(images[:1], inverse), beside[:1], atol=1e-4)


def test_second_derivatives_of_sampling() -> None:
    images = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(1, 3, 3, 2, dtype=torch.float64) * 2.4 - 1.2
    assert torch.autograd.gradcheck(lambda x: grid_sample(x, grid) ** 3, images)
    assert torch.autograd.gradgradcheck(lambda x: grid_sample(x, grid) ** 3, images)
