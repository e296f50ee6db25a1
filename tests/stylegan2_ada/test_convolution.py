"""The convolutions' derivatives of every order, against PyTorch's own and against differences."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from stylegan2_ada.convolution import conv, conv_down, conv_up, convolve, no_weight_gradients
from stylegan2_ada.resampling import binomial_filter, fir
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

TAPS = binomial_filter().double()
Layer = Callable[..., Tensor]


def tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Return noise in float64 whose derivatives are asked for."""
    rng = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for shape in shapes]


LAYERS = [
    pytest.param(conv, (2, 3, 5, 6), (4, 3, 3, 3), (4,), id="3x3"),
    pytest.param(conv, (2, 3, 5, 6), (4, 3, 1, 1), (4,), id="1x1"),
    pytest.param(lambda x, w, b: conv_up(x, w, TAPS) + b, (2, 3, 4, 5), (4, 3, 3, 3), (1,), id="up"),
    pytest.param(lambda x, w, b: conv_down(x, w, b, TAPS), (2, 3, 6, 4), (4, 3, 3, 3), (4,), id="down"),
    pytest.param(lambda x, w, b: conv_down(x, w, b, TAPS), (2, 3, 7, 5), (4, 3, 3, 3), (4,), id="down, odd"),
    pytest.param(lambda x, w, b: conv_down(x, w, b, TAPS), (2, 3, 7, 6), (4, 3, 1, 1), (4,), id="down, 1x1"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "image", "weight", "bias"), LAYERS)
def test_derivatives_are_those_of_differences(
    layer: Layer, image: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    given = tensors(image, weight, bias)
    assert gradcheck(layer, given, fast_mode=True)
    assert gradgradcheck(layer, given, fast_mode=True)


@pytest.mark.parametrize("sizes", [(8, 8), (9, 8), (9, 7)])
def test_a_layer_to_half_the_size_reads_what_a_strided_convolution_reads(sizes: tuple[int, int]) -> None:
    x_NIHW, weight_OIKK, bias_O = tensors((2, 3, *sizes), (4, 3, 3, 3), (4,))
    direct = functional.conv2d(fir(x_NIHW, TAPS, padding=(2, 2, 2, 2)), weight_OIKK, bias_O, stride=2)
    torch.testing.assert_close(conv_down(x_NIHW, weight_OIKK, bias_O, TAPS), direct)


class Convolutions(TorchDispatchMode):
    """Keeps the sizes of all kernels that are convolved with."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default):
            self.kernels.append(args[1 if func is torch.ops.aten.convolution.default else 2].shape[-1])
        return func(*args, **(kwargs or {}))


def second_derivatives(convolution: Layer) -> tuple[list[int], list[Tensor]]:
    """Return which kernels the derivatives of a gradient's length are made with, and what they are."""
    x_NIHW, weight_OIKK = tensors((2, 3, 16, 16), (4, 3, 3, 3))
    with Convolutions() as seen:
        y_NOHW = convolution(x_NIHW, weight_OIKK)
        (to_x,) = torch.autograd.grad(y_NOHW.pow(3).sum(), x_NIHW, create_graph=True)
        found = torch.autograd.grad(to_x.square().sum(), (x_NIHW, weight_OIKK))
    return seen.kernels, list(found)


def test_no_kernel_is_larger_than_the_weights() -> None:
    """As it is in PyTorch's second derivative: no library is fast with kernels of a whole image."""
    kernels, ours = second_derivatives(conv)
    large, theirs = second_derivatives(lambda x, w: functional.conv2d(x, w, padding=1))
    torch.testing.assert_close(ours, theirs)
    assert max(kernels) == 3 < max(large)


def length_of_gradient(x_NIHW: Tensor, weight_OIKK: Tensor, *, skip: bool) -> tuple[Tensor | None, Tensor]:
    """Return what an unasked gradient of the weights would be, and that of the image's gradient's length."""
    y_NOHW = conv(x_NIHW, weight_OIKK)
    with no_weight_gradients() if skip else nullcontext():
        (to_weight,) = torch.autograd.grad(y_NOHW.sum(), weight_OIKK, allow_unused=True, retain_graph=True)
        (to_x,) = torch.autograd.grad(y_NOHW.square().sum(), x_NIHW, create_graph=True)
    return to_weight, torch.autograd.grad(to_x.square().sum(), weight_OIKK)[0]


def test_weight_gradients_are_skipped_where_asked_yet_reach_the_second_derivative() -> None:
    given = tensors((2, 3, 8, 8), (4, 3, 3, 3))
    skipped, through = length_of_gradient(*given, skip=True)
    found, direct = length_of_gradient(*given, skip=False)
    assert skipped is None and found is not None
    torch.testing.assert_close(through, direct)


def test_they_are_skipped_whichever_thread_goes_back() -> None:
    """On a GPU it is not the thread that went forward."""
    x_NIHW, weight_OIKK = tensors((2, 3, 8, 8), (4, 3, 3, 3))
    y_NOHW = conv(x_NIHW, weight_OIKK)

    def back(result: Tensor) -> Tensor | None:
        return torch.autograd.grad(result.sum(), weight_OIKK, allow_unused=True, retain_graph=True)[0]

    with ThreadPoolExecutor(1) as threads, no_weight_gradients():
        assert threads.submit(back, y_NOHW).result() is None
        other_NOHW = threads.submit(conv, x_NIHW, weight_OIKK).result()
        assert threads.submit(back, other_NOHW).result() is not None  # nobody asked that thread to skip any
    assert back(y_NOHW) is not None


@pytest.mark.parametrize("transposed", [False, True])
def test_it_is_pytorchs_own_in_both_directions(transposed: bool) -> None:
    x_NIHW, weight = tensors((2, 3, 9, 9), (3, 3, 3, 3))
    direct = functional.conv_transpose2d if transposed else functional.conv2d
    for stride in (1, 2):
        ours = convolve(x_NIHW, weight, stride=stride, transposed=transposed)
        torch.testing.assert_close(ours, direct(x_NIHW, weight, stride=stride, padding=2 - stride))
