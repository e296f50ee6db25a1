"""Networks of 16 pixels in which every parameter matters, the same for the same seed."""

import torch
from stylegan2_ada.networks import Architecture, Discriminator, Generator
from torch import Tensor, nn


def tiny(**changes: object) -> Architecture:
    settings = {"resolution": 16, "channels": 1, "channel_base": 256, "channel_max": 16} | changes
    return Architecture(**settings)  # type: ignore[arg-type]


def lively(network: nn.Module) -> None:
    """Move every parameter that starts at zero, so that each of them matters."""
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.2)


def generator(seed: int = 0, *, low: torch.dtype = torch.float32, **changes: object) -> Generator:
    torch.manual_seed(seed)
    network = tiny(**changes).generator(low=low)
    lively(network)
    return network


def discriminator(seed: int = 0, *, low: torch.dtype = torch.float32, **changes: object) -> Discriminator:
    torch.manual_seed(seed)
    network = tiny(**changes).discriminator(2, low=low)
    lively(network)
    return network


def images_like(network: Discriminator, count: int = 4) -> Tensor:
    a = network.architecture
    return torch.randn(count, a.channels, a.resolution, a.resolution)
