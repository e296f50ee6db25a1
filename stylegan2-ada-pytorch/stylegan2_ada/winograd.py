"""Which 3x3 convolutions have fewer multiplications by tiles on a CPU (Winograd, arXiv 1509.09308).

What comes from tiles (winograd_tiles.py) and what from PyTorch's direct sum was measured
(benchmarks/gan_convolutions.py). In float32, from tiles the convolution at stride 1, from 128 channels on,
everywhere; the gradient of weights also at stride 2 where PyTorch's takes longer: in wide layers on Intel's
processors, and where there is no AVX-512 in thin ones too. In bfloat16 both, at stride 1 and in wide layers
alone, where vectors multiply that type and not matrix units.
Shapes: N images, I in, O out channels, H x W pixels, K taps.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stylegan2_ada import devices


def convolves(image_NCHW: Tensor, weight: Tensor, stride: int) -> bool:
    """Tell whether tiles serve a convolution, or its transpose, better."""
    return _possible(image_NCHW, weight) and _wide(weight, image_NCHW.shape[2:], stride)


def makes_gradient(y_NOHW: Tensor, weight: Tensor, stride: int) -> bool:
    """Tell whether tiles serve the gradient of weights better, for the gradient y of the results."""
    n, _, *size = y_NOHW.shape
    if not _possible(y_NOHW, weight) or (y_NOHW.dtype != torch.float32 and n * math.prod(size) < 1024):
        return False
    return _wide(weight, size, stride) or _slow_gradient(weight, size)


def _possible(image_NCHW: Tensor, weight: Tensor) -> bool:
    return (
        image_NCHW.device.type == "cpu"
        and image_NCHW.dtype == weight.dtype
        and weight.shape[-1] == 3
        and len(image_NCHW) > 0
        and image_NCHW.shape[2] % 4 == image_NCHW.shape[3] % 4 == 0
    )


def _wide(weight_OIKK: Tensor, results: Sequence[int], stride: int) -> bool:
    """Tell whether the convolution itself is faster by tiles."""
    channels, pixels = min(weight_OIKK.shape[:2]), results[0] * results[1]
    if stride != 1:
        return False
    if weight_OIKK.dtype == torch.bfloat16:
        return channels >= 256 and pixels >= 256 and _has_vectors_for_bfloat16()
    return weight_OIKK.dtype == torch.float32 and channels >= 128 and pixels >= 64


def _has_vectors_for_bfloat16() -> bool:
    """Tell whether vectors multiply the type here, and not matrix units, which would wait for tiles."""
    return "avx512_bf16" in devices.processor() and "amx_bf16" not in devices.processor()


def _slow_gradient(weight_OIKK: Tensor, results: Sequence[int]) -> bool:
    """Tell whether PyTorch's gradient of weights is slower than tiles, by what was measured."""
    least = min(weight_OIKK.shape[:2])
    large = weight_OIKK.dtype == torch.float32 and least * results[0] * results[1] >= 1 << 15
    return large and least >= _least_channels()


def _least_channels() -> float:
    """Return from how many channels on it is, on this processor."""
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX2":
        return 64
    return 128 if capability == "AVX512" and devices.INTEL in devices.processor() else math.inf
