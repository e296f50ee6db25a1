"""The losses of StyleGAN2 as pure functions of tensors (arXiv 1912.04958, Sections 3.1 and 3.2)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylegan2_ada.convolution import no_weight_gradients

PATH_DECAY = 0.01  # of the running mean of path lengths, at each measurement


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator."""
    return functional.softplus(-fake_logits).mean()


def discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator."""
    return functional.softplus(fake_logits).mean() + functional.softplus(-real_logits).mean()


def r1_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Squared length of each image's gradient, N; the loss is gamma / 2 times its mean."""
    with no_weight_gradients():
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def path_lengths(images: Tensor, w_NLD: Tensor, direction: Tensor, *, differentiable: bool = True) -> Tensor:
    """Length of J^T y for each image, N (Section 3.2); `direction` is N(0, 1) of the images' shape."""
    y = direction / math.sqrt(images.shape[2] * images.shape[3])
    with no_weight_gradients():
        (gradient,) = torch.autograd.grad((images * y).sum(), w_NLD, create_graph=differentiable)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def moved_path_mean(mean: Tensor, batch_mean: Tensor) -> Tensor:
    """Return the running mean of path lengths, moved by a batch's mean."""
    return mean.lerp(batch_mean, PATH_DECAY)


def path_length_penalty(lengths_N: Tensor, mean: Tensor, batch_mean: Tensor) -> Tensor:
    """Squared distance of each length to the moved running mean m, N; the loss is its mean over the batch.

    The gradient flows through m too, as in the authors' implementation: 2 (l - m - decay (L - m)) / N, with L
    the batch's mean, which is that of the distance to a constant. So the parts of a batch need no more of
    each other than L.
    """
    moved = moved_path_mean(mean, batch_mean).detach()
    anchored_N = (lengths_N - moved_path_mean(moved, batch_mean.detach())).square()
    return anchored_N + ((lengths_N - moved).square() - anchored_N).detach()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Take no gradients of a network's parameters, only through it."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
