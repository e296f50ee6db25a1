import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from stylegan2_ada import augment as ada
from stylegan2_ada.augment import SETS, RandomDraws, augment
from stylegan2_ada.augment_filters import Array
from torch import Tensor

from tests.stylegan2_ada.parity import distance, extract, full

SINGLE = (*ada.BLIT, *ada.GEOM, *ada.COLOR, "imgfilter", "noise", "cutout")


@dataclass
class QuantileDraws:
    """Every draw is one quantile, as in the reference's debug mode, where one of the rotations is none.

    The noise field alone is random: it follows in the generator upon as many numbers as were asked for.
    """

    count: int
    quantile: float
    rotations: int = field(default=0, init=False)
    rng: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(100))

    def uniform(self, low: float, high: float) -> Array:
        torch.rand(self.count, generator=self.rng)
        self.rotations += low == -math.pi
        second = low == -math.pi and self.rotations == 2
        return np.full(self.count, 0.0 if second else low + (high - low) * self.quantile)

    def normal(self, deviation: float) -> Array:
        return self._erfinv(2 * self.quantile - 1) * deviation

    def magnitude(self, deviation: float) -> Array:
        return self._erfinv(self.quantile) * deviation

    def gate(self, probability: float) -> Array:
        torch.rand(self.count, generator=self.rng)
        return np.full(self.count, probability > 0)

    def field(self, chosen_M: Array, shape: Sequence[int], device: torch.device) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.rng, device=device)[chosen_M]

    def _erfinv(self, x: float) -> Array:
        torch.randn(self.count, generator=self.rng)
        return np.full(self.count, torch.erfinv(torch.tensor(x, dtype=torch.float64)).item())


def random_draws(count: int, seed: int = 0, rows: Tensor | None = None) -> RandomDraws:
    return RandomDraws(count=count, rng=torch.Generator().manual_seed(seed), rows=rows)


def images_of(count: int = 4, channels: int = 3, size: int = 16) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, channels, size, size))).float()


def test_each_set_is_named_after_the_families_that_it_holds() -> None:
    families = {
        "blit": {"xflip", "rotate90", "xint"},
        "geom": {"scale", "rotate", "aniso", "xfrac"},
        "color": {"brightness", "contrast", "lumaflip", "hue", "saturation"},
        "filter": {"imgfilter"},
        "noise": {"noise"},
        "cutout": {"cutout"},
    }
    joint = {"bgcfnc"[:n]: set().union(*[*families.values()][:n]) for n in range(2, 7)}
    assert {name: set(operations) for name, operations in SETS.items()} == {
        "none": set(),
        **families,
        **joint,
    }


@pytest.mark.parametrize("name", SETS)
def test_probability_zero_returns_the_images_themselves(name: str) -> None:
    images = images_of()
    assert augment(images, SETS[name], 0.0, random_draws(4)) is images


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_set_has_two_derivatives(name: str, channels: int) -> None:
    images = images_of(2, channels, 8).double().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda x: augment(x, SETS[name], 1.0, random_draws(2)) ** 3, images, fast_mode=True
    )


@pytest.mark.parametrize("operation", ["imgfilter", "noise", "cutout", "scale", "xfrac"])
def test_images_that_an_operation_does_not_touch_stay_as_they_are(operation: str) -> None:
    images = images_of(64, size=8)
    changed = augment(images, (operation,), 0.3, random_draws(64))
    untouched = (changed == images).all(dim=(1, 2, 3))
    assert 0.1 < untouched.float().mean() < 0.9


@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("name", ["bgc", "bgcfnc"])
def test_the_same_rows_are_augmented_alike_however_the_batch_is_cut(name: str, p: float) -> None:
    images = images_of(8)
    whole = augment(images, SETS[name], p, random_draws(8))
    for rows in (*torch.arange(8).split(3), torch.tensor([6, 1]), torch.tensor([3])):
        part = augment(images[rows], SETS[name], p, random_draws(8, rows=rows))
        assert torch.allclose(part, whole[rows], atol=1e-4)


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_each_operation_is_applied_with_its_probability(p: float) -> None:
    draws = random_draws(20_000)
    for operations, expected in (
        (("scale",), p),
        (("rotate",), p),
        (("xflip",), p / 2),
        (("rotate90",), p * 3 / 4),
    ):
        moved = (ada.geometry_matrix(operations, p, draws, 16, 16) != np.eye(3)).any(axis=(1, 2))
        assert moved.mean() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_each_operation_on_colour_is_applied_with_its_probability(p: float) -> None:
    draws = random_draws(20_000)
    for operation in ada.COLOR:
        changed = (ada.colour_matrix((operation,), p, draws, 3) != np.eye(4)).any(axis=(1, 2))
        assert changed.mean() == pytest.approx(p / 2 if operation == "lumaflip" else p, abs=0.02), operation


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_stretching_shifting_noise_and_cutting_out_are_applied_with_their_probability(p: float) -> None:
    draws = random_draws(20_000)
    for operation in ("aniso", "xfrac", "xint"):  # few shifts by a share of 1024 pixels are none
        moved = (ada.geometry_matrix((operation,), p, draws, 1024, 1024) != np.eye(3)).any(axis=(1, 2))
        assert moved.mean() == pytest.approx(p, abs=0.02), operation
    for operation in ("noise", "cutout"):
        touched = augment(torch.ones(20_000, 1, 2, 2), (operation,), p, draws) != 1
        assert touched.flatten(1).any(dim=1).float().mean() == pytest.approx(p, abs=0.02), operation


def test_octaves_are_scaled_by_powers_of_two_of_unit_deviation() -> None:
    gains_N4 = ada.octave_gains(0.1, random_draws(20_000))
    lowest, others = gains_N4[:, 0], gains_N4[:, 1]
    drawn = (lowest != others) & (others == gains_N4[:, 2]) & (others == gains_N4[:, 3])
    assert drawn.mean() == pytest.approx(0.1 * 0.9**3, abs=0.01)
    assert np.log2(lowest[drawn] / others[drawn]).std() == pytest.approx(1, abs=0.05)


def test_a_grey_image_is_changed_as_an_rgb_of_equal_channels() -> None:
    grey = images_of(channels=1)
    operations = ("brightness", "contrast", "lumaflip", "imgfilter", "cutout")
    changed = augment(grey, operations, 1.0, random_draws(4))
    colour = augment(grey.expand(-1, 3, -1, -1), operations, 1.0, random_draws(4))
    assert torch.allclose(changed, colour.mean(dim=1, keepdim=True), atol=1e-5)


def test_draws_are_pinned_by_the_generator() -> None:
    images = images_of()
    once, again, other = (augment(images, SETS["bgcfnc"], 0.9, random_draws(4, seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)


def test_gains_of_octaves_keep_the_power_of_a_natural_image() -> None:
    gains_N4 = ada.octave_gains(0.3, random_draws(2000))
    assert (gains_N4 == 1).all(axis=1).mean() == pytest.approx(0.7**4, abs=0.04)
    others = np.isclose(gains_N4, np.median(gains_N4, axis=1, keepdims=True)).sum(axis=1)
    once_N4 = gains_N4[others == 3]  # one octave was drawn
    assert len(once_N4) / 2000 == pytest.approx(4 * 0.3 * 0.7**3, abs=0.04)
    assert np.allclose(once_N4**2 @ np.array([10, 1, 1, 1]) / 13, 1)


def test_noise_has_the_strength_of_half_a_normal_distribution() -> None:
    images = torch.zeros(2000, 1, 8, 8)
    deviation_N = augment(images, ("noise",), 1.0, random_draws(2000)).square().mean(dim=(1, 2, 3)).sqrt()
    assert deviation_N.mean() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.05)
    assert deviation_N.square().mean().sqrt() == pytest.approx(0.1, rel=0.1)


def test_cutting_out_blanks_at_most_a_square_of_half_the_sides() -> None:
    kept = augment(torch.ones(500, 1, 16, 16), ("cutout",), 1.0, random_draws(500))
    blank_N = (kept == 0).sum(dim=(1, 2, 3))
    assert blank_N.max() == 64
    assert 16 <= blank_N.min() < 32  # a centre in a corner leaves a quarter
    assert set(kept.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("case", ["blit@0.7", "geom@0.3", "bgc@0.3", "color@0.7"])
def test_parity_of_the_extract(case: str) -> None:
    theirs = extract()
    name, _, quantile = case.partition("@")
    ours = augment(theirs["images"], SETS[name], 1.0, QuantileDraws(1, float(quantile)))
    assert distance(ours, theirs[case]) < 2e-5


@pytest.mark.parametrize("quantile", [0.3, 0.7])
@pytest.mark.parametrize("name", [*SINGLE, "blit", "geom", "color", "bg", "bgc", "bgcfnc"])
def test_parity(name: str, quantile: float) -> None:
    theirs = full("augment_64")
    operations = SETS.get(name, (name,))
    ours = augment(theirs["images"], operations, 1.0, QuantileDraws(4, quantile))
    assert distance(ours, theirs["cases"][f"{name}@{quantile}"]) < 2e-5


def test_parity_of_first_and_second_derivatives() -> None:
    theirs = full("augment_64")
    images = theirs["images"].clone().requires_grad_()
    ours = augment(images, SETS["bgc"], 1.0, QuantileDraws(4, 0.3))
    (first,) = torch.autograd.grad((ours**3).sum(), images, create_graph=True)
    assert distance(first, theirs["bgc@0.3_grad_of_sum_y3"]) < 5e-5
    (second,) = torch.autograd.grad(first.square().sum(), images)
    assert distance(second, theirs["bgc@0.3_grad_of_sum_g1sq"]) < 5e-5
