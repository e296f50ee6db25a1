"""Everything that a training step changes, and one step."""

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stylegan2_ada import loss
from stylegan2_ada.ada import Controller
from stylegan2_ada.augment import SETS, RandomDraws, augment
from stylegan2_ada.config import TrainingConfig
from stylegan2_ada.networks import LATENT, Architecture, Discriminator, Generator, track_style_mean

ADA_INTERVAL = 4  # steps between two moves of p


def architecture_of(config: TrainingConfig) -> Architecture:
    """Return the part of the settings that decides the networks."""
    names = Architecture.__dataclass_fields__
    return Architecture(**{name: getattr(config, name) for name in names if hasattr(config, name)})


def lazy_adam(network: nn.Module, learning_rate: float, interval: int) -> torch.optim.Adam:
    """Return Adam for a loss whose regulariser is a step of its own every `interval` steps (Appendix B)."""
    share = interval / (interval + 1)
    betas = (0.0, 0.99**share)
    return torch.optim.Adam(network.parameters(), lr=learning_rate * share, betas=betas, eps=1e-8, fused=True)


@dataclass(kw_only=True)
class TrainingState:
    """Networks, optimisers, controller and counters of a run."""

    config: TrainingConfig  # fully derived
    g: Generator
    d: Discriminator
    g_ema: Generator
    g_optimiser: torch.optim.Adam
    d_optimiser: torch.optim.Adam
    controller: Controller
    path_mean: Tensor
    images: int = 0  # training images seen
    history: list[dict[str, float]] = field(default_factory=list)  # a row a tick
    sums: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))  # since the last tick

    @classmethod
    def fresh(cls, config: TrainingConfig, device: torch.device) -> "TrainingState":
        """Return the seeded state before the first step."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            g = architecture_of(config).generator()
            d = architecture_of(config).discriminator(config.group)
        for network in (g, d):
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            config=config,
            g=g,
            d=d,
            g_ema=copy.deepcopy(g).eval().requires_grad_(False),
            g_optimiser=lazy_adam(g, config.learning_rate, config.path_interval),
            d_optimiser=lazy_adam(d, config.learning_rate, config.r1_interval),
            controller=Controller(
                target=config.ada_target, images=config.ada_kimg * 1000, maximum=config.ada_max
            ),
            path_mean=torch.zeros([], device=device),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs; taken at a tick, when the sums are empty."""
        return {
            "g": self.g.state_dict(),
            "d": self.d.state_dict(),
            "g_ema": self.g_ema.state_dict(),
            "g_optimiser": self.g_optimiser.state_dict(),
            "d_optimiser": self.d_optimiser.state_dict(),
            "controller": vars(self.controller),
            "path_mean": self.path_mean,
            "images": self.images,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        for name in ("g", "d", "g_ema", "g_optimiser", "d_optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.controller = Controller(**state["controller"])
        self.path_mean = state["path_mean"]
        self.images = state["images"]
        self.history = state["history"]

    def step(self, reals: Tensor) -> None:
        """Train both networks on one batch, then move the running mean, p and the counter."""
        chance = Chance(self.config.seed, self.images, reals.device)
        index = self.images // self.config.batch
        self._generator_step(chance)
        if index % self.config.path_interval == 0:
            self._path_length_step(chance)
        self._discriminator_step(reals, chance)
        if index % self.config.r1_interval == 0:
            self._r1_step(reals, chance)
        self._average()
        if (index + 1) % ADA_INTERVAL == 0:
            self.controller.update(ADA_INTERVAL * self.config.batch)
        self.images += self.config.batch

    def _generator_step(self, chance: "Chance") -> None:
        fakes = self.g.synthesis(self._styles(self.config.batch, chance), rng=chance.rng)
        with loss.frozen(self.d):
            value = loss.generator_loss(self.d(self._augment(fakes, chance)))
        _descend(self.g_optimiser, value)
        self.sums["g_loss"].append(value.detach())

    def _path_length_step(self, chance: "Chance") -> None:
        w_NLD = self._styles(max(self.config.batch // 2, 1), chance)
        images = self.g.synthesis(w_NLD, rng=chance.rng)
        lengths_N = loss.path_lengths(images, w_NLD, chance.normal(*images.shape))
        penalty, self.path_mean = loss.path_length_penalty(lengths_N, self.path_mean)
        _descend(self.g_optimiser, penalty * (self.config.path_weight * self.config.path_interval))
        self.sums["path_length"].append(lengths_N.detach().mean())

    def _discriminator_step(self, reals: Tensor, chance: "Chance") -> None:
        with torch.no_grad():
            fakes = self.g.synthesis(self._styles(self.config.batch, chance), rng=chance.rng)
        fake_logits = self.d(self._augment(fakes, chance))
        real_logits = self.d(self._augment(reals, chance))
        value = loss.discriminator_loss(fake_logits, real_logits)
        _descend(self.d_optimiser, value)
        sign = real_logits.detach().sign()
        self.controller.observe(sign.sum().item(), len(sign))
        self.sums["d_loss"].append(value.detach())
        self.sums["real_sign"].append(sign.mean())

    def _r1_step(self, reals: Tensor, chance: "Chance") -> None:
        images = reals.detach().requires_grad_(True)
        penalty = loss.r1_penalty(images, self.d(self._augment(images, chance))).mean()
        _descend(self.d_optimiser, penalty * (self.config.gamma / 2 * self.config.r1_interval))
        self.sums["r1"].append(penalty.detach())

    def _styles(self, count: int, chance: "Chance") -> Tensor:
        """Map latents, and mix two of them from a random layer on in most batches (StyleGAN, Section 3.1)."""
        z_NZ, other_NZ = chance.normal(2, count, LATENT)
        cutoff = chance.cutoff(self.g.styles, self.config.mixing)
        w_NLD: Tensor = self.g.mapping(z_NZ)
        track_style_mean(self.g.mapping, w_NLD[:, 0].mean(dim=0))
        if cutoff == self.g.styles:
            return w_NLD
        return torch.cat([w_NLD[:, :cutoff], self.g.mapping(other_NZ)[:, cutoff:]], dim=1)

    def _augment(self, images: Tensor, chance: "Chance") -> Tensor:
        draws = RandomDraws(count=len(images), rng=chance.rng)
        return augment(images, SETS[self.config.augment], self.controller.p, draws)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the running mean of the generator's weights; buffers are copied."""
        half_life = self.config.ema_kimg * 1000
        if self.config.ema_ramp:
            half_life = min(half_life, self.images * self.config.ema_ramp)
        weight = 1 - 0.5 ** (self.config.batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.g_ema.parameters()), list(self.g.parameters()), weight)
        for mean, now in zip(self.g_ema.buffers(), self.g.buffers(), strict=True):
            mean.copy_(now)

    def tick(self) -> dict[str, float]:
        """Add the means since the last tick to the history and return them."""
        means = {name: torch.stack(values).mean().item() for name, values in sorted(self.sums.items())}
        row = {"kimg": self.images / 1000, "augment_p": self.controller.p, **means}
        self.sums.clear()
        self.history.append(row)
        return row

    def is_finite(self) -> bool:
        """Tell whether no weight is NaN or infinite."""
        parameters: list[Tensor] = [*self.g.parameters(), *self.d.parameters()]
        return bool(torch.stack(torch._foreach_norm(parameters)).isfinite().all())


class Chance:
    """The randomness of one step: it depends on the run's seed and the images seen alone."""

    def __init__(self, seed: int, images: int, device: torch.device) -> None:
        self.host = np.random.default_rng([seed, images])
        self.rng = torch.Generator(device).manual_seed(int(self.host.integers(2**63)))

    def normal(self, *shape: int) -> Tensor:
        """Draw from N(0, 1)."""
        return torch.randn(shape, generator=self.rng, device=self.rng.device)

    def cutoff(self, styles: int, probability: float) -> int:
        """Draw the layer from which on another latent takes over; the number of layers means none."""
        cutoff = int(self.host.integers(1, styles))
        return cutoff if self.host.random() < probability else styles


def _descend(optimiser: torch.optim.Optimizer, value: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
