"""Winograd's convolution against the direct sum, in value and in every derivative."""

import pytest
import torch
from stylegan2_ada.winograd import convolve, no_weight_gradients, suits
from torch import Tensor
from torch.nn import functional


def tensors(n: int, inputs: int, outputs: int, size: int) -> tuple[Tensor, Tensor]:
    """Return an image batch and a weight in the layout of training."""
    rng = torch.Generator().manual_seed(n + size)
    x_NIHW = torch.randn(n, inputs, size, size + 4, generator=rng)
    weight_OIKK = torch.randn(outputs, inputs, 3, 3, generator=rng) / (9 * inputs) ** 0.5
    return x_NIHW.contiguous(memory_format=torch.channels_last), weight_OIKK


def distance(a: Tensor, b: Tensor) -> float:
    """Return the largest difference relative to the largest value of b."""
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(
    ("n", "inputs", "outputs", "size"), [(1, 128, 160, 8), (9, 130, 128, 16), (3, 5, 7, 4)]
)
def test_it_is_the_direct_sum(n: int, inputs: int, outputs: int, size: int) -> None:
    x_NIHW, weight_OIKK = tensors(n, inputs, outputs, size)
    bias_O = torch.arange(outputs) / outputs
    direct = functional.conv2d(x_NIHW.double(), weight_OIKK.double(), bias_O.double(), padding=1)
    assert distance(convolve(x_NIHW, weight_OIKK, bias_O), direct) < 1e-5


def test_first_and_second_derivatives_are_those_of_the_direct_sum() -> None:
    x_NIHW, weight_OIKK = tensors(3, 128, 128, 8)

    def derivatives(convolution, dtype: torch.dtype) -> list[Tensor]:  # type: ignore[no-untyped-def]
        x, w = x_NIHW.to(dtype).requires_grad_(), weight_OIKK.to(dtype).requires_grad_()
        first = torch.autograd.grad(convolution(x, w).pow(3).sum(), (x, w), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, w))
        return [*first, *second]

    exact = derivatives(lambda x, w: functional.conv2d(x, w, padding=1), torch.float64)
    ours = derivatives(convolve, torch.float32)
    assert [distance(a.detach(), b.detach()) < 5e-5 for a, b in zip(ours, exact, strict=True)] == [True] * 4


def test_weight_gradients_are_skipped_where_asked_yet_reach_the_second_derivative() -> None:
    x_NIHW, weight_OIKK = tensors(2, 128, 128, 8)
    weight_OIKK.requires_grad_()
    x_NIHW.requires_grad_()
    with no_weight_gradients():
        y_NOHW = convolve(x_NIHW, weight_OIKK)
        (to_x,) = torch.autograd.grad(y_NOHW.square().sum(), x_NIHW, create_graph=True)
        skipped = torch.autograd.grad(y_NOHW.sum(), weight_OIKK, allow_unused=True, retain_graph=True)
    assert skipped == (None,)
    (to_weight,) = torch.autograd.grad(to_x.square().sum(), weight_OIKK)
    assert to_weight.abs().max() > 0


def test_memory_kept_under_inference_serves_training() -> None:
    x_NIHW, weight_OIKK = tensors(2, 136, 136, 12)
    with torch.inference_mode():
        before = convolve(x_NIHW, weight_OIKK).clone()
    after = convolve(x_NIHW, weight_OIKK.requires_grad_())
    after.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(after, before)


def test_what_it_does_not_take_or_not_faster_is_told() -> None:
    x_NIHW, weight_OIKK = tensors(1, 128, 128, 8)
    assert suits(x_NIHW, weight_OIKK)
    assert not suits(x_NIHW[:, :, :6], weight_OIKK)
    assert not suits(x_NIHW.double(), weight_OIKK.double())
    assert not suits(x_NIHW, weight_OIKK[:, :, 1:2, 1:2])
    assert not suits(x_NIHW[:, :64], weight_OIKK[:, :64])
