"""The optimisation of one classifier: AdamW under a warmed-up cosine."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from components.shared.accelerator import accelerator
from components.shared.classifier import HEADS, Classifier, as_input, precision
from components.shared.faults import InputError
from components.shared.progress import Progress
from components.train_classifier.augment import augment
from components.train_classifier.batches import batches

_WARM_UP = 0.2  # share of the steps in which the learning rate rises
_WEIGHT_DECAY = 0.01


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What is learned from, in memory as a whole."""

    images: Tensor  # N x H x W, a byte a pixel
    targets: Tensor  # N, position among the classifier's classes
    pseudo: Tensor  # N, whether the target is a pseudo-label


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast: an epoch is a fixed number of steps, and a phase is some epochs."""

    epochs: int
    frozen_epochs: int  # before the others, in which only the head learns
    steps: int  # of an epoch
    batch: int  # images of a step
    learning_rate: float  # at its highest
    augment: bool
    seed: int

    @property
    def all_steps(self) -> int:
        """Steps of all epochs together."""
        return (self.frozen_epochs + self.epochs) * self.steps


def fit(
    classifier: Classifier, examples: Examples, plan: Plan, progress: Progress
) -> Sequence[Mapping[str, float]]:
    """Train the network in place; return the mean loss of every epoch."""
    at = accelerator()
    network = classifier.network.to(at, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(plan.seed)
    images_NHW, targets_N = examples.images.to(at), examples.targets.to(at)
    order = batches(examples.targets.numpy(), examples.pseudo.numpy(), plan.batch, plan.seed)
    history: list[Mapping[str, float]] = []
    for epochs, parameters in _phases(network, classifier.architecture, plan):
        optimizer = torch.optim.AdamW(parameters, weight_decay=_WEIGHT_DECAY, fused=True)
        for epoch in range(epochs):
            total = torch.zeros((), device=at)
            for step in range(plan.steps):
                place = epoch * plan.steps + step
                _set_rate(optimizer, plan.learning_rate * _rate(place, epochs * plan.steps))
                chosen_N = torch.from_numpy(next(order)).to(at)
                grey_NHW = images_NHW[chosen_N].float() / 255
                if plan.augment:
                    grey_NHW = augment(grey_NHW, generator)
                input_N3HW = as_input(grey_NHW, classifier.mean, classifier.std)
                total += _step(network, optimizer, input_N3HW, targets_N[chosen_N])
                progress(
                    len(chosen_N) * (len(history) * plan.steps + step + 1), len(chosen_N) * plan.all_steps
                )
            history.append({"epoch": len(history) + 1, "loss": _finite(float(total) / plan.steps, plan)})
    return history


def _phases(network: nn.Module, architecture: str, plan: Plan) -> Iterator[tuple[int, list[nn.Parameter]]]:
    """Yield the epochs of each phase and what learns in it."""
    named = list(network.named_parameters())
    head = [value for name, value in named if name.startswith(HEADS[architecture])]
    if plan.frozen_epochs:
        network.requires_grad_(False)
        for value in head:
            value.requires_grad_(True)
        yield plan.frozen_epochs, head
    network.requires_grad_(True)
    yield plan.epochs, [value for _, value in named]


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, input_N3HW: Tensor, targets_N: Tensor
) -> Tensor:
    with precision(input_N3HW.device):
        logits_NC = network(input_N3HW)
    loss = nn.functional.cross_entropy(logits_NC.float(), targets_N)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate: a linear rise, then half a cosine to zero."""
    rise = max(1.0, _WARM_UP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (steps - rise))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _finite(loss: float, plan: Plan) -> float:
    if not math.isfinite(loss):
        raise InputError(
            f"seed={plan.seed}: the classifier's training diverged, its loss is {loss};"
            " valid: another seed, or more epochs, in which the steps grow more slowly"
        )
    return loss
