import math
from typing import get_args

import pytest
import torch
from stylegan2_ada import UsageError, loss
from stylegan2_ada.generate import latents
from stylegan2_ada.layers import GAIN
from stylegan2_ada.networks import Blocks, freeze
from stylegan2_ada.resampling import downsample, upsample
from torch import nn

from tests.stylegan2_ada.small_networks import discriminator, generator, images_like, tiny

BLOCKS = get_args(Blocks)


@pytest.mark.parametrize(
    ("resolution", "base", "layers", "g_millions", "d_millions"),
    [
        (64, 16384, 2, 22.24, 23.41),
        (128, 16384, 2, 22.95, 23.88),
        (256, 16384, 2, 23.19, 24.00),
        (256, 16384, 8, 24.77, 24.00),
        (512, 32768, 2, 28.70, 28.98),
        (1024, 32768, 8, 30.37, 29.01),
    ],
)
def test_sizes_are_those_of_the_published_networks(
    resolution: int, base: int, layers: int, g_millions: float, d_millions: float
) -> None:
    architecture = tiny(
        resolution=resolution, channels=3, channel_base=base, channel_max=512, mapping_layers=layers
    )
    with torch.device("meta"):
        g, d = architecture.generator(), architecture.discriminator(4)
    for network, millions in ((g, g_millions), (d, d_millions)):
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.006)


def test_blocks_decide_which_parts_there_are() -> None:
    def holders(network: nn.Module, part: str) -> list[str]:
        return [name.removesuffix(f".{part}") for name, _ in network.named_modules() if name.endswith(part)]

    everywhere = ["synthesis.b4", "synthesis.b8", "synthesis.b16"]
    assert holders(generator(g_blocks="skip"), "torgb") == everywhere
    assert holders(generator(g_blocks="orig"), "torgb") == everywhere[-1:]
    assert holders(generator(g_blocks="resnet"), "torgb") == everywhere[-1:]
    assert holders(generator(g_blocks="resnet"), "skip") == everywhere[1:]
    assert holders(discriminator(d_blocks="skip"), "fromrgb") == ["b16", "b8", "b4"]
    assert holders(discriminator(d_blocks="orig"), "fromrgb") == ["b16"]
    assert holders(discriminator(d_blocks="resnet"), "skip") == ["b16", "b8"]


def test_names_and_shapes_of_residual_and_conditional_parts() -> None:
    g = generator(g_blocks="resnet", labels=3, mapping_layers=8).state_dict()
    shapes = {name: tuple(value.shape) for name, value in g.items()}
    assert shapes["synthesis.b16.skip.weight"] == (16, 16, 1, 1)
    assert shapes["synthesis.b16.skip.resample_filter"] == (4, 4)
    assert shapes["mapping.embed.weight"] == (512, 3) and shapes["mapping.embed.bias"] == (512,)
    assert shapes["mapping.fc0.weight"] == (512, 1024) and shapes["mapping.fc7.weight"] == (512, 512)
    assert "synthesis.b16.skip.bias" not in shapes and "mapping.fc8.weight" not in shapes
    d = discriminator(d_blocks="skip", labels=3).state_dict()
    shapes = {name: tuple(value.shape) for name, value in d.items()}
    assert shapes["b4.fromrgb.weight"] == (16, 1, 1, 1) and shapes["b4.fromrgb.resample_filter"] == (4, 4)
    assert shapes["mapping.embed.weight"] == (16, 3) and shapes["mapping.fc0.weight"] == (16, 16)
    assert shapes["b4.out.weight"] == (16, 16) and shapes["mapping.fc7.bias"] == (16,)
    assert "mapping.w_avg" not in shapes and "mapping.fc8.weight" not in shapes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_every_parameter_of_a_generator_matters(blocks: Blocks, channels: int) -> None:
    g = generator(g_blocks=blocks, channels=channels, labels=3, clamp=256.0)
    images = g(latents(range(8)), torch.eye(3)[torch.arange(8) % 3])
    assert images.shape == (8, channels, 16, 16) and 0.1 < images.std() < 10
    (images * torch.randn_like(images)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in g.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_every_parameter_of_a_discriminator_matters(blocks: Blocks, channels: int) -> None:
    d = discriminator(d_blocks=blocks, channels=channels, labels=3, clamp=256.0)
    logits = d(images_like(d, 8), torch.eye(3)[torch.arange(8) % 3])
    assert logits.shape == (8, 1) and 0.01 < logits.std() < 10
    loss.generator_loss(logits).backward()
    assert all(p.grad is not None and p.grad.any() for p in d.parameters())


@pytest.mark.parametrize("blocks", BLOCKS)
def test_features_keep_their_scale_from_block_to_block(blocks: Blocks) -> None:
    torch.manual_seed(0)
    architecture = tiny(resolution=64, channel_base=4096, channel_max=64, g_blocks=blocks, d_blocks=blocks)
    g, d = architecture.generator(), architecture.discriminator(4)
    powers: list[float] = []
    for size in architecture.sizes():
        g.synthesis.get_submodule(f"b{size}").register_forward_hook(
            lambda _, __, out: powers.append(out[0].detach().square().mean().item())
        )
        d.get_submodule(f"b{size}").register_forward_hook(
            lambda _, __, out: powers.append(out.detach().square().mean().item())
        )
    d(g(latents(range(4))))
    assert len(powers) == 8 and min(powers) > 0.1 and max(powers) < 10


def test_a_residual_block_sums_two_branches() -> None:
    g = generator(g_blocks="resnet")
    block, x, w = g.synthesis.b8, torch.randn(2, 16, 4, 4), torch.randn(2, 3, 512)
    ours, image = block(x, None, w, "none", None)
    straight = upsample(nn.functional.conv2d(x, block.skip.weight / 4), block.skip.resample_filter)
    branch = block.conv1(block.conv0(x, w[:, 0], "none", None), w[:, 1], "none", None)
    assert image is None and torch.allclose(ours, (straight + branch) / math.sqrt(2), atol=1e-5)


def test_skip_blocks_of_a_discriminator_see_the_image_at_every_size() -> None:
    d = discriminator(d_blocks="skip")
    image = images_like(d)
    half = downsample(image, d.b16.resample_filter)
    quarter = downsample(half, d.b8.resample_filter)
    x = d.b16.conv1(d.b16.conv0(d.b16.fromrgb(image)))
    x = d.b8.conv1(d.b8.conv0(x + d.b8.fromrgb(half)))
    assert torch.allclose(d(image), d.b4(x, quarter), atol=1e-5)


def test_a_conditional_style_comes_from_the_latent_beside_the_label() -> None:
    g = generator(labels=3, mapping_layers=1)
    z, labels = latents(range(4)), torch.randn(4, 3)
    y = labels @ g.mapping.embed.weight.T / math.sqrt(3) + g.mapping.embed.bias
    unit = [v / v.square().mean(dim=1, keepdim=True).sqrt() for v in (z, y)]
    layer = g.mapping.fc0
    x = torch.cat(unit, dim=1) @ layer.weight.T * 0.01 / math.sqrt(1024) + layer.bias * 0.01
    expected = nn.functional.leaky_relu(x, 0.2) * GAIN
    assert torch.allclose(g.mapping(z, labels)[:, 3], expected, atol=1e-5)


def test_a_conditional_logit_is_a_projection_onto_the_mapped_label() -> None:
    d = discriminator(labels=3)
    images, labels = images_like(d), torch.eye(3)[[0, 2, 1, 0]]
    x = labels @ d.mapping.embed.weight.T / math.sqrt(3) + d.mapping.embed.bias
    x = x / x.square().mean(dim=1, keepdim=True).sqrt()
    for i in range(8):
        layer = d.mapping.get_submodule(f"fc{i}")
        x = nn.functional.leaky_relu(x @ layer.weight.T * 0.01 / 4 + layer.bias * 0.01, 0.2) * GAIN
    features = discriminator()
    features.b4.out = nn.Linear(16, 16)  # sixteen outputs, not yet compared with a label
    features.load_state_dict({name: v for name, v in d.state_dict().items() if "mapping" not in name})
    features.b4.out = d.b4.out
    expected = (features(images) * x).sum(dim=1) / 4
    assert torch.allclose(d(images, labels)[:, 0], expected, atol=1e-5)


def test_labels_count_by_direction_alone_and_are_asked_for() -> None:
    g, d = generator(labels=3), discriminator(labels=3)
    g.mapping.embed.bias.data.zero_()
    z, label = latents(range(1)), torch.tensor([[0.0, 1.0, 0.0]])
    assert torch.allclose(g.mapping(z, label), g.mapping(z, 7 * label), atol=1e-5)
    with pytest.raises(UsageError, match=r"labels=None: .*; valid: "):
        g(z)
    with pytest.raises(UsageError, match=r"labels=None: .*; valid: "):
        d(images_like(d))
    assert torch.equal(generator()(z, label, noise="none"), generator()(z, noise="none"))


def test_frozen_convolutions_stay_as_they_are_and_keep_their_names() -> None:
    d, names = discriminator(), list(discriminator().state_dict())
    images = images_like(d)
    logits, before = d(images), {name: value.clone() for name, value in d.state_dict().items()}
    freeze(d, 5)
    assert sorted(d.state_dict()) == sorted(names) and torch.equal(d(images), logits)
    optimiser = torch.optim.Adam(d.parameters())
    d.requires_grad_(True)
    loss.generator_loss(d(images)).backward()
    optimiser.step()
    still = {name for name, value in d.state_dict().items() if torch.equal(value, before[name])}
    layers = ["b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0"]
    frozen = {name for name in names if name.rsplit(".", 1)[0] in layers}
    assert still == frozen | {name for name in names if name.endswith("resample_filter")}
    d.load_state_dict(before)


def test_convolutions_are_frozen_from_the_image_on_and_a_skip_after_the_others_of_its_block() -> None:
    order = ["b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0", "b8.conv1", "b8.skip"]
    for layers in range(8):
        d = discriminator()
        freeze(d, layers)
        trained = {name.rpartition(".")[0] for name, _ in d.named_parameters()}
        assert [name for name in order if name not in trained] == order[:layers]


def test_no_more_is_frozen_than_there_is() -> None:
    freeze(discriminator(), 7)
    freeze(discriminator(), 0)
    for layers in (-1, 8):
        with pytest.raises(UsageError, match=rf"freeze_d={layers}: .*; valid: 0 to 7"):
            freeze(discriminator(), layers)
