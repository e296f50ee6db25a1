"""The activation in place and the product with factors: values, every derivative, and what is kept."""

import pytest
import torch
from stylegan2_ada import modulation
from stylegan2_ada.activation import activate_
from stylegan2_ada.layers import Conv
from stylegan2_ada.modulation import scaled
from stylegan2_ada.winograd import convolves
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

# Clamp, gain; both sides are cut off, at last by a number that no 16 bits hold.
CASES = [(None, 1.0), (None, 2.0**0.5), (0.75, 1.0), (0.75, 0.5), (0.5**0.5, 1.0)]


def noise(*shape: int) -> Tensor:
    """Return numbers whose activations lie on no corner of the function, so that differences are exact."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)
    return torch.where((x.abs() < 0.01) | ((x.abs() % 0.75) < 0.01), x + 0.02, x)


def plainly(x: Tensor, clamp: float | None, gain: float) -> Tensor:
    """Return what the activation is, by operations that keep what goes in."""
    y = functional.leaky_relu(x, 0.2) * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


@pytest.mark.parametrize(("clamp", "gain"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_and_slopes_are_those_of_the_operations_one_by_one(
    clamp: float | None, gain: float, dtype: torch.dtype
) -> None:
    found = []
    for activation in (plainly, activate_):
        x = noise(3, 4, 5, 5).mul(4).to(dtype).requires_grad_()
        y = activation(x * 1, clamp, gain)
        (slope,) = torch.autograd.grad(y, x, torch.ones_like(y))
        found.append((y, slope))
    for ours, plain in zip(found[1], found[0], strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, plain)


@pytest.mark.parametrize(("clamp", "gain"), CASES)
def test_the_derivatives_of_the_activation_are_right_to_the_second_order(
    clamp: float | None, gain: float
) -> None:
    x = noise(2, 3, 4).mul(2).requires_grad_()

    def activation(x: Tensor) -> Tensor:
        """Activate what a graph made, whose second derivative is not 0."""
        return activate_(x**3, clamp, gain)

    assert gradcheck(activation, x)
    assert gradgradcheck(activation, x)


def test_the_activation_takes_no_memory_of_its_own() -> None:
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    made = x.requires_grad_() * 2
    y = activate_(made, gain=3.0)
    assert y.data_ptr() == made.data_ptr()
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_what_another_operation_kept_is_not_overwritten_unseen() -> None:
    x = torch.randn(5, requires_grad=True)
    squared = (x * 1).square()
    kept = squared.exp()
    activate_(kept)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("fresh", [0, modulation.FRESH])
def test_the_product_with_factors_is_right_to_the_second_order(
    layout: torch.memory_format, fresh: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modulation, "FRESH", fresh)  # 0: image by image
    x_NCHW = noise(3, 4, 2, 5).contiguous(memory_format=layout).requires_grad_()
    scale_NC = noise(3, 4).requires_grad_()
    assert torch.equal(scaled(x_NCHW, scale_NC), x_NCHW * scale_NC[:, :, None, None])
    assert gradcheck(scaled, (x_NCHW, scale_NC))
    assert gradgradcheck(scaled, (x_NCHW, scale_NC))


def test_the_product_spares_derivatives_that_nobody_asked_for() -> None:
    x_NCHW, scale_NC = torch.randn(2, 3, 4, 4), torch.randn(2, 3, requires_grad=True)
    scaled(x_NCHW, scale_NC).sum().backward()
    assert torch.allclose(scale_NC.grad, x_NCHW.sum(dim=(2, 3)), atol=1e-5)
    frozen_NC = torch.randn(2, 3)
    scaled(x_NCHW.requires_grad_(), frozen_NC).sum().backward()
    assert torch.equal(x_NCHW.grad, frozen_NC[:, :, None, None].expand_as(x_NCHW))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_what_tiles_make_is_activated_in_place_too(layout: torch.memory_format) -> None:
    """No layer of fewer channels comes from tiles: of those that tests train, none."""
    layer, x_NIHW = Conv(128, 128, 3), torch.randn(2, 128, 8, 8).contiguous(memory_format=layout)
    assert convolves(x_NIHW, layer.weight, stride=1)
    found = []
    for weight in (None, layer.weight * (2 / (9 * 128)) ** 0.5):
        x = x_NIHW.clone().requires_grad_()
        y = layer(x) if weight is None else plainly(functional.conv2d(x, weight, padding=1), None, 1.0)
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), (x, layer.weight))))
    for ours, plain in zip(*found, strict=True):
        assert float((ours - plain).norm() / plain.norm()) < 1e-3


def test_no_image_has_no_product() -> None:
    """A generator makes, and goes back through, none as it does many."""
    x_NCHW, scale_NC = torch.randn(0, 3, 4, 4, requires_grad=True), torch.randn(0, 3, requires_grad=True)
    first = torch.autograd.grad(
        scaled(x_NCHW, scale_NC).square().sum(), (x_NCHW, scale_NC), create_graph=True
    )
    second = torch.autograd.grad(first[1].square().sum(), (x_NCHW, scale_NC))
    for gradients in (first, second):
        assert [gradient.shape for gradient in gradients] == [x_NCHW.shape, scale_NC.shape]
