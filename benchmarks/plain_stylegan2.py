"""The networks of StyleGAN2 as the paper writes them down, without our savings: a peer to measure against.

Every formula is taken literally (arXiv 1912.04958): demodulation makes the weights of every image, filters
are grouped convolutions, each elementwise step is one operation, tensors lie as N x C x H x W in memory and
derivatives are torch's own. No labels; the generator has skip blocks, the discriminator residual ones. Names
of parameters are those of stylegan2_ada, so that one state dict serves both.
Shapes: N images, C channels (I in, O out), H x W pixels, K x K taps, L styles of D numbers per image.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from stylegan2_ada.networks import Architecture
from torch import Tensor, nn
from torch.nn import functional

GAIN = math.sqrt(2)
HALF = math.sqrt(0.5)
STYLE = 512  # D

Normal = Callable[[tuple[int, ...]], Tensor]  # a shape to N(0, 1)


def insert_zeros(x_NCHW: Tensor) -> Tensor:
    """Put a zero after every pixel, on both axes."""
    n, c, height, width = x_NCHW.shape
    y_NCHW = x_NCHW.new_zeros(n, c, 2 * height, 2 * width)
    y_NCHW[:, :, ::2, ::2] = x_NCHW
    return y_NCHW


def fir(x_NCHW: Tensor, taps_KK: Tensor, before: int, after: int) -> Tensor:
    """Pad, negative is crop, and convolve every channel."""
    c = x_NCHW.shape[1]
    kernel = taps_KK.flip((0, 1)).to(x_NCHW.dtype).expand(c, 1, *taps_KK.shape)
    return functional.conv2d(functional.pad(x_NCHW, (before, after, before, after)), kernel, groups=c)


def activate(y_NOHW: Tensor, bias_O: Tensor, clamp: float | None, gain: float = 1.0) -> Tensor:
    """Add the bias, then leaky ReLU, gain and clamp."""
    y_NOHW = y_NOHW + bias_O[None, :, None, None].to(y_NOHW.dtype)
    y_NOHW = functional.leaky_relu(y_NOHW, 0.2)
    y_NOHW = y_NOHW * (GAIN * gain)
    return y_NOHW if clamp is None else y_NOHW.clamp(-clamp * gain, clamp * gain)


def filter_buffer(module: nn.Module) -> None:
    """Give a module the filter [1, 3, 3, 1] x [1, 3, 3, 1] / 64."""
    taps_K = torch.tensor([1.0, 3.0, 3.0, 1.0])
    module.register_buffer("resample_filter", torch.outer(taps_K, taps_K) / 64)


class Linear(nn.Module):
    """A fully connected layer with an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0, rate: float = 1, active: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias)))
        self.rate, self.active = rate, active

    def forward(self, x_NI: Tensor) -> Tensor:
        """Map N x I to N x O."""
        weight_OI = self.weight * (self.rate / math.sqrt(self.weight.shape[1]))
        y_NO = functional.linear(x_NI, weight_OI, self.bias * self.rate)
        return functional.leaky_relu(y_NO, 0.2) * GAIN if self.active else y_NO


class Mapping(nn.Module):
    """Latents to styles."""

    def __init__(self, layers: int, styles: int):
        super().__init__()
        self.layers, self.styles = layers, styles
        for i in range(layers):
            self.add_module(f"fc{i}", Linear(STYLE, STYLE, rate=0.01, active=True))
        self.register_buffer("w_avg", torch.zeros(STYLE))

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Return N x L x D."""
        x_ND = z_NZ * (z_NZ.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for i in range(self.layers):
            x_ND = self.get_submodule(f"fc{i}")(x_ND)
        return x_ND[:, None].repeat(1, self.styles, 1)


class Layer(nn.Module):
    """A modulated 3x3 convolution with noise (Figure 2c and d)."""

    def __init__(self, inputs: int, outputs: int, size: int, *, up: bool, clamp: float | None):
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = Linear(STYLE, inputs, bias=1)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(size, size))
        filter_buffer(self)

    def forward(self, x_NIHW: Tensor, w_ND: Tensor, normal: Normal | None) -> Tensor:
        """Return N x O features; without `normal` the noise is the constant one."""
        style_NI, weight = self.affine(w_ND), self.weight
        if x_NIHW.dtype != torch.float32:  # so that no sum overflows
            weight = weight / (weight.abs().amax((1, 2, 3), keepdim=True) * math.sqrt(weight[0].numel()))
            style_NI = style_NI / style_NI.abs().amax(dim=1, keepdim=True)
        weight_NOIKK = weight[None] * style_NI[:, None, :, None, None]  # Equation 1
        scale_NO = (weight_NOIKK.square().sum(dim=(2, 3, 4)) + 1e-8).rsqrt()  # Equation 3
        x_NIHW = x_NIHW * style_NI[:, :, None, None].to(x_NIHW.dtype)
        y_NOHW = self._convolved(x_NIHW, weight.to(x_NIHW.dtype))
        y_NOHW = y_NOHW * scale_NO[:, :, None, None].to(x_NIHW.dtype)
        n, _, height, width = y_NOHW.shape
        noise = self.noise_const if normal is None else normal((n, 1, height, width))
        y_NOHW = y_NOHW + (noise * self.noise_strength).to(y_NOHW.dtype)
        return activate(y_NOHW, self.bias, self.clamp)

    def _convolved(self, x_NIHW: Tensor, weight: Tensor) -> Tensor:
        if not self.up:
            return functional.conv2d(x_NIHW, weight, padding=1)
        y_NOHW = functional.conv_transpose2d(x_NIHW, weight.transpose(0, 1), stride=2)
        return fir(y_NOHW, self.resample_filter * 4, 1, 1)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution without demodulation."""

    def __init__(self, inputs: int, channels: int, clamp: float | None):
        super().__init__()
        self.affine = Linear(STYLE, inputs, bias=1)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.clamp = clamp

    def forward(self, x_NIHW: Tensor, w_ND: Tensor) -> Tensor:
        """Return N x image channels, float32."""
        style_NI = self.affine(w_ND) * (1 / math.sqrt(self.weight.shape[1]))
        x_NIHW = x_NIHW * style_NI[:, :, None, None].to(x_NIHW.dtype)
        rgb = functional.conv2d(x_NIHW, self.weight.to(x_NIHW.dtype)).float() + self.bias[None, :, None, None]
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution of the generator; the lowest holds the constant that all images start from."""

    def __init__(self, shape: Architecture, size: int):
        super().__init__()
        maps, clamp = shape.maps(size), shape.clamp
        filter_buffer(self)
        if size == 4:
            self.const = nn.Parameter(torch.randn(maps, 4, 4))
        else:
            self.conv0 = Layer(shape.maps(size // 2), maps, size, up=True, clamp=clamp)
        self.conv1 = Layer(maps, maps, size, up=False, clamp=clamp)
        self.torgb = ToRGB(maps, shape.channels, clamp)

    def forward(
        self, x_NCHW: Tensor | None, image: Tensor | None, w_NLD: Tensor, normal: Normal | None
    ) -> tuple[Tensor, Tensor]:
        """Return features and image, at twice the size of those given."""
        if x_NCHW is None or image is None:
            x_NCHW = self.conv1(self.const[None].repeat(len(w_NLD), 1, 1, 1), w_NLD[:, 0], normal)
            return x_NCHW, self.torgb(x_NCHW, w_NLD[:, 1])
        x_NCHW = self.conv1(self.conv0(x_NCHW, w_NLD[:, 0], normal), w_NLD[:, 1], normal)
        image = fir(insert_zeros(image), self.resample_filter * 4, 2, 1)
        return x_NCHW, image + self.torgb(x_NCHW, w_NLD[:, 2])


class Synthesis(nn.Module):
    """Styles to images."""

    def __init__(self, shape: Architecture, low: torch.dtype):
        super().__init__()
        self.shape, self.low = shape, low
        for size in (4, *shape.sizes()):
            self.add_module(f"b{size}", SynthesisBlock(shape, size))

    def forward(self, w_NLD: Tensor, normal: Normal | None = None) -> Tensor:
        """Return N x C x H x W, float32."""
        x_NCHW, image = self.get_submodule("b4")(None, None, w_NLD, normal)
        for k, size in enumerate(self.shape.sizes()):
            x_NCHW = x_NCHW.to(self.low if self.shape.is_low(size) else torch.float32)
            styles = w_NLD[:, 2 * k + 1 : 2 * k + 4]
            x_NCHW, image = self.get_submodule(f"b{size}")(x_NCHW, image, styles, normal)
        return image


class Generator(nn.Module):
    """Mapping, then synthesis."""

    def __init__(self, shape: Architecture, low: torch.dtype):
        super().__init__()
        self.styles = 2 * int(math.log2(shape.resolution)) - 2
        self.mapping = Mapping(shape.mapping_layers, self.styles)
        self.synthesis = Synthesis(shape, low)

    def forward(self, z_NZ: Tensor, noise: str = "random") -> Tensor:
        """Return N x C x H x W, float32; the noise may also be `const`."""
        normal = partial(torch.randn, device=z_NZ.device) if noise == "random" else None
        return self.synthesis(self.mapping(z_NZ), normal)


class Conv(nn.Module):
    """A convolution with an equalised learning rate; `down` filters and takes every second pixel."""

    def __init__(self, inputs: int, outputs: int, k: int, clamp: float | None, *, down: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, k, k))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.clamp, self.down = clamp, down
        filter_buffer(self)

    def forward(self, x_NIHW: Tensor, gain: float = 1.0) -> Tensor:
        """Return N x O features times gain."""
        weight = (self.weight * (1 / math.sqrt(self.weight[0].numel()))).to(x_NIHW.dtype)
        if self.down:
            y_NOHW = functional.conv2d(fir(x_NIHW, self.resample_filter, 2, 2), weight, stride=2)
        else:
            y_NOHW = functional.conv2d(x_NIHW, weight, padding=weight.shape[-1] // 2)
        return activate(y_NOHW, self.bias, self.clamp, gain)


class Skip(nn.Module):
    """The linear branch of a residual block."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        filter_buffer(self)

    def forward(self, x_NIHW: Tensor) -> Tensor:
        """Return N x O features at half the size."""
        half = fir(x_NIHW, self.resample_filter, 1, 1)[:, :, ::2, ::2]
        weight = (self.weight * (1 / math.sqrt(self.weight.shape[1]))).to(x_NIHW.dtype)
        return functional.conv2d(half, weight) * HALF


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator."""

    def __init__(self, shape: Architecture, size: int):
        super().__init__()
        inputs, outputs = shape.maps(size), shape.maps(size // 2)
        filter_buffer(self)
        first = size == shape.resolution
        self.fromrgb = Conv(shape.channels, inputs, 1, shape.clamp) if first else None
        self.conv0 = Conv(inputs, inputs, 3, shape.clamp)
        self.conv1 = Conv(inputs, outputs, 3, shape.clamp, down=True)
        self.skip = Skip(inputs, outputs)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features at half the size."""
        x_NCHW = x_NCHW if self.fromrgb is None else self.fromrgb(x_NCHW)
        return self.skip(x_NCHW) + self.conv1(self.conv0(x_NCHW), HALF)


class Epilogue(nn.Module):
    """Minibatch deviation and the last layers."""

    def __init__(self, shape: Architecture, group: int):
        super().__init__()
        maps = shape.maps(4)
        self.group = group
        self.conv = Conv(maps + 1, maps, 3, shape.clamp)
        self.fc = Linear(16 * maps, maps, active=True)
        self.out = Linear(maps, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x 1."""
        n, c, height, width = x_NCHW.shape
        x_GMCHW = x_NCHW.reshape(self.group, n // self.group, c, height, width)
        deviation_M = (x_GMCHW.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        deviation = deviation_M[:, None, None, None].repeat(self.group, 1, height, width)
        return self.out(self.fc(self.conv(torch.cat([x_NCHW, deviation], dim=1)).flatten(1)))


class Discriminator(nn.Module):
    """Images to logits."""

    def __init__(self, shape: Architecture, group: int, low: torch.dtype):
        super().__init__()
        self.shape, self.low = shape, low
        for size in reversed(shape.sizes()):
            self.add_module(f"b{size}", DiscriminatorBlock(shape, size))
        self.b4 = Epilogue(shape, group)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x 1, float32."""
        for size in reversed(self.shape.sizes()):
            x_NCHW = x_NCHW.to(self.low if self.shape.is_low(size) else torch.float32)
            x_NCHW = self.get_submodule(f"b{size}")(x_NCHW)
        return self.b4(x_NCHW.float())
