"""The layers of StyleGAN2: fully connected, convolution, and modulated convolution (arXiv 1912.04958).

Every activation is a leaky ReLU times sqrt(2); as that function is positively homogeneous, the gain is folded
into the scale and bias before it, but for the modulated layers in float32. Parameters are float32; a
convolution runs in the type of the image it is given, and casts its weights to it.
Shapes: N images, C channels (I in, O out), H x W pixels, K x K taps.
"""

import math

import torch
from torch import Tensor, nn

from stylegan2_ada.activation import activate_
from stylegan2_ada.convolution import conv, conv_down, conv_up
from stylegan2_ada.modulation import scaled
from stylegan2_ada.resampling import binomial_filter, upsample

GAIN = math.sqrt(2)


def normalise_second_moment(x_NZ: Tensor) -> Tensor:
    """Scale every vector to a mean square of one."""
    return x_NZ * (x_NZ.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def modulated_conv(x_NIHW: Tensor, weight_OIKK: Tensor, style_NI: Tensor, taps: Tensor | None) -> Tensor:
    """Convolve modulated input (Equation 1); with taps, at twice the size and low-passed (Section 4.1)."""
    x_NIHW = scaled(x_NIHW, style_NI.to(x_NIHW.dtype))
    weight_OIKK = weight_OIKK.to(x_NIHW.dtype)
    return conv(x_NIHW, weight_OIKK) if taps is None else conv_up(x_NIHW, weight_OIKK, taps)


def modulated_sum(x_NIHW: Tensor, weight_OI11: Tensor, style_NI: Tensor) -> Tensor:
    """Convolve with modulated 1x1 weights (Equation 1): for few results, weights of each image are cheaper.

    They are O x I numbers an image, where a modulated input is a copy of all of it. A product of matrices, as
    `demodulation` does without, may round here: what it makes is the image, by which nothing is divided.
    """
    weight_NIO = (weight_OI11[None, :, :, 0, 0] * style_NI[:, None]).mT.to(x_NIHW.dtype)
    pixels_NHWI = x_NIHW.permute(0, 2, 3, 1)
    y_NPO = torch.bmm(pixels_NHWI.flatten(1, 2), weight_NIO)
    y_NHWO: Tensor = y_NPO.view(*pixels_NHWI.shape[:3], len(weight_OI11))
    return y_NHWO.permute(0, 3, 1, 2)


def demodulation(weight_OIKK: Tensor, style_NI: Tensor) -> Tensor:
    """Return 1 / sigma of Equation 3, N x O.

    sum_ik (s_i w_oik)^2 takes sum_k w^2 first, and no weights of each image. On a CPU a product of matrices
    would save a hundredth of a step, but MKL rounds it by the processor: parity comes first.
    """
    power_OI, power_NI = weight_OIKK.square().sum(dim=(2, 3)), style_NI.square()
    if power_NI.device.type == "cpu":
        variance_NO = (power_NI[:, None] * power_OI).sum(dim=2)
    else:
        variance_NO = power_NI @ power_OI.T
    return (variance_NO + 1e-8).rsqrt()


def bounded(weight_OIKK: Tensor, style_NI: Tensor) -> tuple[Tensor, Tensor]:
    """Scale weights to at most 1 / sqrt(I K K) and styles to at most 1, so that no sum overflows in float16.

    Demodulation undoes both factors, so that they carry no gradient either.
    """
    with torch.no_grad():
        weight_scale = weight_OIKK.abs().amax(dim=(1, 2, 3), keepdim=True) * math.sqrt(weight_OIKK[0].numel())
        style_scale = style_NI.abs().amax(dim=1, keepdim=True)
    return weight_OIKK / weight_scale, style_NI / style_scale


def scale_and_shift(y_NOHW: Tensor, scale_NO: Tensor, shift_O: Tensor, noise: Tensor | None) -> Tensor:
    """Return y * scale + noise + shift in the type of y.

    float32 rounds after each operation, in place, whether or not the processor can multiply and add at once.
    """
    scale_NO = scale_NO.to(y_NOHW.dtype)
    shift_1O11 = shift_O[None, :, None, None].to(y_NOHW.dtype)
    if y_NOHW.dtype == torch.float32:
        y_NOHW = scaled(y_NOHW, scale_NO)
        return (y_NOHW if noise is None else y_NOHW.add_(noise)).add_(shift_1O11)
    scale_NO11 = scale_NO[:, :, None, None]
    if noise is None:
        return torch.addcmul(shift_1O11, y_NOHW, scale_NO11)
    return torch.addcmul(noise.to(y_NOHW.dtype), y_NOHW, scale_NO11) + shift_1O11


def minibatch_deviation(x_NCHW: Tensor, group: int) -> Tensor:
    """Return the mean deviation within groups of images as one more feature map, N x 1 x H x W.

    Image i stands in one group with i + N/group, i + 2N/group and so on.
    """
    n, _, height, width = x_NCHW.shape
    group = min(group, n)
    grouped = x_NCHW.reshape(group, n // group, -1)
    deviation: Tensor = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    return deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)


class FullyConnected(nn.Module):
    """A linear layer with an equalised learning rate."""

    def __init__(
        self, inputs: int, outputs: int, *, active: bool = False, rate: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.active = active  # a leaky ReLU follows
        self.rate = rate  # learning rate relative to the optimiser's

    def forward(self, x_NI: Tensor) -> Tensor:
        """Map N x inputs to N x outputs."""
        gain = (GAIN if self.active else 1.0) * self.rate
        scale = gain / math.sqrt(self.weight.shape[1])
        y_NO = torch.addmm(self.bias, x_NI, self.weight.T, beta=gain, alpha=scale)
        return activate_(y_NO) if self.active else y_NO


class Conv(nn.Module):
    """A convolution with an equalised learning rate, bias and leaky ReLU, clamped at `clamp` times gain."""

    weight: Tensor  # a parameter, or a buffer once frozen
    bias: Tensor
    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, down: bool = False, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", binomial_filter())
        self.down = down  # to half the size
        self.clamp = clamp

    def forward(self, x_NIHW: Tensor, gain: float = 1.0) -> Tensor:
        """Return N x O features times gain."""
        weight_OIKK = (self.weight * (GAIN * gain / math.sqrt(self.weight[0].numel()))).to(x_NIHW.dtype)
        bias_O = (self.bias * (GAIN * gain)).to(x_NIHW.dtype)
        clamp = None if self.clamp is None else self.clamp * gain
        if self.down:
            return activate_(conv_down(x_NIHW, weight_OIKK, bias_O, self.resample_filter), clamp)
        return activate_(conv(x_NIHW, weight_OIKK, bias_O), clamp)


class Skip(nn.Module):
    """The linear 1x1 branch of a residual block, to half or twice the size (Figure 7c).

    It is scaled by sqrt(1/2), as the other branch is, so that their sum keeps its variance.
    """

    weight: Tensor  # a parameter, or a buffer once frozen
    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, *, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.register_buffer("resample_filter", binomial_filter())
        self.up = up

    def forward(self, x_NIHW: Tensor) -> Tensor:
        """Return N x O features."""
        weight_OIKK = (self.weight * math.sqrt(0.5 / self.weight.shape[1])).to(x_NIHW.dtype)
        if self.up:
            return upsample(conv(x_NIHW, weight_OIKK), self.resample_filter)
        return conv_down(x_NIHW, weight_OIKK, None, self.resample_filter)
