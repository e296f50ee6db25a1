"""The randomness of a step: it depends on the run's seed, the images seen and the phase alone.

All of it is drawn for the whole batch, and each part of the batch takes its rows. Cutting changes nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stylegan2_ada.devices import moved
from stylegan2_ada.distributed import Part
from stylegan2_ada.networks import LATENT

PHASES = ("Gmain", "Greg", "Dmain", "Dreg")


class Noise:
    """N(0, 1) for the noise inputs of a part of a batch."""

    def __init__(self, seed: int, count: int, part: Part, device: torch.device) -> None:
        self.rng = torch.Generator(device).manual_seed(seed)
        self.count = count
        self.part = part

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        """Draw for a tensor whose first dimension is the part's images."""
        whole = torch.randn((self.count, *shape[1:]), generator=self.rng, device=self.rng.device)
        return self.part.of(whole)


@dataclass(frozen=True, kw_only=True)
class Latents:
    """What the generator makes a batch of."""

    z: Tensor  # N x Z
    other: Tensor  # likewise; takes over
    cutoff: int  # from this layer on; the number of layers: nowhere
    labels: Tensor | None  # N x K

    def of(self, part: Part) -> "Latents":
        """Take a part."""
        labels = None if self.labels is None else part.of(self.labels)
        return replace(self, z=part.of(self.z), other=part.of(self.other), labels=labels)


class Chance:
    """All draws of the step after so many images; a phase draws the same whichever phases ran before it."""

    def __init__(self, seed: int, images: int, device: torch.device) -> None:
        self.seed = seed
        self.images = images
        self.device = device

    def phase(self, name: str) -> "PhaseChance":
        """Return the draws of one of PHASES."""
        return PhaseChance(np.random.default_rng([self.seed, self.images, PHASES.index(name)]), self.device)


class PhaseChance:
    """The draws of one phase."""

    def __init__(self, host: np.random.Generator, device: torch.device) -> None:
        self.host = host
        self.device = device
        self.latent_seed, self.noise_seed, self.direction_seed, *self.augment_seeds = map(
            int, host.integers(2**63, size=5)
        )

    def latents(self, count: int, styles: int, mixing: float, labels_MK: Tensor | None) -> Latents:
        """Draw a batch: labels as frequent as among the given ones, two latents, and where they meet."""
        rng = torch.Generator(self.device).manual_seed(self.latent_seed)
        z_NZ, other_NZ = torch.randn(2, count, LATENT, generator=rng, device=self.device)
        labels_NK = None
        if labels_MK is not None:
            rows = torch.from_numpy(self.host.integers(len(labels_MK), size=count))
            labels_NK = labels_MK[moved(rows, self.device)]
        return Latents(z=z_NZ, other=other_NZ, cutoff=self.cutoff(styles, mixing), labels=labels_NK)

    def cutoff(self, styles: int, probability: float) -> int:
        """Draw the layer from which on another latent takes over; the number of layers means none."""
        cutoff = int(self.host.integers(1, styles))
        return cutoff if self.host.random() < probability else styles

    def noise(self, count: int, part: Part) -> Noise:
        """Return the source of a part's noise inputs."""
        return Noise(self.noise_seed, count, part, self.device)

    def direction(self, count: int, part: Part) -> Noise:
        """Return the source of a part's directions of path length."""
        return Noise(self.direction_seed, count, part, self.device)

    def augment_rng(self, stream: int) -> torch.Generator:
        """Return the CPU generator of the augmentations of generated images (0) or real ones (1)."""
        return torch.Generator().manual_seed(self.augment_seeds[stream])
