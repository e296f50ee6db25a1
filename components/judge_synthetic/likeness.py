"""How alike two planes are: the largest correlation of their low-passed grey over small shifts.

A plane is shrunk to 32 pixels and low-passed, so that speckle, noise and the encoding go while the shape of
ventricles and fissures stays; brought to the middle by its light, so that a shift costs nothing; and
normalised inside its disc, so that neither brightness nor contrast nor the black around it counts. Either
plane may be the other's mirror image: the GAN may have seen both.

Shapes: N images, M others, K candidates, H = W = 32 pixels, G shifts along an edge.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from components.shared.planes import PlaneRow, PlaneSet

SIDE_PX = 32
_SIGMA_PX = 0.7  # of the Gaussian low-pass; with the shrinking it hides how sharp a GAN of 32 px or 256 is
_FAINT = 0.3  # of a plane's bright grey: what is darker does not move its middle
_EDGE_PX = 0.5  # softness of the disc's edge
_REACH_PX, _STEP_PX = 1.0, 0.25  # shifts that are tried once the middles agree
_CANDIDATES = 4  # of every image, looked at with shifts
_BLOCK, _PAIRS = 1024, 2048  # images, and pairs of images, at a time

Allowed = Callable[[int, int], Tensor]  # rows from, to: which of the others they may be compared with


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Of every image the likest of the others, both of length N; where none was allowed, -1 and -1."""

    likeness_N: NDArray[np.float32]  # noqa: N815
    index_N: NDArray[np.int64]  # noqa: N815


def views_of(planes: PlaneSet, rows: Sequence[PlaneRow], at: torch.device) -> Tensor:
    """Return planes as they are compared: N x H x W, each of mean 0 in its disc and of unit norm."""
    small_NHW = np.empty((len(rows), SIDE_PX, SIDE_PX), np.uint8)
    for small_HW, image_HW in zip(small_NHW, planes.images(rows), strict=True):
        small_HW[:] = shrunk(image_HW, SIDE_PX)
    blocks = _blocks(torch.from_numpy(small_NHW), _BLOCK)
    return torch.cat([_normalised(block_NHW.to(at).float()) for _, block_NHW in blocks])


def shrunk(image_HW: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a plane at another side, as the GAN's training resizes it."""
    way = Image.Resampling.BOX if image_HW.shape[0] > side else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image_HW).resize((side, side), way))


def nearest(views_NHW: Tensor, others_MHW: Tensor, allowed: Allowed | None = None) -> Nearest:
    """Find the likest of the others for every image; without shifts first, then the best few with them."""
    likeness, index = [], []
    for start, block_NHW in _blocks(views_NHW, _BLOCK):
        score_NM = torch.maximum(*(_flat(view) @ _flat(others_MHW).T for view in _both(block_NHW)))
        if allowed is not None:
            score_NM[~allowed(start, start + len(block_NHW)).to(score_NM.device)] = -1
        rough_NK, candidates_NK = score_NM.topk(min(_CANDIDATES, score_NM.shape[1]), dim=1)
        fine_NK = _shifted(block_NHW, others_MHW, candidates_NK).where(rough_NK > -1, -1)
        best_N, place_N = fine_NK.max(dim=1)
        found_N = candidates_NK.gather(1, place_N[:, None])[:, 0].where(best_N > -1, -1)
        likeness.append(best_N.cpu().numpy())
        index.append(found_N.cpu().numpy())
    return Nearest(likeness_N=np.concatenate(likeness), index_N=np.concatenate(index))


def _normalised(grey_NHW: Tensor) -> Tensor:
    grey_NHW = _low_passed(grey_NHW)
    faint_N = torch.quantile(grey_NHW.flatten(1), 0.98, dim=1) * _FAINT
    light_NHW = (grey_NHW - faint_N[:, None, None]).clamp(min=0)
    total_N = light_NHW.sum(dim=(1, 2)).clamp(min=1e-6)
    edge_H = torch.arange(SIDE_PX, device=grey_NHW.device) - (SIDE_PX - 1) / 2
    down_N = (light_NHW.sum(dim=2) * edge_H).sum(dim=1) / total_N
    right_N = (light_NHW.sum(dim=1) * edge_H).sum(dim=1) / total_N
    square_HW = edge_H[:, None] ** 2 + edge_H**2
    about_N = (light_NHW * square_HW).sum(dim=(1, 2)) / total_N - down_N**2 - right_N**2
    radius_N = (2 * about_N.clamp(min=0)).sqrt()  # of an even disc with that second moment
    disc_NHW = torch.sigmoid((radius_N[:, None, None] - square_HW.sqrt()) / _EDGE_PX)
    middle_NHW = _moved(grey_NHW, -down_N, -right_N)
    mean_N = (middle_NHW * disc_NHW).sum(dim=(1, 2)) / disc_NHW.sum(dim=(1, 2)).clamp(min=1e-6)
    inside_NHW = (middle_NHW - mean_N[:, None, None]) * disc_NHW
    norm_N = inside_NHW.flatten(1).norm(dim=1).clamp(min=1e-3)
    views_NHW: Tensor = inside_NHW / norm_N[:, None, None]
    return views_NHW


def _low_passed(grey_NHW: Tensor) -> Tensor:
    down_H, right_W = _frequencies(grey_NHW.device)
    gain_HW = torch.exp(-2 * (torch.pi * _SIGMA_PX) ** 2 * (down_H[:, None] ** 2 + right_W**2))
    return _image(torch.fft.rfft2(grey_NHW) * gain_HW).clamp(min=0)


def _moved(grey_NHW: Tensor, down_N: Tensor, right_N: Tensor) -> Tensor:
    """Shift every image by parts of a pixel, as its Fourier series says."""
    down_H, right_W = _frequencies(grey_NHW.device)
    turns_NHW = down_N[:, None, None] * down_H[:, None] + right_N[:, None, None] * right_W
    return _image(torch.fft.rfft2(grey_NHW) * torch.exp(-2j * torch.pi * turns_NHW))


def _image(spectrum_NHW: Tensor) -> Tensor:
    return Tensor(torch.fft.irfft2(spectrum_NHW, s=(SIDE_PX, SIDE_PX)))


def _frequencies(at: torch.device) -> tuple[Tensor, Tensor]:
    return torch.fft.fftfreq(SIDE_PX, device=at), torch.fft.rfftfreq(SIDE_PX, device=at)


def _shifted(views_NHW: Tensor, others_MHW: Tensor, candidates_NK: Tensor) -> Tensor:
    """Return each image's largest correlation with each of its candidates over small shifts, N x K."""
    at = views_NHW.device
    shifts_G = torch.arange(-_REACH_PX, _REACH_PX + _STEP_PX / 2, _STEP_PX, device=at)
    waves_GH = torch.exp(2j * torch.pi * shifts_G[:, None] * _frequencies(at)[0])
    rows = max(1, _PAIRS // candidates_NK.shape[1])
    parts = []
    for first, some_NHW in _blocks(views_NHW, rows):
        others_NKHW = torch.fft.fft2(others_MHW[candidates_NK[first : first + rows]])
        spectra = [torch.fft.fft2(view).conj()[:, None] * others_NKHW for view in _both(some_NHW)]
        surfaces = [(waves_GH @ spectrum @ waves_GH.T).real for spectrum in spectra]
        best = torch.maximum(*(surface.flatten(2).amax(dim=2) for surface in surfaces))
        parts.append(best / SIDE_PX**2)
    return torch.cat(parts)


def _both(views_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return images as they are, and mirrored."""
    return views_NHW, views_NHW.flip(2)


def _flat(views_NHW: Tensor) -> Tensor:
    return views_NHW.flatten(1)


def _blocks(images_NHW: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    return ((first, images_NHW[first : first + size]) for first in range(0, len(images_NHW), size))
