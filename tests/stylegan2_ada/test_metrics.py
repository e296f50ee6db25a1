import math
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray
from stylegan2_ada import UsageError, metrics
from stylegan2_ada.metrics import (
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_interval,
    memorised_share,
    nearest,
    precision_recall,
)
from torch import Tensor

from tests.stylegan2_ada.parity import full


def normal(count: int, features: int = 16, *, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed)) + shift


def moments(x_NF: Tensor) -> tuple[Tensor, Tensor]:
    return x_NF.double().mean(dim=0), torch.cov(x_NF.double().T, correction=0)


def test_figures_of_the_reference() -> None:
    reference = full("metrics")
    real, fake = reference["real"], reference["gen"]
    assert frechet_distance(*moments(real), *moments(fake)) == pytest.approx(reference["fid"], rel=1e-9)
    kid = kernel_distance(real, fake, subset_size=300)
    assert kid == pytest.approx(reference["kid_subsets100_max300_npseed0"], rel=1e-6)
    assert precision_recall(real, fake) == pytest.approx(reference["precision_recall_k3_fp16"], rel=1e-6)
    assert inception_score(reference["is_probs"]) == pytest.approx(reference["is_10splits_700"], rel=1e-6)


@pytest.mark.parametrize("count", [400, 10])
def test_frechet_distance_is_that_of_the_matrix_root(count: int) -> None:
    (m1, s1), (m2, s2) = moments(normal(count) @ normal(16, seed=1)), moments(normal(300, shift=0.5, seed=2))
    product: NDArray[np.complex128] = scipy.linalg.sqrtm((s1 @ s2).numpy() + 0j)
    expected = (m1 - m2).square().sum() + (s1 + s2).trace() - 2 * np.trace(product).real
    assert frechet_distance(m1, s1, m2, s2) == pytest.approx(float(expected), rel=1e-5)
    assert frechet_distance(m2, s2, m1, s1) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("count", [1, 20, 200])  # of 64 features: also where a covariance has no full rank
def test_frechet_distance_of_a_set_to_itself_is_zero(count: int) -> None:
    own = moments(normal(count, 64))
    assert frechet_distance(*own, *own) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_diagonal_covariances() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    distance = frechet_distance(torch.zeros(3), a.diag(), torch.ones(3), b.diag())
    assert distance == pytest.approx(3 + float((a.sqrt() - b.sqrt()).square().sum()))


def naive_mmd(real: NDArray[np.float64], fake: NDArray[np.float64]) -> float:
    """Pair by pair."""

    def mean(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        pairs = [(a, b) for i, a in enumerate(x) for j, b in enumerate(y) if x is not y or i != j]
        return float(np.mean([(float(a @ b) / len(a) + 1) ** 3 for a, b in pairs]))

    return mean(real, real) + mean(fake, fake) - 2 * mean(real, fake)


def test_kernel_distance_of_whole_sets_is_that_of_all_pairs() -> None:
    real, fake = normal(12), normal(12, seed=1, shift=0.3)
    assert kernel_distance(real, fake) == pytest.approx(
        naive_mmd(real.double().numpy(), fake.double().numpy())
    )


def test_kernel_distance_is_unbiased_where_frechet_distance_is_not() -> None:
    pairs = [(normal(30, 8, seed=2 * k), normal(30, 8, seed=2 * k + 1)) for k in range(200)]
    kids = np.array([kernel_distance(real, fake) for real, fake in pairs])
    assert abs(kids.mean()) < 3 * kids.std() / np.sqrt(len(kids))
    fids = [frechet_distance(*moments(real), *moments(fake)) for real, fake in pairs]
    assert min(fids) > 0.1


def test_kernel_distance_repeats_and_depends_on_its_seed() -> None:
    real, fake = normal(50), normal(60, seed=1)
    assert kernel_distance(real, fake, subset_size=20) == kernel_distance(real, fake, subset_size=20)
    assert kernel_distance(real, fake, subset_size=20) != kernel_distance(real, fake, subset_size=20, seed=1)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(shift: float) -> None:
    truth = kernel_distance(
        normal(3000, 8, seed=1), normal(3000, 8, seed=2, shift=shift), subset_size=3000
    )  # fmt: skip
    held = 0
    for k in range(40):
        real, fake = normal(60, 8, seed=100 + k), normal(120, 8, seed=200 + k, shift=shift)
        low, high = kernel_distance_interval(real, fake, seed=k, draws=200)
        held += low <= truth <= high
    assert held >= 35  # of 40; 95 % would be 38


def test_the_interval_is_about_the_distance_and_narrows_with_more_images() -> None:
    widths = []
    for count in (40, 400):
        real, fake = normal(count), normal(count, seed=1, shift=0.2)
        low, high = kernel_distance_interval(real, fake)
        assert low < kernel_distance(real, fake) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    wide = kernel_distance_interval(real, fake, most=100)  # of fewer images: wider
    assert wide[1] - wide[0] > widths[1]


def naive_among(probes: Tensor, centres: Tensor, k: int) -> float:
    def distance(a: Tensor, b: Tensor) -> float:
        return float((a.double() - b.double()).norm())

    balls = [(centre, sorted(distance(centre, other) for other in centres)[k]) for centre in centres]
    inside = [any(distance(probe, centre) <= radius for centre, radius in balls) for probe in probes]
    return float(np.mean(inside))


def test_precision_and_recall_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(40, 4), normal(30, 4, seed=1, shift=0.7)
    expected = naive_among(fake.half(), real.half(), 3), naive_among(real.half(), fake.half(), 3)
    assert 0 < expected[0] < 1 and 0 < expected[1] < 1
    assert precision_recall(real, fake) == pytest.approx(expected)
    monkeypatch.setattr(metrics, "_ROWS", 7)
    monkeypatch.setattr(metrics, "_COLUMNS", 3)
    assert precision_recall(real, fake) == pytest.approx(expected)


def test_precision_and_recall_of_a_set_with_itself_and_with_one_far_away() -> None:
    real = normal(50)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    one_mode = real[:10].repeat(5, 1)  # duplicates: balls without volume
    precision, recall = precision_recall(real, one_mode)
    assert precision == 1 and recall < 0.5


def test_the_border_of_a_ball_belongs_to_it() -> None:
    real, fake = torch.arange(5.0)[:, None], torch.tensor([[5.0], [7.0]])
    assert precision_recall(real, fake, neighbours=1) == (0.5, 0.4)


def test_kernel_distance_is_of_subsets_no_larger_than_asked() -> None:
    real, fake = normal(100), normal(100, seed=1)
    assert kernel_distance(real, fake, subsets=1, subset_size=10) != kernel_distance(real, fake)


def test_subsets_are_a_hundred_and_drawn_as_those_of_published_figures() -> None:
    """Of the generated images first, then of the real ones."""
    real, fake, rng = normal(30), normal(25, seed=1), np.random.RandomState(0)
    distances = []
    for _ in range(100):
        some_fake = fake[torch.from_numpy(rng.choice(25, 20, replace=False))]
        some_real = real[torch.from_numpy(rng.choice(30, 20, replace=False))]
        distances.append(kernel_distance(some_real, some_fake))
    assert kernel_distance(real, fake, subset_size=20) == pytest.approx(np.mean(distances), rel=1e-9)


def test_no_more_than_a_block_of_distances_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    sizes: list[int] = []
    distances = metrics._squared_distances

    def watched(x: Tensor, y: Tensor) -> Tensor:
        block = distances(x, y)
        made.append(weakref.ref(block))
        alive.append(sum(reference() is not None for reference in made))
        sizes.append(block.numel())
        return block

    monkeypatch.setattr(metrics, "_ROWS", 32)
    monkeypatch.setattr(metrics, "_COLUMNS", 64)
    monkeypatch.setattr(metrics, "_squared_distances", watched)
    precision_recall(normal(300), normal(200, seed=1))
    assert max(sizes) == 32 * 64 and max(alive) <= 2


def test_inception_score_of_extreme_classifiers() -> None:
    sure = torch.eye(5).repeat(20, 1)  # each split holds every class equally
    assert inception_score(sure, splits=4) == pytest.approx((5, 0))
    assert inception_score(torch.full((40, 5), 0.2)) == pytest.approx((1, 0))
    one_of_each = torch.cat([torch.eye(5), torch.full((5, 5), 0.2)])
    assert inception_score(one_of_each, splits=2) == pytest.approx((3, 2))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([3.0, -1.0, -1.0], "least output is -1, an image's sum to 1 to 1;"),
        ([0.5, 0.2, 0.1], "least output is 0.1, an image's sum to 0.8 to 0.8;"),
        ([0.9, 0.9, 0.9], "sum to 2.7 to 2.7;"),
        ([math.nan, 0.5, 0.5], "least output is nan"),
    ],
)
def test_outputs_that_are_no_probabilities_have_no_inception_score(row: list[float], said: str) -> None:
    with pytest.raises(UsageError, match=rf"^inception_score: .*{said}.*valid: class probabilities"):
        inception_score(torch.tensor([row] * 20))


def test_probabilities_of_sixteen_bits_have_an_inception_score() -> None:
    rounded = normal(20, 1000).mul(3).softmax(dim=1).bfloat16().float()
    assert 1 < inception_score(rounded)[0] < 1000


def test_a_copy_is_found_and_told_from_a_new_image() -> None:
    real = normal(200)
    cosines, indices = nearest(real, real[[7, 150, 3]] * 2)
    assert indices.tolist() == [7, 150, 3] and torch.allclose(cosines, torch.ones(3).double())
    assert memorised_share(real, nearest(real, real[:50] + 1e-3)[0]) == 1
    assert memorised_share(real, nearest(real, normal(400, seed=1))[0]) < 0.06


@pytest.mark.parametrize("others", [False, True])
def test_nearest_is_that_of_all_pairs_in_any_blocks(others: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = normal(50)
    fake = real if others else normal(30, seed=1)
    cosines = torch.nn.functional.cosine_similarity(fake[:, None].double(), real[None].double(), dim=2)
    expected = cosines.fill_diagonal_(-2).max(dim=1) if others else cosines.max(dim=1)
    monkeypatch.setattr(metrics, "_ROWS", 8)
    monkeypatch.setattr(metrics, "_COLUMNS", 5)
    values, indices = nearest(real, fake, others=others)
    assert torch.allclose(values, expected.values) and torch.equal(indices, expected.indices)


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (lambda: kernel_distance(normal(1), normal(9)), "images=1: too few; valid: at least 2"),
        (lambda: kernel_distance_interval(normal(3), normal(9)), "images=3: too few; valid: at least 4"),
        (lambda: precision_recall(normal(9), normal(3)), "images=3: too few; valid: more than neighbours=3"),
        (lambda: inception_score(torch.ones(9, 2) / 2), "images=9: too few; valid: at least splits=10"),
        (lambda: precision_recall(normal(9) * 1e6, normal(9)), "beyond float16"),
    ],
)
def test_what_cannot_be_measured_is_refused(figure: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        figure()
