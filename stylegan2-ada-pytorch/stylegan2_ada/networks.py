"""The generator and discriminator of StyleGAN2 (arXiv 1912.04958), with or without labels.

Names and shapes of parameters and buffers are those of published checkpoints, so that a state dict loads by
name. The highest resolutions can run in a type of less precision: parameters, styles, the image that the
generator sums up and the discriminator's last block stay float32.
Shapes: N images, C channels (I in, O out), H x W pixels, K labels, Z latent, D style, L styles per image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from stylegan2_ada.activation import activate_
from stylegan2_ada.errors import UsageError
from stylegan2_ada.layers import (
    GAIN,
    Conv,
    FullyConnected,
    Skip,
    bounded,
    demodulation,
    minibatch_deviation,
    modulated_conv,
    modulated_sum,
    normalise_second_moment,
    scale_and_shift,
)
from stylegan2_ada.resampling import binomial_filter, downsample, upsample

LATENT = 512  # Z = D in every configuration of the paper
HALF = math.sqrt(0.5)  # gain of the two branches of a residual block

Blocks = Literal["skip", "resnet", "orig"]  # Figure 7: b, c, a
Noise = Literal["random", "const", "none"]
Rng = torch.Generator | Callable[[tuple[int, ...]], Tensor]  # where noise comes from: a shape to N(0, 1)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What two runs must share for weights to move from one to the other."""

    resolution: int  # pixels, a power of two
    channels: int  # of the images
    labels: int = 0  # K; 0: no labels
    channel_base: int  # feature maps at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512
    mapping_layers: int = 2
    d_mapping_layers: int = 8  # of the labels' mapping in the discriminator
    g_blocks: Blocks = "skip"
    d_blocks: Blocks = "resnet"
    clamp: float | None = None  # largest activation
    low_blocks: int = 0  # how many of the highest resolutions may run in low precision

    def generator(self, *, low: torch.dtype = torch.float32) -> "Generator":
        """Return a new generator; `low` is the type of its blocks of low precision."""
        return Generator(self, low=low)

    def discriminator(self, group: int, *, low: torch.dtype = torch.float32) -> "Discriminator":
        """Return a new discriminator that measures the deviation within `group` images."""
        return Discriminator(self, group=group, low=low)

    def maps(self, size: int) -> int:
        """Return the feature maps at a resolution."""
        return min(self.channel_base // size, self.channel_max)

    def sizes(self) -> list[int]:
        """Return the resolutions above the lowest, 4."""
        return [2**k for k in range(3, int(math.log2(self.resolution)) + 1)]

    def is_low(self, size: int) -> bool:
        """Tell whether the block of a resolution may run in low precision."""
        return size >= max(2 * self.resolution >> self.low_blocks, 8)


def add_mapping_layers(network: nn.Module, layers: int, inputs: int, outputs: int) -> None:
    """Give a network the fully connected layers fc0, fc1, ... that learn a hundred times slower."""
    for i in range(layers):
        layer = FullyConnected(outputs if i else inputs, outputs, active=True, rate=0.01)
        network.add_module(f"fc{i}", layer)


def apply_mapping_layers(network: nn.Module, layers: int, x_ND: Tensor) -> Tensor:
    """Apply fc0, fc1, ..."""
    for i in range(layers):
        x_ND = network.get_submodule(f"fc{i}")(x_ND)
    return x_ND


def embedded(embed: FullyConnected, labels_NK: Tensor | None) -> Tensor:
    """Return the labels' normalised linear embedding."""
    if labels_NK is None:
        raise UsageError("labels=None: this network is conditional; valid: one vector per image, N x K")
    return normalise_second_moment(embed(labels_NK))


class Mapping(nn.Module):
    """The mapping network f: Z -> D, and the running mean of its output that truncation pulls towards."""

    w_avg: Tensor

    def __init__(self, labels: int, layers: int, styles: int) -> None:
        super().__init__()
        self.layers = layers
        self.styles = styles
        self.embed = FullyConnected(labels, LATENT) if labels else None
        add_mapping_layers(self, layers, 2 * LATENT if labels else LATENT, LATENT)
        self.register_buffer("w_avg", torch.zeros(LATENT))

    def forward(
        self,
        z_NZ: Tensor,
        labels_NK: Tensor | None = None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Return the styles, N x L x D, the first `cutoff` truncated; labels are for conditional networks."""
        x_NZ = normalise_second_moment(z_NZ)
        if self.embed is not None:
            x_NZ = torch.cat([x_NZ, embedded(self.embed, labels_NK)], dim=1)
        w_NLD = apply_mapping_layers(self, self.layers, x_NZ)[:, None].expand(-1, self.styles, -1)
        if truncation == 1:
            return w_NLD
        head, tail = w_NLD[:, :cutoff], w_NLD[:, self.styles if cutoff is None else cutoff :]
        return torch.cat([self.w_avg.lerp(head, truncation), tail], dim=1)


@torch.no_grad()
def track_style_mean(mapping: Mapping, mean_D: Tensor) -> None:
    """Move the running mean of the styles by 0.005 of the way to the mean of a batch."""
    mapping.w_avg.lerp_(mean_D, 1 - 0.995)


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution with noise, bias and leaky ReLU (Figure 2d)."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, resolution: int, *, up: bool, clamp: float | None) -> None:
        super().__init__()
        self.up = up
        self.clamp = clamp
        self.affine = FullyConnected(LATENT, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", binomial_filter())

    def forward(
        self, x_NIHW: Tensor, w_ND: Tensor, noise: Noise, rng: Rng | None, gain: float = 1.0
    ) -> Tensor:
        """Return N x O features times gain, at twice the size where the layer upsamples."""
        style_NI: Tensor = self.affine(w_ND)
        weight: Tensor = self.weight
        if x_NIHW.dtype == torch.float16:
            weight, style_NI = bounded(weight, style_NI)
        y_NOHW = modulated_conv(x_NIHW, weight, style_NI, self.resample_filter if self.up else None)
        total = GAIN * gain
        # In float32 the gain comes last, as in the paper: rounding then leaves each value on its side of 0.
        before, after = (1.0, total) if y_NOHW.dtype == torch.float32 else (total, 1.0)
        noise_HW = self._noise(y_NOHW, noise, rng)
        if noise_HW is not None:
            noise_HW = noise_HW * (self.noise_strength * before)
        scale_NO = demodulation(weight, style_NI) * before
        y_NOHW = scale_and_shift(y_NOHW, scale_NO, self.bias * before, noise_HW)
        return activate_(y_NOHW, None if self.clamp is None else self.clamp * gain, after)

    def _noise(self, y_NOHW: Tensor, noise: Noise, rng: Rng | None) -> Tensor | None:
        if noise == "none":
            return None
        if noise == "const":
            return self.noise_const
        shape = (y_NOHW.shape[0], 1, *y_NOHW.shape[2:])
        if rng is None or isinstance(rng, torch.Generator):
            return torch.randn(shape, generator=rng, device=y_NOHW.device)
        return rng(shape)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to image channels, without demodulation."""

    def __init__(self, inputs: int, channels: int, *, clamp: float | None) -> None:
        super().__init__()
        self.affine = FullyConnected(LATENT, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.clamp = clamp

    def forward(self, x_NIHW: Tensor, w_ND: Tensor) -> Tensor:
        """Return N x image channels at the input's size, in float32."""
        style_NI = self.affine(w_ND) / math.sqrt(self.weight.shape[1])
        rgb = modulated_sum(x_NIHW, self.weight, style_NI).float() + self.bias[None, :, None, None]
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class SynthesisBase(nn.Module):
    """The learned 4x4 constant and the first layer (Figure 7b, top)."""

    resample_filter: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        maps, clamp = architecture.maps(4), architecture.clamp
        self.register_buffer("resample_filter", binomial_filter())
        self.const = nn.Parameter(torch.randn(maps, 4, 4))
        self.conv1 = SynthesisLayer(maps, maps, 4, up=False, clamp=clamp)
        summed = architecture.g_blocks == "skip"
        self.torgb = ToRGB(maps, architecture.channels, clamp=clamp) if summed else None

    def forward(self, w_NLD: Tensor, noise: Noise, rng: Rng | None) -> tuple[Tensor, Tensor | None]:
        """Return the features and the image at 4x4, from the first two styles."""
        x_NCHW = self.const[None].expand(w_NLD.shape[0], -1, -1, -1)
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        x_NCHW = self.conv1(x_NCHW, w_NLD[:, 0], noise, rng)
        return x_NCHW, None if self.torgb is None else self.torgb(x_NCHW, w_NLD[:, 1])


class SynthesisBlock(nn.Module):
    """One resolution of the synthesis network (Figure 7).

    With skip blocks each resolution contributes to the image; otherwise the last one alone makes it.
    """

    resample_filter: Tensor

    def __init__(self, architecture: Architecture, size: int) -> None:
        super().__init__()
        inputs, outputs = architecture.maps(size // 2), architecture.maps(size)
        blocks, clamp = architecture.g_blocks, architecture.clamp
        self.register_buffer("resample_filter", binomial_filter())
        self.conv0 = SynthesisLayer(inputs, outputs, size, up=True, clamp=clamp)
        self.conv1 = SynthesisLayer(outputs, outputs, size, up=False, clamp=clamp)
        makes_rgb = blocks == "skip" or size == architecture.resolution
        self.torgb = ToRGB(outputs, architecture.channels, clamp=clamp) if makes_rgb else None
        self.skip = Skip(inputs, outputs, up=True) if blocks == "resnet" else None

    def forward(
        self, x_NCHW: Tensor, image: Tensor | None, w_NLD: Tensor, noise: Noise, rng: Rng | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the features and the image at twice the size, from three styles."""
        y_NCHW = self.conv0(x_NCHW, w_NLD[:, 0], noise, rng)
        if self.skip is None:
            x_NCHW = self.conv1(y_NCHW, w_NLD[:, 1], noise, rng)
        else:
            x_NCHW = self.skip(x_NCHW) + self.conv1(y_NCHW, w_NLD[:, 1], noise, rng, gain=HALF)
        if self.torgb is None:
            return x_NCHW, image
        rgb = self.torgb(x_NCHW, w_NLD[:, 2])
        return x_NCHW, rgb if image is None else upsample(image, self.resample_filter) + rgb


class Synthesis(nn.Module):
    """The synthesis network g: styles -> image, from 4x4 up."""

    def __init__(self, architecture: Architecture, low: torch.dtype) -> None:
        super().__init__()
        self.architecture = architecture
        self.low = low  # type of the blocks of low precision
        self.b4 = SynthesisBase(architecture)
        for size in architecture.sizes():
            self.add_module(f"b{size}", SynthesisBlock(architecture, size))

    def forward(self, w_NLD: Tensor, *, noise: Noise = "random", rng: Rng | None = None) -> Tensor:
        """Return images, N x C x H x W float32, about -1..1 but not clipped."""
        x_NCHW, image = self.b4(w_NLD, noise, rng)
        for k, size in enumerate(self.architecture.sizes()):
            # A block's image and the next block's first layer share a style.
            styles = w_NLD[:, 2 * k + 1 : 2 * k + 4]
            x_NCHW = x_NCHW.to(self.low if self.architecture.is_low(size) else torch.float32)
            x_NCHW, image = self.get_submodule(f"b{size}")(x_NCHW, image, styles, noise, rng)
        generated: Tensor = image
        return generated


class Generator(nn.Module):
    """Latents, and labels where it is conditional, to images: mapping, then synthesis."""

    def __init__(self, architecture: Architecture, *, low: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.architecture = architecture
        self.styles = 2 * int(math.log2(architecture.resolution)) - 2  # L
        self.mapping = Mapping(architecture.labels, architecture.mapping_layers, self.styles)
        self.synthesis = Synthesis(architecture, low)
        self.to(memory_format=torch.channels_last)

    @property
    def low(self) -> torch.dtype:
        """Type of the blocks of low precision; it can be set at any time."""
        return self.synthesis.low

    @low.setter
    def low(self, dtype: torch.dtype) -> None:
        self.synthesis.low = dtype

    def forward(
        self,
        z_NZ: Tensor,
        labels_NK: Tensor | None = None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "random",
        rng: Rng | None = None,
    ) -> Tensor:
        """Return images, N x C x H x W float32."""
        w_NLD = self.mapping(z_NZ, labels_NK, truncation=truncation, cutoff=cutoff)
        images: Tensor = self.synthesis(w_NLD, noise=noise, rng=rng)
        return images


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator, to half the size (Figure 7).

    The first block takes the image in; with skip blocks each one takes it at its own size.
    """

    resample_filter: Tensor

    def __init__(self, architecture: Architecture, size: int) -> None:
        super().__init__()
        inputs, outputs = architecture.maps(size), architecture.maps(size // 2)
        blocks, clamp = architecture.d_blocks, architecture.clamp
        self.register_buffer("resample_filter", binomial_filter())
        self.first = size == architecture.resolution
        self.is_low = architecture.is_low(size)
        takes_rgb = blocks == "skip" or self.first
        self.fromrgb = Conv(architecture.channels, inputs, 1, clamp=clamp) if takes_rgb else None
        self.conv0 = Conv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, down=True, clamp=clamp)
        self.skip = Skip(inputs, outputs, up=False) if blocks == "resnet" else None

    def forward(self, x_NCHW: Tensor, image: Tensor, dtype: torch.dtype) -> Tensor:
        """Return N x outputs at half the size, in `dtype`; the first block takes no notice of features."""
        x_NCHW = x_NCHW.to(dtype)
        if self.fromrgb is not None:
            rgb = self.fromrgb(image.to(dtype))
            x_NCHW = rgb if self.first else x_NCHW + rgb
        if self.skip is None:
            features: Tensor = self.conv1(self.conv0(x_NCHW))
        else:
            features = self.skip(x_NCHW).add_(self.conv1(self.conv0(x_NCHW), gain=HALF))
        return features


class DiscriminatorEpilogue(nn.Module):
    """The last 4x4 features to one output, or to as many as are compared with the labels'."""

    def __init__(self, architecture: Architecture, group: int) -> None:
        super().__init__()
        maps, clamp = architecture.maps(4), architecture.clamp
        self.group = group  # images whose deviation is measured together
        takes_rgb = architecture.d_blocks == "skip"
        self.fromrgb = Conv(architecture.channels, maps, 1) if takes_rgb else None
        self.conv = Conv(maps + 1, maps, 3, clamp=clamp)
        self.fc = FullyConnected(maps * 16, maps, active=True)
        self.out = FullyConnected(maps, maps if architecture.labels else 1)

    def forward(self, x_NCHW: Tensor, image: Tensor) -> Tensor:
        """Return the outputs, N x 1 or N x maps."""
        if self.fromrgb is not None:
            x_NCHW = x_NCHW + self.fromrgb(image)
        x_NCHW = torch.cat([x_NCHW, minibatch_deviation(x_NCHW, self.group)], dim=1)
        outputs: Tensor = self.out(self.fc(self.conv(x_NCHW).flatten(1)))
        return outputs


class LabelMapping(nn.Module):
    """The discriminator's mapping of labels: N x K to N x features."""

    def __init__(self, labels: int, layers: int, features: int) -> None:
        super().__init__()
        self.layers = layers
        self.embed = FullyConnected(labels, features)
        add_mapping_layers(self, layers, features, features)

    def forward(self, labels_NK: Tensor | None) -> Tensor:
        """Return N x features."""
        return apply_mapping_layers(self, self.layers, embedded(self.embed, labels_NK))


class Discriminator(nn.Module):
    """Images, and labels where it is conditional, to logits."""

    def __init__(
        self, architecture: Architecture, *, group: int = 4, low: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.low = low  # type of the blocks of low precision
        for size in reversed(architecture.sizes()):
            self.add_module(f"b{size}", DiscriminatorBlock(architecture, size))
        labels, features = architecture.labels, architecture.maps(4)
        self.mapping = LabelMapping(labels, architecture.d_mapping_layers, features) if labels else None
        self.b4 = DiscriminatorEpilogue(architecture, group)
        self.to(memory_format=torch.channels_last)

    def blocks(self) -> list[DiscriminatorBlock]:
        """Return the blocks from the highest resolution on."""
        sizes = reversed(self.architecture.sizes())
        return [cast(DiscriminatorBlock, self.get_submodule(f"b{size}")) for size in sizes]

    def forward(self, images_NCHW: Tensor, labels_NK: Tensor | None = None) -> Tensor:
        """Return logits, N x 1 float32, high means real; labels add a projection (arXiv 1802.05637)."""
        image = _channels_last(images_NCHW)
        x_NCHW = image[:, :0]  # no features yet
        for block in self.blocks():
            x_NCHW = block(x_NCHW, image, self.low if block.is_low else torch.float32)
            if self.architecture.d_blocks == "skip":
                image = downsample(image, block.resample_filter)
        outputs: Tensor = self.b4(x_NCHW.float(), image)
        if self.mapping is None:
            return outputs
        shares: Tensor = outputs * self.mapping(labels_NK)
        return shares.sum(dim=1, keepdim=True) / math.sqrt(outputs.shape[1])


def _channels_last(images_NCHW: Tensor) -> Tensor:
    """Return images channels last; of one channel the strides alone say so, and convolutions go by them."""
    n, channels, height, width = images_NCHW.shape
    if channels == 1:
        return images_NCHW.reshape(n, height, width, 1).permute(0, 3, 1, 2)
    return images_NCHW.contiguous(memory_format=torch.channels_last)


def freeze(discriminator: Discriminator, layers: int) -> None:
    """Make the first `layers` convolutions, from the highest resolution on, constants (Freeze-D, 2002.10964).

    They turn from parameters into buffers, so that no optimiser finds them; UsageError where there are fewer.
    """
    ordered = [(b.fromrgb, b.conv0, b.conv1, b.skip) for b in discriminator.blocks()]
    found = [layer for block in ordered for layer in block if layer is not None]
    if not 0 <= layers <= len(found):
        raise UsageError(f"freeze_d={layers}: not that many convolutions; valid: 0 to {len(found)}")
    for convolution in found[:layers]:
        for name, parameter in list(convolution.named_parameters()):
            delattr(convolution, name)
            convolution.register_buffer(name, parameter.detach())
