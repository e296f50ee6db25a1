"""The losses of StyleGAN2 as pure functions of tensors (arXiv 1912.04958, Sections 3.1 and 3.2)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator."""
    return functional.softplus(-fake_logits).mean()


def discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator."""
    return functional.softplus(fake_logits).mean() + functional.softplus(-real_logits).mean()


def r1_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Squared length of each image's gradient, N; the loss is gamma / 2 times its mean."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def path_lengths(images: Tensor, w_NLD: Tensor, direction: Tensor) -> Tensor:
    """Length of J^T y for each image, N (Section 3.2); `direction` is N(0, 1) of the images' shape."""
    y = direction / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * y).sum(), w_NLD, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths_N: Tensor, mean: Tensor, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """Return the mean squared distance to the running mean length, and that mean moved by this batch.

    The gradient flows through the moved mean too, as in the authors' implementation.
    """
    mean = mean.lerp(lengths_N.mean(), decay)
    return (lengths_N - mean).square().mean(), mean.detach()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Take no gradients of a network's parameters, only through it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
