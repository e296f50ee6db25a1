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


def test_path_penalty_is_of_the_moved_mean() -> None:
    penalty, mean = loss.path_length_penalty(torch.tensor([1.0, 3.0]), torch.tensor(0.0), decay=0.5)
    assert mean.item() == 1.0
    assert penalty.item() == 2.0


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
