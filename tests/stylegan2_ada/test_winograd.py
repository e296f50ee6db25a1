"""Winograd's convolution against the direct sum, in value and in every derivative."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from stylegan2_ada import devices, winograd, winograd_tiles
from stylegan2_ada.convolution import conv_down, conv_up, convolve
from stylegan2_ada.resampling import binomial_filter, fir
from stylegan2_ada.winograd import convolves, makes_gradient
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

Convolution = Callable[[Tensor, Tensor], Tensor]


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


def derivatives(convolution: Convolution, x_NIHW: Tensor, weight_OIKK: Tensor) -> list[Tensor]:
    """Return value, first and second derivatives of a function of the convolution in image and weight."""
    x, w = x_NIHW.detach().requires_grad_(), weight_OIKK.detach().requires_grad_()
    y = convolution(x, w)
    first = torch.autograd.grad(y.pow(3).sum(), (x, w), create_graph=True)
    second = torch.autograd.grad([g.square().sum() for g in first], (x, w))
    return [value.detach() for value in (y, *first, *second)]


def assert_same_derivatives(
    ours: Convolution, direct: Convolution, x_NIHW: Tensor, weight_OIKK: Tensor
) -> None:
    """Compare with the direct sum in float64."""
    exact = derivatives(direct, x_NIHW.double(), weight_OIKK.double())
    for a, b in zip(derivatives(ours, x_NIHW, weight_OIKK), exact, strict=True):
        assert distance(a, b) < 5e-5


def test_first_and_second_derivatives_are_those_of_the_direct_sum() -> None:
    x_NIHW, weight_OIKK = tensors(3, 128, 128, 8)
    assert_same_derivatives(convolve, lambda x, w: functional.conv2d(x, w, padding=1), x_NIHW, weight_OIKK)


def test_memory_kept_under_inference_serves_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd_tiles, "_local", threading.local())  # what earlier tests left would hide it
    x_NIHW, weight_OIKK = tensors(2, 136, 136, 12)
    with torch.inference_mode():
        before = convolve(x_NIHW, weight_OIKK).clone()
    after = convolve(x_NIHW, weight_OIKK.requires_grad_())
    after.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(after, before)


@pytest.mark.parametrize(
    ("n", "inputs", "outputs", "size"), [(1, 128, 160, 8), (9, 66, 70, 16), (3, 5, 7, 4)]
)
def test_gradients_of_weights_at_half_and_twice_the_size(
    n: int, inputs: int, outputs: int, size: int
) -> None:
    y_NOHW, _ = tensors(n, outputs, 1, size)  # size x size + 4
    rng = torch.Generator().manual_seed(n)
    x_NIHW = torch.randn(n, inputs, 2 * size + 1, 2 * size + 9, generator=rng)  # NCHW in memory
    ours = winograd_tiles.weight_gradient(x_NIHW, y_NOHW, 2)
    exact = conv2d_weight(x_NIHW.double(), [outputs, inputs, 3, 3], y_NOHW.double(), stride=2)
    assert distance(ours, exact) < 1e-5


@pytest.mark.parametrize("shape", [(64, 68, 32, 64), (66, 64, 34, 32)])
def test_layers_that_change_the_size_are_those_of_the_direct_sum(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bias included; of 34 pixels no tiles of four can be made."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    inputs, outputs, height, width = shape
    rng = torch.Generator().manual_seed(height)
    x_NIHW = torch.randn(1, inputs, height, width, generator=rng)
    weight_OIKK = torch.randn(outputs, inputs, 3, 3, generator=rng) / (9 * inputs) ** 0.5
    bias_O = torch.randn(outputs, generator=rng)
    taps = binomial_filter()

    def down(x: Tensor, w: Tensor) -> Tensor:
        return conv_down(x, w, bias_O.to(x.dtype), taps)

    def up(x: Tensor, w: Tensor) -> Tensor:
        return conv_up(x, w, taps)

    def direct_down(x: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(fir(x, taps, padding=(2, 2, 2, 2)), w, bias_O.to(x.dtype), stride=2)

    def direct_up(x: Tensor, w: Tensor) -> Tensor:
        y_NOHW = functional.conv_transpose2d(x, w.transpose(0, 1), stride=2)
        return fir(y_NOHW, taps, padding=(1, 1, 1, 1), gain=4.0)

    assert_same_derivatives(down, direct_down, x_NIHW, weight_OIKK)
    assert_same_derivatives(up, direct_up, x_NIHW, weight_OIKK)


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (18, 17)])
def test_layers_that_change_the_size_come_from_tiles_where_these_suit(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    seen: list[int] = []
    by_tiles = winograd_tiles.weight_gradient
    monkeypatch.setattr(
        winograd_tiles, "weight_gradient", lambda x, y, stride: seen.append(stride) or by_tiles(x, y, stride)
    )
    weight_OIKK = torch.randn(512, 512, 3, 3, requires_grad=True)
    x_NIHW = torch.randn(1, 512, *size, requires_grad=True)
    conv_down(x_NIHW, weight_OIKK, None, binomial_filter()).sum().backward()  # type: ignore[no-untyped-call]
    assert seen == ([] if size == (18, 17) else [2])  # 9 x 8 results are no tiles
    conv_up(x_NIHW[:, :, :8, :8], weight_OIKK, binomial_filter()).sum().backward()  # type: ignore[no-untyped-call]
    assert seen[-1:] == [2]


@pytest.mark.parametrize("stride", [1, 2])
def test_parts_of_a_batch_add_up(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x_NIHW, y_NOHW = tensors(3, 8, 1, 8 * stride + stride - 1)[0], tensors(3, 6, 1, 8)[0]
    x_NIHW = x_NIHW[:, :, :, : 12 * stride + stride - 1]
    if stride == 2:
        x_NIHW = torch.cat([x_NIHW, x_NIHW[..., :4]], dim=3)[..., :25]
    whole = winograd_tiles.weight_gradient(x_NIHW, y_NOHW, stride)
    monkeypatch.setattr(winograd_tiles, "_CHUNK", 1)
    assert distance(winograd_tiles.weight_gradient(x_NIHW, y_NOHW, stride), whole) < 1e-5


@pytest.fixture
def every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tiles serve small layers too, on any processor."""
    monkeypatch.setattr(winograd, "_wide", lambda weight_OIKK, results, stride: stride == 1)


def errors(convolution: Convolution, exact: list[Tensor], image: Tensor, weight: Tensor) -> list[float]:
    """Return the length of the error of bfloat16, relative to that of what it stands for."""
    found = derivatives(convolution, image.bfloat16(), weight.bfloat16())
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize(
    ("images", "size", "gradient_by_tiles"), [(3, 32, True), (12, 8, True), (3, 8, False)]
)
@pytest.mark.usefixtures("every_layer")
def test_bfloat16_loses_about_twice_what_its_direct_sum_loses(
    images: int, size: int, gradient_by_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In value and derivatives, where the weights' gradient comes from tiles and where it does not."""
    seen: list[str] = []
    for name in ("convolve", "weight_gradient"):
        monkeypatch.setattr(winograd_tiles, name, counted(getattr(winograd_tiles, name), name, seen))

    def direct(x: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(x, w, padding=1)

    x_NIHW, weight_OIKK = tensors(images, 40, 24, size)
    exact = derivatives(direct, x_NIHW.double(), weight_OIKK.double())
    ours = errors(convolve, exact, x_NIHW, weight_OIKK)
    theirs = errors(direct, exact, x_NIHW, weight_OIKK)
    assert all(1.2 * b < a < 3 * b < 0.06 for a, b in zip(ours[:2], theirs[:2], strict=True)), (ours, theirs)
    assert all(a < 3 * b < 0.06 for a, b in zip(ours, theirs, strict=True)), (ours, theirs)
    assert set(seen) == {"convolve", *(["weight_gradient"] if gradient_by_tiles else [])}


def counted(call: Callable[..., Tensor], name: str, seen: list[str]) -> Callable[..., Tensor]:
    """Return a function that notes its name when it is called."""

    def noting(*given: Any, **named: Any) -> Tensor:
        seen.append(name)
        return call(*given, **named)

    return noting


@pytest.mark.usefixtures("every_layer")
def test_bfloat16_has_the_bias_and_turns_the_kernel() -> None:
    x_NIHW, weight_OIKK = tensors(2, 12, 20, 8)
    bias_O = torch.arange(20) / 20
    ours = convolve(x_NIHW.bfloat16(), weight_OIKK.bfloat16(), bias_O.bfloat16())
    assert ours.dtype == torch.bfloat16
    assert distance(ours, functional.conv2d(x_NIHW, weight_OIKK, bias_O, padding=1)) < 0.02
    turned = winograd_tiles.convolve(ours, weight_OIKK.bfloat16(), None, turned=True)
    assert distance(turned, functional.conv_transpose2d(ours.float(), weight_OIKK, padding=1)) < 0.02


def test_sums_at_the_points_are_the_product_with_the_matrix() -> None:
    """On whole numbers, which neither rounds."""
    whole = torch.randint(-8, 9, (2, 10, 14, 5), generator=torch.Generator().manual_seed(0))
    x_NHWC, scheme = whole.bfloat16(), winograd_tiles._TWOS
    by_sums = winograd_tiles._pixels_at_points(scheme, x_NHWC, (8, 12)).clone()
    tiles = scheme.pixels(x_NHWC, (8, 12))
    assert torch.equal(by_sums, winograd_tiles._evaluate("pixels", scheme.b_t, tiles))


def test_parts_of_a_batch_are_added_in_more_digits_than_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    x_NIHW, y_NOHW = tensors(64, 8, 1, 8)[0].bfloat16(), tensors(64, 6, 1, 8)[0].bfloat16()
    whole = winograd_tiles.weight_gradient(x_NIHW, y_NOHW, 1)
    monkeypatch.setattr(winograd_tiles, "_CHUNK", 1)
    exact = conv2d_weight(x_NIHW.double(), [6, 8, 3, 3], y_NOHW.double(), padding=1)
    assert distance(winograd_tiles.weight_gradient(x_NIHW, y_NOHW, 1), exact) < 2 * distance(whole, exact)


@pytest.mark.parametrize(
    ("here", "by_tiles"), [("avx512_bf16", True), ("avx512_bf16 amx_bf16", False), ("avx512f", False)]
)
def test_bfloat16_comes_from_tiles_where_vectors_multiply_it(
    here: str, by_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "processor", lambda: frozenset(here.split()))
    x_NIHW, weight_OIKK = (tensor.bfloat16() for tensor in tensors(1, 256, 256, 16))
    for chosen, images in ((convolves, x_NIHW), (makes_gradient, x_NIHW.repeat(4, 1, 1, 1))):
        assert chosen(images, weight_OIKK, stride=1) == by_tiles
        assert not chosen(images, weight_OIKK, stride=2)
        assert not chosen(images[:, :, :12], weight_OIKK, stride=1)
        assert not chosen(images, weight_OIKK[:240], stride=1)
        assert not chosen(images, weight_OIKK.float(), stride=1)
    assert not makes_gradient(x_NIHW, weight_OIKK, stride=1)


def test_memory_is_each_threads_own() -> None:
    images = [tensors(n, 128, 128, 16) for n in (1, 2, 3, 4)]
    alone = [convolve(*pair) for pair in images]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            together = list(threads.map(lambda pair: convolve(*pair), images))
            assert all(map(torch.equal, together, alone))


def test_what_it_does_not_take_or_not_faster_is_told() -> None:
    x_NIHW, weight_OIKK = tensors(1, 128, 128, 8)
    x_NIHW = x_NIHW.repeat(1, 1, 2, 2)
    for chosen in (convolves, makes_gradient):
        assert chosen(x_NIHW, weight_OIKK, stride=1)
        assert not chosen(x_NIHW[:, :, :14], weight_OIKK, stride=1)
        assert not chosen(x_NIHW[..., :14], weight_OIKK, stride=1)
        assert not chosen(x_NIHW.double(), weight_OIKK.double(), stride=1)
        assert not chosen(x_NIHW, weight_OIKK[:, :, 1:2, 1:2], stride=1)
        assert not chosen(x_NIHW, weight_OIKK[:, :64], stride=1)
        assert not chosen(x_NIHW[:0], weight_OIKK, stride=1)
    assert not convolves(x_NIHW, weight_OIKK, stride=2)


@pytest.mark.parametrize(
    ("capability", "vendor", "channels"),
    [
        ("AVX2", "AuthenticAMD", 64),
        ("AVX2", "GenuineIntel", 64),
        ("AVX512", "GenuineIntel", 128),
        ("AVX512", "AuthenticAMD", None),
        ("DEFAULT", "GenuineIntel", None),
    ],
)
def test_gradients_are_had_from_tiles_where_the_direct_sum_is_slow(
    capability: str, vendor: str, channels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(devices, "processor", lambda: frozenset({vendor}))
    y_NOHW, weight_OIKK = torch.empty(1, 128, 32, 32), torch.empty(128, 128, 3, 3)
    for least in (60, 64, 124, 128):
        by_tiles = channels is not None and least >= channels
        assert makes_gradient(y_NOHW, weight_OIKK[:least], stride=2) == by_tiles
        assert makes_gradient(y_NOHW, weight_OIKK[:least], stride=1) == (by_tiles or least == 128)
        assert convolves(y_NOHW, weight_OIKK[:least], stride=1) == (least == 128)
    assert not makes_gradient(y_NOHW[:, :, :8, :8], weight_OIKK[:, :64], stride=2)
