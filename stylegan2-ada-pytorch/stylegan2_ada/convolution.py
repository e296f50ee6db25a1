"""The three convolutions of StyleGAN2: at one size, to twice the size and to half of it.

Weights come scaled and in the type of the image; a 3x3 that changes the size keeps a low-pass filter on the
side of the larger image, so that nothing aliases (arXiv 1912.04958, Section 4.1).
Shapes: N images, I and O feature maps, H x W pixels, K x K taps.
"""

from torch import Tensor
from torch.nn import functional

from stylegan2_ada import winograd
from stylegan2_ada.resampling import downsample, fir


def conv(x_NIHW: Tensor, weight_OIKK: Tensor, bias: Tensor | None = None) -> Tensor:
    """Correlate at the input's size, N x O x H x W."""
    if winograd.suits(x_NIHW, weight_OIKK, _size(x_NIHW)):
        return winograd.convolve(x_NIHW, weight_OIKK, bias)
    return functional.conv2d(x_NIHW, weight_OIKK, bias, padding=weight_OIKK.shape[-1] // 2)


def conv_up(x_NIHW: Tensor, weight_OIKK: Tensor, taps: Tensor) -> Tensor:
    """Convolve with a 3x3 between inserted zeros, then low-pass, N x O x 2H x 2W."""
    weight_IOKK = weight_OIKK.transpose(0, 1)
    if winograd.suits(x_NIHW, weight_OIKK, _size(x_NIHW), stride=2):
        y_NOHW = winograd.convolve_transposed(x_NIHW, weight_IOKK)
    else:
        y_NOHW = functional.conv_transpose2d(x_NIHW, weight_IOKK, stride=2)
    return fir(y_NOHW, taps, padding=(1, 1, 1, 1), gain=4.0)


def conv_down(x_NIHW: Tensor, weight_OIKK: Tensor, bias: Tensor | None, taps: Tensor) -> Tensor:
    """Low-pass, then correlate with a 3x3 or 1x1 at every second pixel, N x O x H/2 x W/2."""
    if weight_OIKK.shape[-1] == 1:
        # Only every second pixel is read, so only those are filtered.
        return functional.conv2d(downsample(x_NIHW, taps), weight_OIKK, bias)
    height, width = _size(x_NIHW)
    x_NIHW = fir(x_NIHW, taps, padding=(2, 2, 2, 2))
    even = height % 2 == width % 2 == 0  # so that every filtered pixel is read: 2H + 1 of H results
    if even and winograd.suits(x_NIHW, weight_OIKK, (height // 2, width // 2), stride=2):
        return winograd.convolve(x_NIHW, weight_OIKK, bias, stride=2)
    return functional.conv2d(x_NIHW, weight_OIKK, bias, stride=2)


def _size(x_NIHW: Tensor) -> tuple[int, int]:
    return x_NIHW.shape[2], x_NIHW.shape[3]
