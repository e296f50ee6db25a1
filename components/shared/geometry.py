"""Where a volume's planes lie, and the grey levels on them: from anatomy alone, never from the block's shape.

One centre serves rotation, offsets and sphere: the centroid of the tissue. The radius R is its distance to
the nearest face of the block. Space is RAS millimetres about that centre. A plane is sampled once, through
one composed transform, and shows only what lies inside the sphere.

Pictures: superior is up. Sagittal: anterior is left. Coronal: the patient's right is on the left.
Shapes: X Y Z voxels, H = W = side pixels, P points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from components.shared.planes import CORONAL, SAGITTAL
from components.shared.volumes import Volume

Floats = NDArray[np.floating[Any]]

FIELDS_OF_VIEW = ("sphere", "full")
REACH = 0.85  # the outermost plane, as a share of the radius; beyond it discs are too small to show anatomy
_FWHM = 2.355  # of a Gaussian, in standard deviations


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One requested cut: its class, its angle about the superior axis and its offset along its normal."""

    name: str  # coronal or sagittal
    angle_deg: float
    offset_mm: float

    @property
    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Unit vectors in RAS: along a picture's columns, along its rows, and the plane's normal."""
        turn = np.deg2rad(self.angle_deg)
        right = np.array([np.cos(turn), np.sin(turn), 0.0])
        anterior = np.array([-np.sin(turn), np.cos(turn), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        return (-anterior, down, right) if self.name == SAGITTAL else (-right, down, anterior)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The square that every plane of a data set shows."""

    field_of_view_mm: float
    side_px: int
    field_of_view: str = "sphere"

    @property
    def pixel_mm(self) -> float:
        """The edge of a pixel."""
        return self.field_of_view_mm / self.side_px

    def centres(self) -> Floats:
        """Return the pixels' centres along one edge, in millimetres from the window's centre."""
        return (np.arange(self.side_px) - (self.side_px - 1) / 2) * self.pixel_mm


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """A volume ready to be cut."""

    voxels_XYZ: NDArray[np.float32]  # noqa: N815  low-passed
    to_index: Floats  # 3 x 3: RAS millimetres from the centre to voxels from the centre
    centre: Floats  # in voxels
    radius_mm: float
    tissue: float  # the grey level above which a voxel is content
    low: float  # grey level shown black
    high: float  # grey level shown white

    @classmethod
    def of(cls, volume: Volume, pixel_mm: float) -> Self:
        """Find the tissue, its centre, its sphere and its grey levels."""
        voxels = _low_pass(volume, pixel_mm)
        tissue = otsu(voxels)
        centre = _centroid(voxels, tissue)
        to_index = np.linalg.inv(volume.affine[:3, :3])
        sector = voxels[volume.data_XYZ > volume.data_XYZ.min()]  # what the scanner filled
        low, high = np.percentile(sector if sector.size else voxels, [0.5, 99.5])
        return cls(
            voxels_XYZ=voxels,
            to_index=to_index,
            centre=centre,
            radius_mm=_radius(centre, voxels.shape, to_index),
            tissue=tissue,
            low=float(low),
            high=float(high),
        )

    def offsets(self, spacing_mm: float) -> list[float]:
        """Return the multiples of the spacing, zero among them, that reach into the sphere."""
        steps = int(np.floor(REACH * self.radius_mm / spacing_mm + 1e-9))
        return [step * spacing_mm for step in range(-steps, steps + 1)]

    def sample(self, plane: Plane, window: Window) -> tuple[NDArray[np.uint8], float]:
        """Return a plane's picture and its content: the share of its disc that is tissue."""
        columns, rows, normal = plane.axes
        edge = window.centres()
        inside_HW = edge[:, None] ** 2 + edge[None, :] ** 2 <= self.radius_mm**2 - plane.offset_mm**2
        row, column = np.nonzero(inside_HW)
        picture_HW = np.zeros(inside_HW.shape, np.uint8)
        if not row.size:
            return picture_HW, 0.0
        start = self.centre + self.to_index @ (plane.offset_mm * normal)
        across, down = self.to_index @ columns, self.to_index @ rows
        points_3P = start[:, None] + across[:, None] * edge[column] + down[:, None] * edge[row]
        grey_P = ndimage.map_coordinates(self.voxels_XYZ, points_3P, order=1, mode="nearest")
        picture_HW[inside_HW] = self._shade(grey_P)
        return picture_HW, float((grey_P > self.tissue).mean())

    def _shade(self, grey_P: NDArray[np.float32]) -> NDArray[np.uint8]:
        if self.high <= self.low:
            return np.zeros(grey_P.shape, np.uint8)
        scaled = (grey_P - self.low) * (255.0 / (self.high - self.low))
        shaded_P: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return shaded_P


def planes_of(anatomy: Anatomy, angles_deg: Sequence[float], spacing_mm: float) -> list[Plane]:
    """Return every cut of a volume exactly once: classes x angles x offsets."""
    return [
        Plane(name=name, angle_deg=angle, offset_mm=offset)
        for name in (CORONAL, SAGITTAL)
        for angle in angles_deg
        for offset in anatomy.offsets(spacing_mm)
    ]


def otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold that parts the grey levels best in two (Otsu 1979); a constant parts nowhere.

    Over the whole block, not the sector alone: inside the mask of a skull-stripped scan everything is
    tissue, and a threshold from there would part fluid from tissue.
    """
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * centres)
    spread = (mass[-1] * below - mass * below[-1])[:-1] ** 2 / np.maximum(below * (below[-1] - below), 1)[:-1]
    best = np.flatnonzero(spread == spread.max())
    return float(edges[1:][best].mean()) if spread.max() > 0 else float(values.max())


def _low_pass(volume: Volume, pixel_mm: float) -> NDArray[np.float32]:
    """Blur each axis to the coarsest one's resolution, or a class could be told by its sharpness."""
    voxels = volume.data_XYZ.astype(np.float32)
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    coarsest = max(float(spacing.max()), pixel_mm)
    sigma = np.sqrt(np.maximum(coarsest**2 - spacing**2, 0)) / _FWHM / spacing
    sigma[sigma < 0.1] = 0  # below a tenth of a voxel nothing changes
    return ndimage.gaussian_filter(voxels, sigma, output=np.float32) if sigma.any() else voxels


def _centroid(voxels: NDArray[np.float32], tissue: float) -> Floats:
    content = voxels > tissue
    if not content.any():
        return (np.array(voxels.shape) - 1) / 2
    counts = [content.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return np.array([np.average(np.arange(len(count)), weights=count) for count in counts])


def _radius(centre: Floats, shape: tuple[int, ...], to_index: Floats) -> float:
    """Return the distance to the nearest face, in millimetres, oblique and sheared blocks included."""
    voxels = np.minimum(centre, np.array(shape) - 1 - centre)
    return float((voxels / np.linalg.norm(to_index, axis=1)).min())
