"""From image files to pixels: every header is looked at before the first image is decoded.

Shapes: C channels, H = W = resolution.
"""

import os
import struct
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from stylegan2_ada.image_files import UNREADABLE, Files

Fit = Literal["refuse", "crop"]
Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

LARGEST_IMAGE = 2**26  # pixels, 8192 x 8192

# Pillow would hand some other formats to outside programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY = ("1", "L", "LA")
_MODES = (*_GREY, "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # 8 bits a channel
_BROKEN = (*UNREADABLE, SyntaxError, TypeError, LookupError, OverflowError, struct.error)
_AHEAD = 32  # images decoded before they are asked for


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an image file says of itself."""

    name: str
    width: int  # pixels
    height: int
    grey: bool


def headers(files: Files, names: Sequence[str], fit: Fit) -> list[Header]:
    """Read the headers of images; UsageError names the first that cannot become a training image.

    fit: an image that is not square is refused, or may be cropped.
    """
    # Here and not in the threads that decode: a warning filter is the whole process's.
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return [_header(files, name, fit) for name in names]


def _header(files: Files, name: str, fit: Fit) -> Header:
    try:
        with _opened(files, name) as image:
            (width, height), mode, bits = image.size, image.mode, _bits(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise files.fault(f"{name} is too large to decode", f"at most {LARGEST_IMAGE} pixels") from error
    if width * height > LARGEST_IMAGE:
        raise files.fault(f"{name} has {width} x {height} pixels", f"at most {LARGEST_IMAGE}")
    if mode not in _MODES:
        raise files.fault(f"{name} has pixels of type {mode}", "8 bits a channel, grey or colour")
    if bits > 8:
        raise files.fault(f"{name} has {bits} bits a channel", "8 bits a channel, grey or colour")
    if width != height and fit == "refuse":
        raise files.fault(f"{name} has {width} x {height} pixels", "square images, or fit=crop")
    return Header(name=name, width=width, height=height, grey=mode in _GREY)


def _bits(image: ImageFile.ImageFile) -> int:
    """Return the bits a channel in a file; Pillow cuts those of colour to 8 and does not say so."""
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(BITSPERSAMPLE, (1,))))
    layout = image.tile[0].args if image.tile else None  # a type of pixels, or that and more
    if image.format == "PPM" and isinstance(layout, tuple):
        return int(layout[1]).bit_length()
    return 16 if image.format == "PNG" and ";16" in str(layout) else 8


def pictures(files: Files, names: Sequence[str], *, resolution: int, channels: int) -> Iterator[Pixels]:
    """Decode images in order, C x H x W; UsageError names one that is damaged.

    Their centre square is averaged over area where it is larger than the resolution, and bicubic where it is
    smaller. Colour becomes grey by luma (ITU-R 601), grey becomes three equal channels, and what is
    transparent becomes black.
    """
    decode = partial(_decode, files, resolution, "L" if channels == 1 else "RGB")
    pending: deque[Future[Pixels]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for name in names:
            pending.append(pool.submit(decode, name))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def _decode(files: Files, resolution: int, mode: str, name: str) -> Pixels:
    with _opened(files, name) as image:
        picture = _resized(_square(_opaque(image).convert(mode)), resolution)
    pixels = np.asarray(picture)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(files: Files, name: str) -> Iterator[ImageFile.ImageFile]:
    """Open an image, and blame its file for whatever goes wrong within."""
    try:
        with files.stream(name) as stream, Image.open(stream, formats=_FORMATS) as image:
            yield image
    except _BROKEN as error:
        valid = f"whole files of {', '.join(_FORMATS)}"
        raise files.fault(f"{name} is damaged or no image", valid) from error


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))


def _square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)) if picture.width != picture.height else picture


def _resized(picture: Image.Image, resolution: int) -> Image.Image:
    if picture.width == resolution:
        return picture
    method = Image.Resampling.BOX if picture.width > resolution else Image.Resampling.BICUBIC
    return picture.resize((resolution, resolution), method)
