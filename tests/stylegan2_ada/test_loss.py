import math

import pytest
import torch
from stylegan2_ada import loss
from torch import nn


def test_r1_of_a_quadratic_discriminator_equals_its_closed_form() -> None:
    images = torch.randn(3, 2, 4, 4, requires_grad=True)
    scale = torch.tensor(1.7, requires_grad=True)
    penalty = loss.r1_penalty(images, scale * images.square().sum(dim=(1, 2, 3)))
    squares = images.square().sum(dim=(1, 2, 3))
    assert torch.allclose(penalty, 4 * scale**2 * squares)
    penalty.sum().backward()
    assert torch.allclose(scale.grad, 8 * scale * squares.sum())  # second derivative: through the gradient


def test_path_length_of_a_linear_generator_equals_its_closed_form() -> None:
    matrix = torch.randn(5, 12)
    w = torch.randn(3, 2, 5, requires_grad=True)
    images = (w.sum(dim=1) @ matrix).reshape(3, 3, 2, 2)
    direction = torch.randn(3, 3, 2, 2)
    expected = (direction.reshape(3, 12) / math.sqrt(4) @ matrix.T).norm(dim=1)  # equal for both layers
    assert torch.allclose(loss.path_lengths(images, w, direction), expected, rtol=1e-5)


def test_path_penalty_and_its_gradient_are_those_of_the_moved_mean() -> None:
    lengths = torch.tensor([1.0, 3.0, 7.0], requires_grad=True)
    mean = torch.tensor(0.5)
    moved = mean.lerp(lengths.mean(), loss.PATH_DECAY)
    expected = (lengths - moved).square().mean()
    penalty = loss.path_length_penalty(lengths, mean, lengths.detach().mean()).mean()
    assert torch.allclose(penalty, expected)
    assert torch.allclose(loss.moved_path_mean(mean, lengths.mean()), moved)
    assert torch.allclose(*(torch.autograd.grad(value, lengths)[0] for value in (penalty, expected)))


def test_path_lengths_without_a_second_derivative_are_the_same() -> None:
    w = torch.randn(3, 2, 5, requires_grad=True)
    images = w.square().sum(dim=1)[:, None, None]
    direction = torch.randn(images.shape)
    assert torch.equal(
        loss.path_lengths(images, w, direction),
        loss.path_lengths(images * 1, w, direction, differentiable=False),
    )


def test_losses_of_an_undecided_discriminator() -> None:
    undecided = torch.zeros(4, 1)
    assert loss.generator_loss(undecided).item() == pytest.approx(math.log(2))
    assert loss.discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))


def test_each_loss_pulls_its_way() -> None:
    logits = torch.zeros(4, 1, requires_grad=True)
    assert (torch.autograd.grad(loss.generator_loss(logits), logits)[0] < 0).all()
    fake, real = torch.autograd.grad(loss.discriminator_loss(*(pair := (logits * 1, logits * 1))), pair)
    assert (fake > 0).all() and (real < 0).all()


def test_a_frozen_network_gets_no_gradients_but_passes_them() -> None:
    network, x = nn.Linear(2, 1), torch.randn(3, 2, requires_grad=True)
    with loss.frozen(network):
        network(x).sum().backward()
    assert network.weight.grad is None and x.grad is not None
    assert network.weight.requires_grad


def test_what_was_frozen_before_stays_frozen() -> None:
    network = nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    with loss.frozen(network):
        assert not network.weight.requires_grad
    assert network.weight.requires_grad and not network.bias.requires_grad
