"""How near generated images are to real ones, by their features: FID, KID, precision and recall, and kin.

Pure functions: `detector` makes features, `features` gathers them. All are deterministic, and compute on the
device that holds their arguments.
Shapes: N real and M generated images, F features, K classes.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor
from torch.nn import functional

from stylegan2_ada.errors import UsageError, require

_ROWS, _COLUMNS = 2048, 8192  # distances held at a time: 64 MiB of float32, however many images
_SUM_ERROR = 1e-2  # of a row of probabilities, as of a thousand classes in 16 bits
_TOO_FEW = "too few"


def frechet_distance(
    mean_F: Tensor, covariance_FF: Tensor, other_mean_F: Tensor, other_covariance_FF: Tensor
) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2), the FID of two sets (arXiv 1706.08500, Equation 6).

    With S1 = B B', the trace of the root is the sum of the roots of the eigenvalues of B' S2 B, which is
    symmetric. B spans only what S1 really varies in: fewer images than features add no rounding errors.
    """
    first, second = covariance_FF.double(), other_covariance_FF.double()
    values, vectors = torch.linalg.eigh(first)
    spanned = values > values.max() * len(values) * torch.finfo(torch.float64).eps
    basis = vectors[:, spanned] * values[spanned].sqrt()
    root = torch.linalg.eigvalsh(basis.T @ second @ basis).clamp(min=0).sqrt().sum()
    apart = (mean_F.double() - other_mean_F.double()).square().sum()
    return float(apart + first.trace() + second.trace() - 2 * root)


def kernel_distance(
    real_NF: Tensor, fake_MF: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> float:
    """Return the KID (arXiv 1801.01401): the mean over random subsets of the unbiased squared MMD.

    Subsets are of min(N, M, subset_size) images, at least 2. Sums are of float64.
    """
    size = min(len(real_NF), len(fake_MF), subset_size)
    require(size >= 2, "images", size, "at least 2 of each kind", _TOO_FEW)
    if size == len(real_NF) == len(fake_MF):
        return _squared_mmd(real_NF.double(), fake_MF.double())  # every subset is the whole
    rng = RandomState(seed)
    total = 0.0
    for _ in range(subsets):
        fake, real = (x[_chosen(len(x), size, rng, x.device)] for x in (fake_MF, real_NF))
        total += _squared_mmd(real.double(), fake.double())
    return total / subsets


def kernel_distance_interval(
    real_NF: Tensor,
    fake_MF: Tensor,
    *,
    draws: int = 500,
    most: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the ends of an interval that holds the squared MMD of the two distributions in 95 % of cases.

    Halves of both sets are drawn without replacement: an estimate from a half varies about the one from
    the whole as that one about the truth. (With replacement, pairs of one image with itself would bias it.)
    Above `most` images of a kind, a random so many: the interval is then too wide rather than too narrow.
    """
    least = min(len(real_NF), len(fake_MF))
    require(least >= 4, "images", least, "at least 4 of each kind, for an interval", _TOO_FEW)
    rng = RandomState(seed)
    real, fake = (
        x[_chosen(len(x), min(len(x), most), rng, x.device)].double() for x in (real_NF, fake_MF)
    )  # fmt: skip
    of_real, of_fake = (_halves(len(x), draws, rng).to(x) for x in (real, fake))
    within = _pair_means(_others(real), of_real, of_real, 1) + _pair_means(_others(fake), of_fake, of_fake, 1)
    values = within - 2 * _pair_means(_kernel(real, fake), of_real, of_fake, 0)
    low, high = torch.quantile(values, values.new_tensor([0.025, 0.975])).tolist()
    return low, high


def precision_recall(real_NF: Tensor, fake_MF: Tensor, *, neighbours: int = 3) -> tuple[float, float]:
    """Return the share of fakes lying among reals, and of reals among fakes (arXiv 1904.06991, Equation 2).

    An image lies among others if it is no further from one of them than that one's k-th nearest neighbour.
    Features are rounded to float16, as published figures are; no more than a block of distances is held.
    """
    least = min(len(real_NF), len(fake_MF))
    require(least > neighbours, "images", least, f"more than neighbours={neighbours} of each kind", _TOO_FEW)
    real, fake = real_NF.half(), fake_MF.half()
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise UsageError("features=inf: beyond float16; valid: features of at most 65504")
    return _share_among(fake, real, neighbours), _share_among(real, fake, neighbours)


def inception_score(probabilities_MK: Tensor, *, splits: int = 10) -> tuple[float, float]:
    """Return mean and deviation over splits of exp(E KL(p(y|x) || p(y))) (arXiv 1606.03498, Section 4)."""
    count = len(probabilities_MK)
    require(count >= splits, "images", count, f"at least splits={splits}", _TOO_FEW)
    require_probabilities(probabilities_MK)
    scores = []
    for split in range(splits):
        part = probabilities_MK[split * count // splits : (split + 1) * count // splits].double()
        divergence = torch.xlogy(part, part) - torch.xlogy(part, part.mean(dim=0))
        scores.append(float(divergence.sum(dim=1).mean().exp()))
    return float(np.mean(scores)), float(np.std(scores))


def require_probabilities(probabilities_MK: Tensor) -> None:
    """Raise UsageError unless every row is of numbers from 0 on that sum to 1."""
    least, sums_M = float(probabilities_MK.min()), probabilities_MK.double().sum(dim=1)
    # As negations, so that NaN is refused too.
    if not least >= 0 or not bool(((sums_M - 1).abs() <= _SUM_ERROR).all()):
        low, high = float(sums_M.min()), float(sums_M.max())
        raise UsageError(
            f"inception_score: the least output is {least:.3g}, an image's sum to {low:.3g} to {high:.3g};"
            " valid: class probabilities, from 0 on, that sum to 1"
        )


def nearest(real_NF: Tensor, fake_MF: Tensor, *, others: bool = False) -> tuple[Tensor, Tensor]:
    """Return each fake's largest cosine to a real, and that real's index, both of length M.

    With `others`, image i is not compared with real i: the two sets are one.
    """
    found = [_nearest_to(block, first, real_NF, others) for first, block in _blocks(fake_MF, _ROWS)]
    return torch.cat([cosines for cosines, _ in found]), torch.cat([indices for _, indices in found])


def memorised_share(real_NF: Tensor, cosines_M: Tensor) -> float:
    """Return the share of fakes that are nearer to a real than 99 % of reals are to another real.

    `cosines_M` are those of `nearest`. A generator that draws from the reals' distribution has about
    1 %; one that copies them has 100 %, unless more reals than that are doubles of each other.
    """
    among_reals, _ = nearest(real_NF, real_NF, others=True)
    limit = np.quantile(among_reals.cpu().numpy(), 0.99)
    return float((cosines_M > limit).double().mean())


def _chosen(count: int, size: int, rng: RandomState, device: torch.device) -> Tensor:
    return torch.from_numpy(rng.choice(count, size, replace=False)).to(device)


def _blocks(x_NF: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    return ((first, x_NF[first : first + size]) for first in range(0, len(x_NF), size))


def _kernel(x_NF: Tensor, y_MF: Tensor) -> Tensor:
    """Return the polynomial kernel (x.y / F + 1)^3, N x M."""
    return (x_NF @ y_MF.T).div_(x_NF.shape[1]).add_(1).pow_(3)


def _others(x_NF: Tensor) -> Tensor:
    """Return the kernel of every image with every other one, 0 with itself."""
    return _kernel(x_NF, x_NF).fill_diagonal_(0)


def _squared_mmd(real_NF: Tensor, fake_MF: Tensor) -> float:
    """Return the unbiased squared MMD (arXiv 1801.01401, Equation 4)."""
    within = sum(_others(x).sum() / (len(x) * (len(x) - 1)) for x in (real_NF, fake_MF))
    return float(within - 2 * _kernel(real_NF, fake_MF).mean())


def _halves(count: int, draws: int, rng: RandomState) -> Tensor:
    """Return random halves of so many images as rows of ones and zeros, draws x count."""
    order = torch.from_numpy(rng.uniform(size=(draws, count))).argsort(dim=1)
    return (order < count // 2).double()


def _pair_means(kernel_NM: Tensor, halves_DN: Tensor, halves_DM: Tensor, same: int) -> Tensor:
    """Return each draw's mean over pairs of its halves; `same`: 1 where pairs of one image are 0, else 0."""
    pairs = (kernel_NM.shape[0] // 2) * (kernel_NM.shape[1] // 2 - same)
    return ((halves_DN @ kernel_NM) * halves_DM).sum(dim=1) / pairs


def _squared_distances(x_NF: Tensor, y_MF: Tensor) -> Tensor:
    x_NF, y_MF = x_NF.float(), y_MF.float()
    squares = x_NF.square().sum(dim=1)[:, None] + y_MF.square().sum(dim=1)
    return torch.addmm(squares, x_NF, y_MF.T, alpha=-2).clamp_(min=0)


def _share_among(probes_MF: Tensor, centres_NF: Tensor, neighbours: int) -> float:
    """Return the share of probes that lie in the ball of any centre."""
    radii_N = torch.cat([_radii(block, centres_NF, neighbours) for _, block in _blocks(centres_NF, _ROWS)])
    inside = [_is_inside(block, centres_NF, radii_N) for _, block in _blocks(probes_MF, _ROWS)]
    return float(torch.cat(inside).double().mean())


def _radii(block_BF: Tensor, centres_NF: Tensor, neighbours: int) -> Tensor:
    """Return the squared distance of each centre of a block to its k-th neighbour, itself not counted."""
    nearest_BK = block_BF.new_empty((len(block_BF), 0), dtype=torch.float32)
    for _, columns in _blocks(centres_NF, _COLUMNS):
        distances = torch.cat([nearest_BK, _squared_distances(block_BF, columns)], dim=1)
        nearest_BK = distances.topk(min(neighbours + 1, distances.shape[1]), largest=False).values
    return nearest_BK.amax(dim=1)


def _is_inside(probes_BF: Tensor, centres_NF: Tensor, radii_N: Tensor) -> Tensor:
    inside_B = torch.zeros(len(probes_BF), dtype=torch.bool, device=probes_BF.device)
    for first, columns in _blocks(centres_NF, _COLUMNS):
        distances = _squared_distances(probes_BF, columns)
        inside_B |= (distances <= radii_N[first : first + len(columns)]).any(dim=1)
    return inside_B


def _nearest_to(fake_BF: Tensor, first: int, real_NF: Tensor, others: bool) -> tuple[Tensor, Tensor]:
    best_B = fake_BF.new_full((len(fake_BF),), -2, dtype=torch.float64)
    index_B = torch.zeros(len(fake_BF), dtype=torch.int64, device=fake_BF.device)
    for start, columns in _blocks(real_NF, _COLUMNS):
        cosines = _unit(fake_BF) @ _unit(columns).T
        if others:
            cosines.diagonal(first - start).fill_(-2)
        value_B, at_B = cosines.max(dim=1)
        index_B = torch.where(value_B > best_B, at_B + start, index_B)
        best_B = torch.maximum(best_B, value_B)
    return best_B, index_B


def _unit(x_NF: Tensor) -> Tensor:
    return functional.normalize(x_NF.double())
