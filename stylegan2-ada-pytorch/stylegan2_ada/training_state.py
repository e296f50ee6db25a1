"""Everything that a training step changes, and the phases of a step.

A phase takes its gradients part by part (see distributed.py), adds them up over all processes and moves one
optimiser. Every value that it reports is a mean over the whole batch.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stylegan2_ada import loss
from stylegan2_ada.ada import Controller
from stylegan2_ada.augment import SETS, RandomDraws, augment
from stylegan2_ada.chance import Chance, Latents, PhaseChance
from stylegan2_ada.config import CLAMP, LOW_BLOCKS, TrainingConfig
from stylegan2_ada.devices import computed_in
from stylegan2_ada.distributed import Part, Ranks, cut, own_rows
from stylegan2_ada.errors import UsageError
from stylegan2_ada.networks import Architecture, Discriminator, Generator, freeze, track_style_mean

ADA_INTERVAL = 4  # steps between two moves of p
SKIPPED = "skipped_"  # and a phase: share of its steps
# Settings that decide which tensors there are.
ARCHITECTURE = (
    "resolution", "channels", "channel_base", "channel_max", "mapping_layers", "g_blocks", "d_blocks",
)  # fmt: skip

Share = Callable[[Part], tuple[Tensor, dict[str, Tensor]]]  # a part's share of a loss and of what is reported


def architecture_of(config: TrainingConfig, labels: int = 0) -> Architecture:
    """Return the part of the settings that decides the networks, for label vectors of a length."""
    low = config.dtype != "fp32"
    return Architecture(
        **{name: getattr(config, name) for name in ARCHITECTURE},
        labels=labels,
        clamp=CLAMP if config.dtype == "fp16" else None,  # bfloat16 has the range of float32
        low_blocks=LOW_BLOCKS if low else 0,
    )


def lazy_adam(network: nn.Module, learning_rate: float, interval: int) -> torch.optim.Adam:
    """Return Adam for a loss whose regulariser is a step of its own every `interval` steps (Appendix B)."""
    share = interval / (interval + 1)
    betas = (0.0, 0.99**share)
    return torch.optim.Adam(network.parameters(), lr=learning_rate * share, betas=betas, eps=1e-8, fused=True)


def descend(
    optimiser: torch.optim.Adam, ranks: Ranks, parts: list[Part], share: Share, *, scale: float | None
) -> dict[str, Tensor]:
    """Move an optimiser by the gradient of all parts of all processes; return the sums of their reports.

    With a scale, a power of two, losses are multiplied by it before they go back and gradients divided after;
    a step whose gradient is no number is then skipped, and reported as `skipped`.
    """
    optimiser.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for part in parts:
        value, facts = share(part)
        (value if scale is None else value * scale).backward()  # type: ignore[no-untyped-call]
        for name, fact in facts.items():
            totals[name] = fact.detach() + totals.get(name, 0.0)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    ranks.add_up([*gradients, *totals.values()])
    if scale is not None:
        totals["skipped"] = _unscale(optimiser, gradients, scale)
    optimiser.step()
    return totals


def _unscale(optimiser: torch.optim.Adam, gradients: list[Tensor], scale: float) -> Tensor:
    """Undo the scale; have the optimiser skip its step where a gradient is no number, which 1 tells.

    Nothing waits for that: fused Adam reads `found_inf` on the device, as it does for torch.amp.GradScaler.
    """
    found = torch.zeros((), device=gradients[0].device)
    torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, torch.full_like(found, 1 / scale))
    optimiser.found_inf = found  # type: ignore[attr-defined]
    return found


@dataclass(kw_only=True)
class TrainingState:
    """Networks, optimisers, controller and counters of a run."""

    config: TrainingConfig  # fully derived
    ranks: Ranks
    g: Generator
    d: Discriminator
    g_ema: Generator
    g_optimiser: torch.optim.Adam
    d_optimiser: torch.optim.Adam
    controller: Controller
    labels: Tensor | None  # M x K: those of the data, that the generator's are drawn from
    parts: list[Part]  # of a batch
    path_parts: list[Part]  # of the half of it that path length is measured on
    path_mean: Tensor
    signs: Tensor  # sum of the phases' means of sign(D(real)), since the last move of p
    sign_phases: int = 0
    images: int = 0  # training images seen
    history: list[dict[str, float]] = field(default_factory=list)  # one row per tick
    sums: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))  # since the last tick

    @classmethod
    def fresh(
        cls,
        config: TrainingConfig,
        device: torch.device,
        *,
        labels: Tensor | None = None,
        ranks: Ranks = Ranks(),  # noqa: B008 (it is frozen)
    ) -> "TrainingState":
        """Return the seeded state before the first step; equal on all processes."""
        g, d = _networks(config, 0 if labels is None else labels.shape[1], device)
        require_shares(config, ranks.count)
        return cls(
            config=config,
            ranks=ranks,
            g=g,
            d=d,
            g_ema=copy.deepcopy(g).eval().requires_grad_(False),
            g_optimiser=lazy_adam(g, config.learning_rate, config.path_interval),
            d_optimiser=lazy_adam(d, config.learning_rate, config.r1_interval),
            controller=_controller(config),
            labels=None if labels is None else labels.to(device),
            parts=cut(config.batch, config.group, ranks, config.batch_gpu, device),
            path_parts=_path_parts(config, ranks, device),
            path_mean=torch.zeros([], device=device),
            signs=torch.zeros([], device=device),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs."""
        networks = ("g", "d", "g_ema", "g_optimiser", "d_optimiser")
        numbers = ("path_mean", "signs", "sign_phases", "images", "history")
        return {
            **{name: getattr(self, name).state_dict() for name in networks},
            **{name: getattr(self, name) for name in numbers},
            "controller": vars(self.controller),
            "sums": {name: torch.stack(values) for name, values in self.sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        for name in ("g", "d", "g_ema", "g_optimiser", "d_optimiser"):
            getattr(self, name).load_state_dict(state[name])
        for name in ("path_mean", "signs", "sign_phases", "images", "history"):
            setattr(self, name, state[name])
        self.controller = Controller(**state["controller"])
        self.sums.clear()
        self.sums.update({name: list(values.unbind()) for name, values in state["sums"].items()})

    def step(self, reals: Tensor, labels: Tensor | None = None) -> None:
        """Train both networks on one batch, of which this process's images are given, in order.

        The running mean of the weights, p and the counter follow.
        """
        chance = Chance(self.config.seed, self.images, reals.device)
        index = self.images // self.config.batch
        self.g_main(chance)
        if self.config.path_weight and index % self.config.path_interval == 0:
            self.g_reg(chance)
        self.d_main(reals, labels, chance)
        if index % self.config.r1_interval == 0:
            self.d_reg(reals, labels, chance)
        self.average()
        if self.config.aug == "ada" and (index + 1) % ADA_INTERVAL == 0:
            self._adapt()
        self.images += self.config.batch

    def g_main(self, chance: Chance) -> None:
        """Move the generator by its loss."""
        size, drawn = self.config.batch, chance.phase("Gmain")
        latents = self._latents(size, drawn)

        def share(part: Part) -> tuple[Tensor, dict[str, Tensor]]:
            mine = latents.of(part)
            w_NLD, style_D = self._styles(mine, size)
            fakes = self.g.synthesis(w_NLD, rng=drawn.noise(size, part))
            logits = self.d(self._augment(fakes, drawn, 0, part), mine.labels)
            value = loss.generator_loss(logits) * (len(part.rows) / size)
            return value, {"g_loss": value, "style": style_D}

        with loss.frozen(self.d):
            self._note(self._move("Gmain", self.g_optimiser, self.parts, share))

    def g_reg(self, chance: Chance) -> None:
        """Move the generator by path length regularisation, on half a batch.

        The mean length is that of the whole half; where it is cut, the lengths are measured once before.
        """
        size, drawn = _half(self.config), chance.phase("Greg")
        latents = self._latents(size, drawn)

        def lengths(part: Part, *, differentiable: bool = True) -> tuple[Tensor, Tensor]:
            w_NLD, style_D = self._styles(latents.of(part), size)
            images = self.g.synthesis(w_NLD, rng=drawn.noise(size, part))
            direction = drawn.direction(size, part)(images.shape)
            return loss.path_lengths(images, w_NLD, direction, differentiable=differentiable), style_D

        known = lengths(self.path_parts[0]) if len(self.path_parts) == 1 else None
        measured = [known] if known else [lengths(part, differentiable=False) for part in self.path_parts]
        mean = torch.stack([lengths_N.detach().sum() for lengths_N, _ in measured]).sum() / size
        self.ranks.add_up([mean])

        def share(part: Part) -> tuple[Tensor, dict[str, Tensor]]:
            lengths_N, style_D = known or lengths(part)
            penalty_N = loss.path_length_penalty(lengths_N, self.path_mean, mean)
            value = penalty_N.sum() / size * self._path_scale
            return value, {"style": style_D, "path_length": lengths_N.sum() / size}

        self._note(self._move("Greg", self.g_optimiser, self.path_parts, share))
        moved = loss.moved_path_mean(self.path_mean, mean)
        self.path_mean = torch.where(mean.isfinite(), moved, self.path_mean)  # it may overflow in float16

    def d_main(self, reals: Tensor, labels: Tensor | None, chance: Chance) -> None:
        """Move the discriminator by its loss on this process's real images and as many generated ones."""
        size, drawn = self.config.batch, chance.phase("Dmain")
        latents = self._latents(size, drawn)

        def share(part: Part) -> tuple[Tensor, dict[str, Tensor]]:
            mine = latents.of(part)
            with torch.no_grad():
                w_NLD, style_D = self._styles(mine, size)
                fakes = self.g.synthesis(w_NLD, rng=drawn.noise(size, part))
            shown = self._augment(part.of_own(reals), drawn, 1, part)
            images = _in_turn(self._augment(fakes, drawn, 0, part), shown)
            drawn_NK, own_NK = mine.labels, None if labels is None else part.of_own(labels)
            labels_NK = None if drawn_NK is None or own_NK is None else _in_turn(drawn_NK, own_NK)
            fake_logits, real_logits = self.d(images, labels_NK).reshape(-1, 2, 1).unbind(dim=1)
            value = loss.discriminator_loss(fake_logits, real_logits) * (len(part.rows) / size)
            return value, {"d_loss": value, "real_sign": real_logits.sign().sum() / size, "style": style_D}

        self._note(self._move("Dmain", self.d_optimiser, self.parts, share))

    def d_reg(self, reals: Tensor, labels: Tensor | None, chance: Chance) -> None:
        """Move the discriminator by R1 on this process's real images."""
        size, drawn = self.config.batch, chance.phase("Dreg")
        weight = self.config.gamma / 2 * self.config.r1_interval

        def share(part: Part) -> tuple[Tensor, dict[str, Tensor]]:
            images = part.of_own(reals).detach().requires_grad_(True)
            labels_NK = None if labels is None else part.of_own(labels)
            logits = self.d(self._augment(images, drawn, 1, part), labels_NK)
            penalty = loss.r1_penalty(images, logits).sum() / size
            return penalty * weight, {"r1": penalty, "real_sign": logits.sign().sum() / size}

        self._note(self._move("Dreg", self.d_optimiser, self.parts, share))

    @torch.no_grad()
    def average(self) -> None:
        """Move the running mean of the generator's weights; buffers are copied."""
        half_life = self.config.ema_kimg * 1000
        if self.config.ema_ramp:
            half_life = min(half_life, self.images * self.config.ema_ramp)
        weight = 1 - 0.5 ** (self.config.batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.g_ema.parameters()), list(self.g.parameters()), weight)
        torch._foreach_copy_(list(self.g_ema.buffers()), list(self.g.buffers()))

    @property
    def within_tick(self) -> bool:
        """Tell whether steps were taken since the last row of statistics."""
        return bool(self.sums)

    @property
    def p(self) -> float:
        """Probability of each augmentation."""
        return self.controller.p

    @property
    def _path_scale(self) -> float:
        return (self.config.path_weight or 0.0) * self.config.path_interval

    @property
    def _scale(self) -> float | None:
        return 2.0 ** int(math.log2(self.config.batch)) if self.d.low == torch.float16 else None

    def _move(
        self, phase: str, optimiser: torch.optim.Adam, parts: list[Part], share: Share
    ) -> dict[str, Tensor]:
        """Move an optimiser; in float16 one image's share of a mean would round to nothing going back."""
        facts = descend(optimiser, self.ranks, parts, share, scale=self._scale)
        return {SKIPPED + phase if name == "skipped" else name: fact for name, fact in facts.items()}

    def _latents(self, count: int, drawn: PhaseChance) -> Latents:
        return drawn.latents(count, self.g.styles, self.config.mixing or 0.0, self.labels)

    def _styles(self, latents: Latents, size: int) -> tuple[Tensor, Tensor]:
        """Map latents, mixed as drawn (StyleGAN, Section 3.1); also their share of the batch's mean style."""
        w_NLD = self.g.mapping(latents.z, latents.labels)
        mean_D = w_NLD[:, 0].detach().sum(dim=0) / size  # of the first latents alone
        cutoff = latents.cutoff
        if cutoff < self.g.styles:
            other_NLD = self.g.mapping(latents.other, latents.labels)
            w_NLD = torch.cat([w_NLD[:, :cutoff], other_NLD[:, cutoff:]], dim=1)
        return w_NLD, mean_D

    def _augment(self, images: Tensor, drawn: PhaseChance, stream: int, part: Part) -> Tensor:
        draws = RandomDraws(
            count=part.count, rng=drawn.augment_rng(stream), rows=None if part.whole else part.rows_host
        )
        return augment(images, SETS[self.config.augment], self.p, draws)

    def _note(self, facts: dict[str, Tensor]) -> None:
        """Keep what a phase reports for the next row of statistics, and let followers follow."""
        if "style" in facts:
            track_style_mean(self.g.mapping, facts.pop("style"))
        if "real_sign" in facts:
            self.signs = self.signs + facts["real_sign"]
            self.sign_phases += 1
        for name, value in facts.items():
            self.sums[name].append(value)

    def _adapt(self) -> None:
        """Move p; the one time in several steps that a number is waited for."""
        size = self.config.batch
        self.controller.observe(self.signs.item() * size, self.sign_phases * size)
        self.controller.update(ADA_INTERVAL * size)
        self.signs, self.sign_phases = torch.zeros_like(self.signs), 0

    def tick(self) -> dict[str, float]:
        """Add the means since the last tick to the history and return them."""
        found = {name: torch.stack(values) for name, values in sorted(self.sums.items())}
        # What overflowed float16 counts for nothing, as the step that was skipped.
        if self._scale is not None:
            found = {name: values[values.isfinite()] for name, values in found.items()}
        means = {name: values.mean().item() for name, values in found.items() if len(values)}
        row = {"kimg": self.images / 1000, "augment_p": self.p, **means}
        self.sums.clear()
        self.history.append(row)
        return row

    def is_finite(self) -> bool:
        """Tell whether no weight is NaN or infinite."""
        parameters: list[Tensor] = [*self.g.parameters(), *self.d.parameters()]
        return bool(torch.stack(torch._foreach_norm(parameters)).isfinite().all())


def _networks(config: TrainingConfig, labels: int, device: torch.device) -> tuple[Generator, Discriminator]:
    architecture, low = architecture_of(config, labels), computed_in(config.dtype, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        g = architecture.generator(low=low)
        d = architecture.discriminator(config.group, low=low)
    freeze(d, config.freeze_d)
    for network in (g, d):
        network.to(device)
    return g, d


def _in_turn(fakes: Tensor, reals: Tensor) -> Tensor:
    """Return both sets' rows in turn, so that the discriminator takes them in one pass.

    Minibatch deviation still compares those of one set alone: image i of a set meets i + N/group of the same.
    """
    return torch.stack([fakes, reals], dim=1).flatten(0, 1)


def _half(config: TrainingConfig) -> int:
    """Return how many images path length is measured on."""
    return max(config.batch // 2, 1)


def require_shares(config: TrainingConfig, processes: int) -> None:
    """Refuse a batch, or its half that path length is measured on, of which a process would have none."""
    own_rows(config.batch, config.group, Ranks(count=processes))
    if config.path_weight and _half(config) < processes:
        raise UsageError(
            f"batch={config.batch}: path length takes half of it, {_half(config)} image(s) for {processes}"
            f" processes; valid: at least {2 * processes}, or path_weight=0"
        )


def _path_parts(config: TrainingConfig, ranks: Ranks, device: torch.device) -> list[Part]:
    half, most = _half(config), config.batch_gpu and max(config.batch_gpu // 2, 1)
    return cut(half, 1, ranks, most, device) if half >= ranks.count else []


def _controller(config: TrainingConfig) -> Controller:
    p = config.p if config.aug == "fixed" else 0.0
    return Controller(target=config.ada_target, images=config.ada_kimg * 1000, maximum=config.ada_max, p=p)
