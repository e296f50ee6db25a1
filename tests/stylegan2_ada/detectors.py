"""Small feature networks, in this process and in files."""

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Pooled(nn.Module):
    """Features of 4 x 4 pooled RGB pixels by a fixed random layer."""

    def __init__(self, features: int = 20) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(features, 48, generator=rng) / 48**0.5)

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(images.float() / 127.5 - 1, (4, 4))
        features = pooled.flatten(1) @ self.weight.T
        return features if return_features else features.softmax(dim=1)


class FeaturesOnly(nn.Module):
    def __init__(self, features: int = 20) -> None:
        super().__init__()
        self.pooled = Pooled(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.pooled(images, True)


class PooledDetector:
    """A detector of this process that counts the images it was shown."""

    name = "pooled"

    def __init__(self, features: int = 20) -> None:
        self.network = FeaturesOnly(features)
        self.digest = hashlib.sha256(self.network.pooled.weight.numpy().tobytes()).hexdigest()
        self.shown = 0

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        assert images_NCHW.dtype == torch.uint8
        self.shown += len(images_NCHW)
        return self.network.to(images_NCHW.device)(images_NCHW.expand(-1, 3, -1, -1))


def write_script(path: Path, network: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.* is deprecated")
        torch.jit.script(network.eval()).save(str(path))
    return path


def write_program(path: Path, network: nn.Module, *, side: int = 8, dynamic: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("images")},) if dynamic else None
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    torch.export.save(torch.export.export(network.eval(), (example,), dynamic_shapes=shapes), path)
    return path
