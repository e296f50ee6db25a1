"""The generator and discriminator of StyleGAN2 (arXiv 1912.04958), unconditional.

Names and shapes of parameters and buffers are those of published checkpoints, so that a state dict loads by
name. Every convolution feeds a leaky ReLU times sqrt(2); as that function is positively homogeneous,
the gain is folded into the scale and bias before it and costs nothing.
Shapes: N images, C channels (I in, O out), H x W pixels, Z latent, D style, L layers with a style.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator as Rng
from torch import Tensor, nn
from torch.nn import functional

from stylegan2_ada.resampling import binomial_filter, fir, upsample

LATENT = 512  # Z = D in every configuration of the paper
SLOPE = 0.2
GAIN = math.sqrt(2)

Noise = Literal["random", "const", "none"]


def channels_at(resolution: int, base: int, maximum: int) -> int:
    """Return the feature maps at a resolution."""
    return min(base // resolution, maximum)


def normalise_second_moment(x_NZ: Tensor) -> Tensor:
    """Scale every vector to a mean square of one."""
    return x_NZ * (x_NZ.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def modulated_conv(x_NIHW: Tensor, weight_OIKK: Tensor, style_NI: Tensor, taps: Tensor | None) -> Tensor:
    """Convolve modulated input (Equation 1); with taps, at twice the size and low-passed (Section 4.1)."""
    x_NIHW = x_NIHW * style_NI[:, :, None, None]
    if taps is None:
        return functional.conv2d(x_NIHW, weight_OIKK, padding=weight_OIKK.shape[-1] // 2)
    y_NOHW = functional.conv_transpose2d(x_NIHW, weight_OIKK.transpose(0, 1), stride=2)
    return fir(y_NOHW, taps, padding=(1, 1, 1, 1), gain=4.0)


def demodulation(weight_OIKK: Tensor, style_NI: Tensor) -> Tensor:
    """Return 1 / sigma of Equation 3, N x O.

    sum_ik (s_i w_oik)^2 is a product of two matrices, s^2 and sum_k w^2, so that no weight is made per image.
    """
    power_OI = weight_OIKK.square().sum(dim=(2, 3))
    return (style_NI.square() @ power_OI.T + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """A linear layer with an equalised learning rate."""

    def __init__(
        self, inputs: int, outputs: int, *, activate: bool = False, rate: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.activate = activate
        self.rate = rate  # learning rate relative to the optimiser's

    def forward(self, x_NI: Tensor) -> Tensor:
        """Map N x inputs to N x outputs."""
        gain = GAIN if self.activate else 1.0
        scale = gain * self.rate / math.sqrt(self.weight.shape[1])
        y_NO = functional.linear(x_NI, self.weight * scale, self.bias * (gain * self.rate))
        return functional.leaky_relu(y_NO, SLOPE) if self.activate else y_NO


class Mapping(nn.Module):
    """The mapping network f: Z -> D, and the running mean of its output that truncation pulls towards."""

    w_avg: Tensor

    def __init__(self, layers: int, styles: int) -> None:
        super().__init__()
        self.layers = layers
        self.styles = styles
        for i in range(layers):
            self.add_module(f"fc{i}", FullyConnected(LATENT, LATENT, activate=True, rate=0.01))
        self.register_buffer("w_avg", torch.zeros(LATENT))

    def forward(
        self, z_NZ: Tensor, *, truncation: float = 1.0, cutoff: int | None = None, track: bool = False
    ) -> Tensor:
        """Return one style vector a layer, N x L x D; `track` moves the running mean, as training does."""
        x_ND = normalise_second_moment(z_NZ)
        for i in range(self.layers):
            x_ND = self.get_submodule(f"fc{i}")(x_ND)
        if track:
            self.w_avg.lerp_(x_ND.detach().mean(dim=0), 1 - 0.995)
        w_NLD = x_ND[:, None].expand(-1, self.styles, -1)
        if truncation == 1:
            return w_NLD
        head, tail = w_NLD[:, :cutoff], w_NLD[:, self.styles if cutoff is None else cutoff :]
        return torch.cat([self.w_avg.lerp(head, truncation), tail], dim=1)


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution with noise, bias and leaky ReLU (Figure 2d)."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, resolution: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.affine = FullyConnected(LATENT, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", binomial_filter())

    def forward(self, x_NIHW: Tensor, w_ND: Tensor, noise: Noise, rng: Rng | None) -> Tensor:
        """Return N x O features, at twice the size where the layer upsamples."""
        style_NI = self.affine(w_ND)
        y_NOHW = modulated_conv(x_NIHW, self.weight, style_NI, self.resample_filter if self.up else None)
        scale_NO11 = demodulation(self.weight, style_NI)[:, :, None, None] * GAIN
        shift = self.bias[None, :, None, None] * GAIN
        if noise == "none":
            return functional.leaky_relu(torch.addcmul(shift, y_NOHW, scale_NO11), SLOPE)
        noise_1HW = self._noise(y_NOHW, noise, rng) * (self.noise_strength * GAIN)
        return functional.leaky_relu(torch.addcmul(noise_1HW, y_NOHW, scale_NO11) + shift, SLOPE)

    def _noise(self, y_NOHW: Tensor, noise: Noise, rng: Rng | None) -> Tensor:
        if noise == "const":
            return self.noise_const
        n, _, height, width = y_NOHW.shape
        return torch.randn((n, 1, height, width), generator=rng, device=y_NOHW.device)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to image channels, without demodulation."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.affine = FullyConnected(LATENT, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_NIHW: Tensor, w_ND: Tensor) -> Tensor:
        """Return N x image channels at the input's size."""
        style_NI = self.affine(w_ND) / math.sqrt(self.weight.shape[1])
        return modulated_conv(x_NIHW, self.weight, style_NI, None) + self.bias[None, :, None, None]


class SynthesisBase(nn.Module):
    """The learned 4x4 constant and the first layer (Figure 7b, top)."""

    resample_filter: Tensor

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", binomial_filter())
        self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        self.conv1 = SynthesisLayer(outputs, outputs, 4, up=False)
        self.torgb = ToRGB(outputs, channels)

    def forward(self, w_NLD: Tensor, noise: Noise, rng: Rng | None) -> tuple[Tensor, Tensor]:
        """Return the features and the image at 4x4, from the first two styles."""
        x_NCHW = self.const[None].expand(w_NLD.shape[0], -1, -1, -1)
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        x_NCHW = self.conv1(x_NCHW, w_NLD[:, 0], noise, rng)
        return x_NCHW, self.torgb(x_NCHW, w_NLD[:, 1])


class SynthesisBlock(nn.Module):
    """One resolution of the synthesis network with its contribution to the skip image (Figure 7b)."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, resolution: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", binomial_filter())
        self.conv0 = SynthesisLayer(inputs, outputs, resolution, up=True)
        self.conv1 = SynthesisLayer(outputs, outputs, resolution, up=False)
        self.torgb = ToRGB(outputs, channels)

    def forward(
        self, x_NCHW: Tensor, image: Tensor, w_NLD: Tensor, noise: Noise, rng: Rng | None
    ) -> tuple[Tensor, Tensor]:
        """Return the features and the image at twice the size, from three styles."""
        x_NCHW = self.conv0(x_NCHW, w_NLD[:, 0], noise, rng)
        x_NCHW = self.conv1(x_NCHW, w_NLD[:, 1], noise, rng)
        return x_NCHW, upsample(image, self.resample_filter) + self.torgb(x_NCHW, w_NLD[:, 2])


class Synthesis(nn.Module):
    """The synthesis network g: styles -> image, from 4x4 up."""

    def __init__(self, resolution: int, channels: int, base: int, maximum: int) -> None:
        super().__init__()
        self.resolutions = [2**k for k in range(3, int(math.log2(resolution)) + 1)]
        inputs = channels_at(4, base, maximum)
        self.b4 = SynthesisBase(inputs, channels)
        for size in self.resolutions:
            outputs = channels_at(size, base, maximum)
            self.add_module(f"b{size}", SynthesisBlock(inputs, outputs, size, channels))
            inputs = outputs

    def forward(self, w_NLD: Tensor, *, noise: Noise = "random", rng: Rng | None = None) -> Tensor:
        """Return images, N x C x H x W, about -1..1 but not clipped."""
        x_NCHW, image = self.b4(w_NLD, noise, rng)
        for k, size in enumerate(self.resolutions):
            # A block's image and the next block's first layer share a style.
            styles = w_NLD[:, 2 * k + 1 : 2 * k + 4]
            x_NCHW, image = self.get_submodule(f"b{size}")(x_NCHW, image, styles, noise, rng)
        generated: Tensor = image
        return generated


class Generator(nn.Module):
    """Latents to images: mapping, then synthesis."""

    def __init__(
        self,
        *,
        resolution: int,
        channels: int,
        channel_base: int,
        channel_max: int = 512,
        mapping_layers: int = 2,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.channels = channels
        self.styles = 2 * int(math.log2(resolution)) - 2  # L
        self.mapping = Mapping(mapping_layers, self.styles)
        self.synthesis = Synthesis(resolution, channels, channel_base, channel_max)

    def forward(
        self, z_NZ: Tensor, *, truncation: float = 1.0, noise: Noise = "random", rng: Rng | None = None
    ) -> Tensor:
        """Return images, N x C x H x W."""
        images: Tensor = self.synthesis(self.mapping(z_NZ, truncation=truncation), noise=noise, rng=rng)
        return images


class Conv(nn.Module):
    """A convolution with an equalised learning rate; `down` low-passes first and halves the size."""

    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, down: bool = False, activate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activate else None
        self.register_buffer("resample_filter", binomial_filter())
        self.down = down
        self.activate = activate

    def forward(self, x_NIHW: Tensor, gain: float = 1.0) -> Tensor:
        """Return N x O features times gain."""
        gain = gain * (GAIN if self.activate else 1.0)
        weight = self.weight * (gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * gain
        y_NOHW = self._convolve(x_NIHW, weight, bias)
        return functional.leaky_relu(y_NOHW, SLOPE) if self.activate else y_NOHW

    def _convolve(self, x_NIHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kernel = weight.shape[-1]
        if not self.down:
            return functional.conv2d(x_NIHW, weight, bias, padding=kernel // 2)
        if kernel == 1:
            # Only every second pixel is read, so only those are filtered.
            return functional.conv2d(
                fir(x_NIHW, self.resample_filter, down=2, padding=(1, 1, 1, 1)), weight, bias
            )
        x_NIHW = fir(x_NIHW, self.resample_filter, padding=(2, 2, 2, 2))
        return functional.conv2d(x_NIHW, weight, bias, stride=2)


class DiscriminatorBlock(nn.Module):
    """A residual block that halves the size (Figure 7c); the first one also takes the image in."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", binomial_filter())
        if channels:
            self.fromrgb = Conv(channels, inputs, 1)
        self.first = channels > 0
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3, down=True)
        self.skip = Conv(inputs, outputs, 1, down=True, activate=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x outputs at half the size; the sum of two branches keeps its variance by sqrt(1/2)."""
        if self.first:
            x_NCHW = self.fromrgb(x_NCHW)
        skip: Tensor = self.skip(x_NCHW, gain=math.sqrt(0.5))
        branch: Tensor = self.conv1(self.conv0(x_NCHW), gain=math.sqrt(0.5))
        return skip + branch


def minibatch_deviation(x_NCHW: Tensor, group: int) -> Tensor:
    """Return the mean deviation within groups of images as one more feature map, N x 1 x H x W.

    Image i stands in one group with i + N/group, i + 2N/group and so on.
    """
    n, _, height, width = x_NCHW.shape
    group = min(group, n)
    grouped = x_NCHW.reshape(group, n // group, -1)
    deviation: Tensor = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    return deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)


class DiscriminatorEpilogue(nn.Module):
    """The last 4x4 features to one logit."""

    def __init__(self, inputs: int, group: int) -> None:
        super().__init__()
        self.group = group  # images whose deviation is measured together
        self.conv = Conv(inputs + 1, inputs, 3)
        self.fc = FullyConnected(inputs * 16, inputs, activate=True)
        self.out = FullyConnected(inputs, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logits, N x 1."""
        x_NCHW = torch.cat([x_NCHW, minibatch_deviation(x_NCHW, self.group)], dim=1)
        logits: Tensor = self.out(self.fc(self.conv(x_NCHW).flatten(1)))
        return logits


class Discriminator(nn.Module):
    """Images to logits."""

    def __init__(
        self, *, resolution: int, channels: int, channel_base: int, channel_max: int = 512, group: int = 4
    ) -> None:
        super().__init__()
        self.resolutions = [2**k for k in range(int(math.log2(resolution)), 2, -1)]
        for size in self.resolutions:
            inputs, outputs = (channels_at(s, channel_base, channel_max) for s in (size, size // 2))
            block = DiscriminatorBlock(inputs, outputs, channels if size == resolution else 0)
            self.add_module(f"b{size}", block)
        self.b4 = DiscriminatorEpilogue(channels_at(4, channel_base, channel_max), group)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, N x 1; high means real."""
        x_NCHW = images.contiguous(memory_format=torch.channels_last)
        for size in self.resolutions:
            x_NCHW = self.get_submodule(f"b{size}")(x_NCHW)
        logits: Tensor = self.b4(x_NCHW)
        return logits


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What two runs must share for weights to move from one to the other."""

    resolution: int
    channels: int
    channel_base: int
    channel_max: int = 512
    mapping_layers: int = 2

    def generator(self) -> Generator:
        """Return a new generator."""
        return Generator(**vars(self))

    def discriminator(self, group: int) -> Discriminator:
        """Return a new discriminator."""
        settings = {name: value for name, value in vars(self).items() if name != "mapping_layers"}
        return Discriminator(**settings, group=group)
