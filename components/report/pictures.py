"""The report's pictures: few, small, chosen without chance, so that a page stays light and repeatable.

Shapes: H x W, grey, values 0..255.
"""

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.shared.ledger import LabelRow
from components.shared.planes import GAN_CLASSES, PlaneRow, PlaneSet
from components.shared.rounds import ACCEPTED, REJECTED

TILE_PX = 112  # stored; shown at about 88, so that it prints sharply
SAMPLES = 14  # planes shown a class
_ACCEPTED = 7  # pseudo-labelled images shown a class
MOSAIC = (3, 4)  # columns and rows of a grid of synthetic images
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture as a data URI, with the lines under it."""

    uri: str
    lines: Sequence[str]


def spread(items: Sequence[_Item], wanted: int) -> list[_Item]:
    """Return at most that many items, evenly spaced over the whole sequence."""
    if len(items) <= wanted:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, wanted)]


def sample_planes(planes: PlaneSet, label: str, patients: Collection[str], wanted: int) -> list[PlaneRow]:
    """Return planes of one class spread over patients, angles and offsets."""
    rows = [row for row in planes.rows if row.label == label and row.patient in patients]
    return spread(sorted(rows, key=lambda r: (r.patient, r.plane, r.angle_deg, r.offset_mm, r.image)), wanted)


def plane_tiles(planes: PlaneSet, rows: Sequence[PlaneRow]) -> list[Tile]:
    """Return real planes with patient, angle and offset beneath."""
    return [
        Tile(
            uri=as_uri(fit(image_HW, TILE_PX)),
            lines=[short(row.patient), f"{row.angle_deg:+.0f}°, {row.offset_mm:+.0f} mm".replace("-", "−")],
        )
        for row, image_HW in zip(rows, planes.images(rows), strict=True)
    ]


def short(patient: str) -> str:
    """Return as much of a pseudonym as fits under a picture: what follows the key's digits."""
    return patient.rpartition("-")[2]


def label_tiles(synthetic: PlaneSet, labels: Sequence[LabelRow]) -> list[Tile]:
    """Return synthetic images with the label they were given and its confidence beneath."""
    rows = {row.image: row for row in synthetic.rows}
    images = synthetic.images(rows[label.image] for label in labels)
    return [
        Tile(uri=as_uri(fit(image_HW, TILE_PX)), lines=[f"{label.label} {label.confidence:.2f}"])
        for label, image_HW in zip(labels, images, strict=True)
    ]


def accepted_tiles(synthetic: PlaneSet, labels: Sequence[LabelRow]) -> list[tuple[str, list[Tile]]]:
    """Return accepted images of both cuts, under a caption each."""
    return [
        (
            f"Accepted as {label}, from the surest to the least sure",
            label_tiles(synthetic, accepted(labels, label, _ACCEPTED)),
        )
        for label in GAN_CLASSES
    ]


def accepted(labels: Sequence[LabelRow], label: str, wanted: int) -> list[LabelRow]:
    """Return accepted images of one class, from the surest to the least sure."""
    rows = [row for row in labels if row.status == ACCEPTED and row.label == label]
    return spread(sorted(rows, key=lambda row: (-row.confidence, row.image)), wanted)


def doubtful(labels: Sequence[LabelRow], wanted: int) -> list[LabelRow]:
    """Return the images the classifier was least sure of, rejected classes aside."""
    rows = [row for row in labels if row.status != REJECTED]
    return sorted(rows, key=lambda row: (row.confidence, row.image))[:wanted]


def mosaic(pictures: PlaneSet, rows: Sequence[PlaneRow], side: int) -> str:
    """Return images as one picture, each first reduced to `side` pixels, the side the GAN works at."""
    columns, lines = MOSAIC
    chosen = spread(rows, columns * lines)
    canvas_HW = np.full((lines * (TILE_PX + 2) - 2, columns * (TILE_PX + 2) - 2), 255, np.uint8)
    for place, image_HW in enumerate(pictures.images(chosen)):
        top, left = (TILE_PX + 2) * (place // columns), (TILE_PX + 2) * (place % columns)
        canvas_HW[top : top + TILE_PX, left : left + TILE_PX] = fit(fit(image_HW, side), TILE_PX)
    return as_uri(canvas_HW)


def sample_tiles(planes: PlaneSet, label: str, patients: Collection[str]) -> list[Tile]:
    """Return planes of one class, evenly chosen, with what they are beneath."""
    return plane_tiles(planes, sample_planes(planes, label, patients, SAMPLES))


def real_grid(planes: PlaneSet, patients: Collection[str], side: int) -> tuple[str, str]:
    """Return caption and picture of real planes of both cuts, as small as the GAN saw them."""
    half = MOSAIC[0] * MOSAIC[1] // 2
    rows = [row for label in GAN_CLASSES for row in sample_planes(planes, label, patients, half)]
    return f"Real, reduced to {side} px", mosaic(planes, rows, side)


def fit(image_HW: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image at another side: smoothly when smaller, in honest squares when larger."""
    way = Image.Resampling.LANCZOS if side < image_HW.shape[0] else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image_HW).resize((side, side), way))


def as_uri(image_HW: NDArray[np.uint8]) -> str:
    """Return a picture as a PNG inside a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image_HW).save(buffer, "PNG", optimize=True)
    return png_uri(buffer.getvalue())


def png_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
