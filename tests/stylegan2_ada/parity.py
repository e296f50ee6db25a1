"""Tensors of the reference implementation: all of them where they are at hand, else a small extract."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

FULL = Path(__file__).parents[3] / "shared" / "reference" / "parity"
EXTRACT = Path(__file__).with_name("parity.safetensors")


def full(name: str) -> Any:
    """Load a file of the full set, or skip the test."""
    path = FULL / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"needs {path.name} of the reference tensors")
    return torch.load(path, weights_only=True)


def extract() -> dict[str, Tensor]:
    return load_file(EXTRACT)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))
