"""The likest pairs as one picture: synthetic image left, training plane right, numbered, likeness beneath.

Shapes: H x W, grey, values 0..255.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PAIRS = 16
_COLUMNS, _TILE_PX, _GAP_PX, _LINE_PX, _TYPE_PX = 4, 96, 10, 24, 16

Grey = NDArray[np.uint8]


def draw_sheet(path: Path, pairs: Sequence[tuple[Grey, Grey]], captions: Sequence[str]) -> None:
    """Write a contact sheet of pairs with a line beneath each as a PNG."""
    columns = min(_COLUMNS, max(len(pairs), 1))
    width, height = 2 * _TILE_PX + _GAP_PX, _TILE_PX + _LINE_PX + _GAP_PX
    lines = -(-len(pairs) // columns)
    sheet = Image.new("L", (columns * width - _GAP_PX, max(lines * height - _GAP_PX, 1)), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=_TYPE_PX)
    for place, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        left, top = place % columns * width, place // columns * height
        for number, image_HW in enumerate(pair):
            sheet.paste(_tile(image_HW), (left + number * _TILE_PX, top))
        pen.text((left + 2, top + _TILE_PX + 3), caption, fill=0, font=font)
    sheet.save(path, "PNG", optimize=True)


def _tile(image_HW: Grey) -> Image.Image:
    larger = image_HW.shape[0] > _TILE_PX
    way = Image.Resampling.LANCZOS if larger else Image.Resampling.NEAREST
    return Image.fromarray(image_HW).resize((_TILE_PX, _TILE_PX), way)
