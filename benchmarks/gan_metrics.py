"""Seconds of each figure of a generator, from features: python benchmarks/gan_metrics.py [--json FILE].

The Frechet term is also timed by scipy's matrix root, the usual way, in the same process.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import scipy.linalg
import torch
from machine import machine
from stylegan2_ada.metrics import (
    frechet_distance,
    kernel_distance,
    kernel_distance_interval,
    nearest,
    precision_recall,
)
from torch import Tensor


def features(count: int, width: int, seed: int) -> Tensor:
    """Return correlated non-negative features with a falling spectrum, as a network's are; count x width."""
    rng = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, 256, generator=rng) / torch.arange(1, 257).sqrt()
    rotation = torch.randn(256, width, generator=torch.Generator().manual_seed(0))
    return torch.relu(mixed @ rotation / 8 + 0.1 * torch.randn(count, width, generator=rng))


def by_matrix_root(mean_F: Tensor, covariance_FF: Tensor, other_F: Tensor, other_FF: Tensor) -> float:
    """Return the Frechet distance with the root of the product of the covariances."""
    root = scipy.linalg.sqrtm((covariance_FF @ other_FF).numpy()).real
    apart = (mean_F - other_F).square().sum()
    return float(apart + covariance_FF.trace() + other_FF.trace() - 2 * root.trace())


def timed(compute: Callable[[], object]) -> tuple[float, object]:
    """Return the seconds a call takes on all devices, and its value."""
    begun = time.perf_counter()
    value = compute()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun, value


def measure(count: int, width: int, device: str) -> dict[str, float]:
    """Return seconds of every figure of so many images of each kind, and how the two Frechet terms differ."""
    real, fake = (features(count, width, seed).to(device) for seed in (1, 2))
    moments = [
        x for f in (real, fake) for x in (f.double().mean(dim=0), torch.cov(f.double().T, correction=0))
    ]
    frechet, ours = timed(lambda: frechet_distance(*moments))
    root, theirs = timed(lambda: by_matrix_root(*(x.cpu() for x in moments)))
    assert isinstance(ours, float) and isinstance(theirs, float)  # noqa: S101 - for the type checker
    return {
        "frechet": frechet,
        "frechet by scipy.linalg.sqrtm": root,
        "times faster than sqrtm": root / frechet,
        "relative difference to sqrtm": abs(ours - theirs) / abs(theirs),
        "kernel distance": timed(lambda: kernel_distance(real, fake))[0],
        "its interval": timed(lambda: kernel_distance_interval(real, fake))[0],
        "precision and recall": timed(lambda: precision_recall(real, fake))[0],
        "nearest": timed(lambda: nearest(real, fake))[0],
    }


def main() -> None:
    """Print a table, or write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="images of each kind, default %(default)s")
    parser.add_argument("--width", type=int, default=2048, help="features, default %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = measure(options.count, options.width, options.device)
    threads = {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": options.device}
    report = {"machine": {**machine(), **threads}, "count": options.count, "width": options.width, **measured}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in measured.items():
        print(f"{name:<36}{value:>12.3g}")


if __name__ == "__main__":
    main()
