import math
from typing import get_args

import pytest
import torch
from stylegan2_ada import loss
from stylegan2_ada.generate import latents
from stylegan2_ada.layers import Conv, bounded, demodulation, modulated_conv
from stylegan2_ada.networks import HALF, Blocks, SynthesisLayer, ToRGB
from torch import Tensor, nn

from tests.stylegan2_ada.small_networks import discriminator, generator, images_like, tiny

BLOCKS = get_args(Blocks)
LOW = [torch.float16, torch.bfloat16]


def deviation(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).detach().norm() / reference.detach().norm())


def gradients(network: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_low_precision_is_for_the_highest_resolutions() -> None:
    def low(resolution: int, blocks: int) -> list[int]:
        a = tiny(resolution=resolution, low_blocks=blocks)
        return [size for size in [4, *a.sizes()] if a.is_low(size)]

    assert low(256, 4) == [32, 64, 128, 256]
    assert low(16, 4) == [8, 16]
    assert low(256, 0) == []


def test_bounded_factors_leave_the_layer_as_it_is() -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 6, 8, 8), 300 * torch.randn(5, 6, 3, 3), 500 * torch.randn(2, 6)
    small, styled = bounded(weight, style)
    assert small.abs().max() <= 1 / math.sqrt(54) + 1e-6 and styled.abs().max() <= 1
    for taps in (None, torch.ones(4, 4) / 16):
        ours = modulated_conv(x, small, styled, taps) * demodulation(small, styled)[:, :, None, None]
        plain = modulated_conv(x, weight, style, taps) * demodulation(weight, style)[:, :, None, None]
        assert torch.allclose(ours, plain, atol=1e-4)


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_low_precision_is_close_to_full(blocks: Blocks, low: torch.dtype) -> None:
    g, d = (
        make(g_blocks=blocks, d_blocks=blocks, low_blocks=4, clamp=256.0)
        for make in (generator, discriminator)
    )
    z, images = latents(range(4)), images_like(d)
    full = g(z, noise="const"), d(images)
    g.low = d.low = low
    ours = g(z, noise="const"), d(images)
    assert g.low == low and all(value.dtype == torch.float32 for value in ours)
    assert all(0 < deviation(a, b) < 3e-2 for a, b in zip(ours, full, strict=True))


def test_half_precision_survives_large_styles_and_weights() -> None:
    g = generator(low_blocks=4, clamp=256.0)
    g.synthesis.b16.conv0.affine.bias.data *= 1e4
    g.synthesis.b16.conv1.weight.data *= 1e4
    w = g.mapping(latents(range(2)))
    full = g.synthesis(w, noise="none")
    g.low = torch.float16
    assert deviation(g.synthesis(w, noise="none"), full) < 3e-2


def test_a_clamp_cuts_only_what_lies_beyond() -> None:
    z = latents(range(2))
    assert torch.equal(generator(clamp=1e4)(z, noise="const"), generator()(z, noise="const"))
    g, w = generator(clamp=0.5), torch.randn(2, 512)
    layer, x = g.synthesis.b8.conv1, torch.randn(2, 16, 8, 8)
    for gain in (1.0, 0.1):  # a branch of a residual block has another gain, and so another clamp
        plain, most = generator().synthesis.b8.conv1(x, w, "const", None, gain=gain), 0.5 * gain
        assert torch.equal(layer(x, w, "const", None, gain=gain), plain.clamp(-most, most))
        assert plain.max() > most
    assert g(z).abs().max() <= 0.5 * 3  # three images are summed, each within the clamp
    d, x = discriminator(clamp=0.5), torch.randn(2, 16, 8, 8)
    plain = discriminator().b8.conv1(x, gain=0.1)
    assert torch.equal(d.b8.conv1(x, gain=0.1), plain.clamp(-0.05, 0.05)) and plain.max() > 0.05


def test_every_convolution_of_both_networks_is_clamped() -> None:
    g, d, most = generator(clamp=0.01), discriminator(clamp=0.01), dict[str, float]()
    for name, layer in (*g.named_modules(), *d.named_modules()):
        if isinstance(layer, SynthesisLayer | ToRGB | Conv):
            layer.register_forward_hook(
                lambda _, __, out, name=name: most.update({name: out.abs().max().item()})
            )
    d(g(latents(range(4)), noise="const"))
    branches = ("b16.conv1", "b8.conv1")  # of a residual block: the clamp is times their gain
    assert len(most) == 8 + 6
    assert most == pytest.approx({name: 0.01 * HALF if name in branches else 0.01 for name in most})


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_r1_has_a_gradient_in_every_mode(blocks: Blocks, low: torch.dtype) -> None:
    def descend(dtype: torch.dtype) -> Tensor:
        d = discriminator(d_blocks=blocks, labels=3, low_blocks=4, clamp=256.0, low=dtype)
        images = images_like(d).requires_grad_()
        loss.r1_penalty(images, d(images, torch.eye(3)[[0, 1, 2, 0]])).mean().backward()
        return gradients(d)

    full = descend(torch.float32)
    assert full.isfinite().all() and full.norm() > 0
    assert torch.cosine_similarity(descend(low), full, dim=0) > 0.95


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_path_lengths_have_a_gradient_in_every_mode(blocks: Blocks, low: torch.dtype) -> None:
    def descend(dtype: torch.dtype) -> Tensor:
        g = generator(g_blocks=blocks, labels=3, low_blocks=4, clamp=256.0, low=dtype)
        w = g.mapping(latents(range(4)), torch.eye(3)[[0, 1, 2, 0]])
        images = g.synthesis(w, noise="const")
        loss.path_lengths(images, w, torch.randn(images.shape)).square().mean().backward()
        return gradients(g)

    full = descend(torch.float32)
    assert full.isfinite().all() and full.norm() > 0
    assert torch.cosine_similarity(descend(low), full, dim=0) > 0.95
