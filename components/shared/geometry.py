"""Where a volume's planes lie, and the grey levels on them: from anatomy alone, never from the block's shape.

One centre serves rotation, offsets and sphere: the centroid of the tissue. The radius R is its distance to
the nearest face of the block, less what the blur needs. Space is RAS millimetres about that centre.

    sphere   what lies inside the sphere: the same disc in both classes, smaller towards its ends
    disc     on every plane the disc of the outermost one: its size says nothing, not even of noise, and a
             third of the area is left
    full     all of the block, whose outline tells the class

Pictures: superior is up. Sagittal: anterior is left. Coronal: the patient's right is on the left.
Shapes: X Y Z voxels, H = W = side pixels, P points.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from components.shared.arrays import Floats, Grey
from components.shared.faults import InputError
from components.shared.padding import without_padding
from components.shared.planes import CORONAL, SAGITTAL
from components.shared.resampling import MARGIN, PITCH, overview, patient_grid, spacing_mm
from components.shared.sampling import sample_upright
from components.shared.volumes import Volume

SPHERE, DISC, FULL = FIELDS_OF_VIEW = ("sphere", "disc", "full")
REACH = 0.85  # the outermost plane, as a share of the radius; beyond it discs are too small to show anatomy
_FLAT = 1e-5  # a contrast, as a share of the grey level, that is rounding alone
_POINTS = 36  # along the diameter of the sphere that the grey levels are taken from: some 24,000 in all
_RIM = 2.0  # how far they keep from what the scanner left empty, in voxels of the cubic grid
_GREY = 128  # how a volume without contrast is drawn: visible against the black around it


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
    field_of_view: str = SPHERE

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

    voxels_XYZ: Grey  # noqa: N815  cubic, in the patient's axes, the middle one on the centre
    pitch_mm: float  # between them
    window: Window
    sizes: tuple[int, ...]  # of the scan's block
    to_index: Floats  # 3 x 3: RAS millimetres from the centre to the scan's voxels from the centre
    centre: Floats  # in the scan's voxels
    radius_mm: float
    tissue: float  # the grey level above which a voxel is content
    low: float  # grey level shown black
    high: float  # grey level shown white

    @classmethod
    def of(
        cls, volume: Volume, window: Window, *, centre: Floats | None = None, radius_mm: float | None = None
    ) -> Self:
        """Find the tissue, its centre, its sphere and its grey levels.

        A volume without anatomy takes the centre, in voxels, and the radius of the scan that it stands for.
        """
        volume = without_padding(volume)
        coarsest = max(float(spacing_mm(volume).max()), window.pixel_mm)
        whole_XYZ, indices = overview(volume, coarsest)
        tissue = otsu(whole_XYZ)
        middle = _centroid(whole_XYZ, indices, tissue) if centre is None else np.asarray(centre, float)
        to_index = np.linalg.inv(volume.affine[:3, :3])
        sizes = volume.data_XYZ.shape
        radius = _radius(middle, sizes, to_index, coarsest) if radius_mm is None else radius_mm
        _require_sphere(radius, window.pixel_mm, sizes)
        half = _half_mm(window, radius)
        shown = np.inf if window.field_of_view == FULL else radius
        voxels_XYZ = patient_grid(volume, middle, half, shown, coarsest)
        low, high = _grey_window(volume, voxels_XYZ, middle, radius, PITCH * coarsest)
        return cls(
            voxels_XYZ=voxels_XYZ,
            pitch_mm=PITCH * coarsest,
            window=window,
            sizes=sizes,
            to_index=to_index,
            centre=middle,
            radius_mm=radius,
            tissue=tissue,
            low=low,
            high=high,
        )

    def offsets(self, spacing_mm: float) -> list[float]:
        """Return the multiples of the spacing, zero among them, that reach into the sphere."""
        steps = int(np.floor(REACH * self.radius_mm / spacing_mm + 1e-9))
        return [step * spacing_mm for step in range(-steps, steps + 1)]

    def sample(self, planes: Sequence[Plane]) -> list[tuple[NDArray[np.uint8], float]]:
        """Return each plane's picture and its content: the share of its disc that is tissue.

        Several planes a call let threads work side by side (sampling.py).
        """
        edge = self.window.centres()
        near = self._near(edge)
        steps, middle = edge[near] / self.pitch_mm, (np.array(self.voxels_XYZ.shape) - 1) / 2
        across = [plane.axes[0] for plane in planes]
        starts = [middle + plane.offset_mm / self.pitch_mm * plane.axes[2] for plane in planes]
        x_NW, y_NW = (
            np.stack([start[i] + along[i] * steps for start, along in zip(starts, across, strict=True)])
            for i in range(2)
        )
        grey_NHW = sample_upright(self.voxels_XYZ, x_NW, y_NW, middle[2] - steps)  # rows run down
        return [self._shown(plane, grey_HW, near) for plane, grey_HW in zip(planes, grey_NHW, strict=True)]

    def _near(self, edge: Floats) -> slice:
        """Return which rows, and which columns, can show anything: the others are black on every plane."""
        reach = np.inf if self.window.field_of_view == FULL else self.radius_mm
        shown = np.flatnonzero(np.abs(edge) <= reach)
        return slice(int(shown[0]), int(shown[-1]) + 1)

    def _shown(self, plane: Plane, grey_HW: Grey, near: slice) -> tuple[NDArray[np.uint8], float]:
        """Return a picture and its content from the grey levels of the rows and columns near the centre.

        Whole rows are shaded and then masked: numpy picks single pixels ten times slower.
        """
        edge, side = self.window.centres()[near], self.window.side_px
        disc = disc_mm(self.window.field_of_view, self.radius_mm, plane.offset_mm)
        disc_HW = edge[:, None] ** 2 + edge[None, :] ** 2 <= disc**2
        shown_HW = self._block(plane) if self.window.field_of_view == FULL else disc_HW
        picture_HW = np.zeros((side, side), np.uint8)
        np.multiply(self._shade(grey_HW), shown_HW, out=picture_HW[near, near])
        content = int(np.count_nonzero((grey_HW > self.tissue) & disc_HW))
        return picture_HW, content / max(int(np.count_nonzero(disc_HW)), 1)

    def _block(self, plane: Plane) -> NDArray[np.bool_]:
        """Return which pixels of a plane lie inside the scan's block, H x W."""
        across, down, normal = (self.to_index @ axis for axis in plane.axes)
        edge = self.window.centres()
        inside_HW = np.ones((len(edge), len(edge)), bool)
        for axis, size in enumerate(self.sizes):
            start = self.centre[axis] + plane.offset_mm * normal[axis]
            index_HW = start + across[axis] * edge[None, :] + down[axis] * edge[:, None]
            inside_HW &= (index_HW >= -0.5) & (index_HW <= size - 0.5)
        return inside_HW

    def _shade(self, grey_HW: Grey) -> NDArray[np.uint8]:
        if _is_flat(self.low, self.high):
            return np.full(grey_HW.shape, _GREY, np.uint8)
        shaded_HW = (grey_HW - self.low) * (255.0 / (self.high - self.low))
        np.clip(np.rint(shaded_HW, out=shaded_HW), 0, 255, out=shaded_HW)
        return shaded_HW.astype(np.uint8)


def disc_mm(field_of_view: str, radius_mm: float, offset_mm: float) -> float:
    """Return the radius of what a plane shows, or with `full` of the disc that its content is taken from."""
    away = REACH * radius_mm if field_of_view == DISC else offset_mm
    return float(np.sqrt(max(radius_mm**2 - away**2, 0.0)))


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
    low, high = float(values.min()), float(values.max())
    if _is_flat(low, high):
        return high + _FLAT * abs(high)
    counts, edges = np.histogram(values.astype(float), 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * centres)
    spread = (mass[-1] * below - mass * below[-1])[:-1] ** 2 / np.maximum(below * (below[-1] - below), 1)[:-1]
    best = np.flatnonzero(spread == spread.max())
    return float(edges[1:][best].mean())


def _is_flat(low: float, high: float) -> bool:
    return high - low <= _FLAT * max(abs(low), abs(high))


def _centroid(voxels_XYZ: Grey, indices: Sequence[Floats], tissue: float) -> Floats:
    """Return the tissue's centroid in the scan's voxels; a block's middle where there is none."""
    content = voxels_XYZ > tissue
    if not content.any():
        return np.array([at.mean() for at in indices])
    counts = [content.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return np.array([np.average(at, weights=count) for at, count in zip(indices, counts, strict=True)])


def _require_sphere(radius_mm: float, pixel_mm: float, sizes: Sequence[int]) -> None:
    """Refuse a sphere whose outermost disc holds no pixel's centre: its planes would show nothing."""
    least_mm = pixel_mm / np.sqrt(2 * (1 - REACH**2))
    if radius_mm < least_mm:
        raise InputError(
            f"sizes: {' '.join(map(str, sizes))} leave a sphere of {radius_mm:.1f} mm about the content;"
            f" valid: a block whose nearest face is farther, for one of {least_mm:.1f} mm"
        )


def _radius(centre: Floats, sizes: Sequence[int], to_index: Floats, coarsest_mm: float) -> float:
    """Return how far a sphere reaches, in millimetres, oblique and sheared blocks included."""
    voxels = np.minimum(centre, np.array(sizes) - 1 - centre)
    nearest = float((voxels / np.linalg.norm(to_index, axis=1)).min())
    return max(nearest - MARGIN * coarsest_mm, 0.0)


def _half_mm(window: Window, radius_mm: float) -> Floats:
    """Return how far from the centre any pixel of any plane can lie, 3."""
    half = window.field_of_view_mm / 2
    flat, tall = float(np.hypot(half, REACH * radius_mm)), half
    if window.field_of_view != FULL:
        flat, tall = min(flat, radius_mm), min(tall, radius_mm)
    return np.array([flat, flat, tall])


def _grey_window(
    volume: Volume, voxels_XYZ: Grey, centre: Floats, radius_mm: float, pitch_mm: float
) -> tuple[float, float]:
    """Return the grey levels shown black and white: of what the scanner filled inside the sphere.

    The sphere is the same to both classes. Over the block, something that runs along its longer axis would
    be shown with less contrast than what runs along a shorter one.
    """
    middle = (np.array(voxels_XYZ.shape) - 1) // 2
    step = int(np.ceil(2 * radius_mm / pitch_mm / _POINTS)) or 1
    places = [np.arange(-(half // step), half // step + 1) * step for half in middle]
    points_N3 = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 3)
    points_N3 = points_N3[(points_N3**2).sum(axis=1) <= max((radius_mm / pitch_mm) ** 2, 1)]
    grey_N = voxels_XYZ[tuple((points_N3 + middle).T)]
    filled_N = _filled(volume, centre, points_N3 * pitch_mm, _RIM * pitch_mm)
    low, high = np.percentile(grey_N[filled_N] if filled_N.any() else grey_N, [0.5, 99.5])
    return float(low), float(high)


def _filled(volume: Volume, centre: Floats, points_N3: Floats, rim_mm: float) -> NDArray[np.bool_]:
    """Tell whether points lie in what the scanner filled, out of reach of what its rim blurs."""
    to_index = np.linalg.inv(volume.affine[:3, :3])
    least, last = volume.data_XYZ.min(), np.array(volume.data_XYZ.shape) - 1
    around = np.array(
        [place for place in itertools.product((-1, 0, 1), repeat=3) if np.count_nonzero(place) != 2]
    )
    filled_N = np.ones(len(points_N3), bool)
    for way in around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1):
        index_N3 = centre + (points_N3 + rim_mm * way) @ to_index.T
        filled_N &= volume.data_XYZ[tuple(np.clip(np.rint(index_N3), 0, last).astype(int).T)] > least
    return filled_N
