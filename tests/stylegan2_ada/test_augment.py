import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from stylegan2_ada import augment as ada
from stylegan2_ada.augment import SETS, RandomDraws, augment, grid_sample
from torch import Tensor

from tests.stylegan2_ada.parity import distance, extract, full


@dataclass
class QuantileDraws:
    """Every draw is one quantile, as in the reference's debug mode, where one of the rotations is none."""

    count: int
    quantile: float
    rotations: int = field(default=0, init=False)

    def uniform(self, low: float, high: float) -> Tensor:
        self.rotations += low == -math.pi
        second = low == -math.pi and self.rotations == 2
        return torch.full((self.count,), 0.0 if second else low + (high - low) * self.quantile)

    def normal(self, deviation: float) -> Tensor:
        return torch.erfinv(torch.full((self.count,), 2 * self.quantile - 1)) * deviation

    def gate(self, probability: float) -> Tensor:
        return torch.full((self.count,), probability > 0)


def random_draws(count: int, seed: int = 0) -> RandomDraws:
    return RandomDraws(count=count, rng=torch.Generator().manual_seed(seed))


def images_of(count: int = 4, channels: int = 3, size: int = 16) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, channels, size, size))).float()


def smooth_images(count: int) -> Tensor:
    x, y = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    return torch.stack([torch.sin(x / 8 + n) + torch.cos(y / 5 - x / 9) for n in range(count)])[:, None]


@pytest.mark.parametrize("name", SETS)
def test_probability_zero_is_the_identity(name: str) -> None:
    images = images_of()
    assert torch.equal(augment(images, SETS[name], 0.0, random_draws(4)), images)


def test_the_whole_chain_on_identity_matrices_changes_nothing() -> None:
    images = images_of()
    matrices = torch.eye(3).expand(4, 3, 3)
    assert torch.allclose(ada._resample(images, matrices), images, atol=1e-5)
    assert torch.equal(ada.warp(images, matrices), images)


def test_only_images_whose_matrix_moved_are_resampled() -> None:
    images = smooth_images(4)
    matrices = torch.eye(3).repeat(4, 1, 1)
    matrices[2] = ada._scaling(torch.tensor([-1.0]), torch.tensor([1.0]))[0]
    warped = ada.warp(images, matrices)
    assert torch.equal(warped[[0, 1, 3]], images[[0, 1, 3]])
    assert (warped[2] - images[2].flip(2)).abs().mean() < 0.01  # the wavelet is not quite symmetric


def test_quarter_turns_and_whole_pixels_move_the_image() -> None:
    images = smooth_images(1)
    turned = ada.warp(images, ada._rotation(torch.tensor([math.pi / 2])))
    assert (turned - images.rot90(1, (2, 3))).abs().mean() < 0.01
    shifted = ada.warp(images, ada._translation(torch.tensor([2.0]), torch.tensor([0.0])))
    assert torch.allclose(shifted[..., :-2], images[..., 2:], atol=1e-5)


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_each_operation_is_applied_with_its_probability(p: float) -> None:
    draws = random_draws(20_000)
    identity = torch.eye(3)
    for operations, expected in (
        (("scale",), p),
        (("rotate",), p),
        (("xflip",), p / 2),
        (("rotate90",), p * 3 / 4),
    ):
        moved = (ada.geometry_matrix(operations, p, draws, 16, 16) != identity).flatten(1).any(dim=1)
        assert moved.float().mean() == pytest.approx(expected, abs=0.02)


def test_a_grey_image_is_changed_as_an_rgb_of_equal_channels() -> None:
    grey = images_of(channels=1)
    matrix = ada.colour_matrix(("brightness", "contrast", "lumaflip"), 1.0, random_draws(4), 1)
    colour = ada.recolour(grey.expand(-1, 3, -1, -1), matrix)
    assert torch.allclose(ada.recolour(grey, matrix), colour.mean(dim=1, keepdim=True), atol=1e-5)


def test_draws_are_pinned_by_the_generator() -> None:
    images = images_of()
    once, again, other = (augment(images, SETS["bgc"], 0.9, random_draws(4, seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)


def test_second_derivatives_of_sampling() -> None:
    images = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(1, 3, 3, 2, dtype=torch.float64) * 2.4 - 1.2
    assert torch.autograd.gradcheck(lambda x: grid_sample(x, grid) ** 3, images)
    assert torch.autograd.gradgradcheck(lambda x: grid_sample(x, grid) ** 3, images)


@pytest.mark.parametrize("case", ["blit@0.7", "geom@0.3", "bgc@0.3", "color@0.7"])
def test_parity_of_the_extract(case: str) -> None:
    theirs = extract()
    name, _, quantile = case.partition("@")
    ours = augment(theirs["images"], SETS[name], 1.0, QuantileDraws(1, float(quantile)))
    assert distance(ours, theirs[case]) < 1e-4


@pytest.mark.parametrize("quantile", [0.3, 0.7])
@pytest.mark.parametrize("name", [*ada.BLIT, *ada.GEOM, *ada.COLOR, "blit", "geom", "color", "bg", "bgc"])
def test_parity(name: str, quantile: float) -> None:
    theirs = full("augment_64")
    operations = SETS.get(name, (name,))
    ours = augment(theirs["images"], operations, 1.0, QuantileDraws(4, quantile))
    assert distance(ours, theirs["cases"][f"{name}@{quantile}"]) < 1e-4


def test_parity_of_first_and_second_derivatives() -> None:
    theirs = full("augment_64")
    images = theirs["images"].clone().requires_grad_()
    ours = augment(images, SETS["bgc"], 1.0, QuantileDraws(4, 0.3))
    (first,) = torch.autograd.grad((ours**3).sum(), images, create_graph=True)
    assert distance(first, theirs["bgc@0.3_grad_of_sum_y3"]) < 1e-3
    (second,) = torch.autograd.grad(first.square().sum(), images)
    assert distance(second, theirs["bgc@0.3_grad_of_sum_g1sq"]) < 1e-3
