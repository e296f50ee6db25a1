"""Volumes without anatomy that stand in for real scans, and the planes that are cut from them.

A blank has the sizes, spacing, orientation, centre and radius of a scan, and nothing to see in it: whatever
tells coronal from sagittal there is a trace of the extraction. Each kind shows traces that the others hide:

    constant   outlines: padding, another aspect, a disc that is off its place
    speckle    sharpness, and the scanner grid's own pattern
    ramp       grey levels: a window that depends on the block or on the plane

Ramps run along right, anterior and superior, not along the block's axes, and are judged together: as a set
they are the same to both classes, which one ramp is not. Every other scan has them the other way round.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.arrays import Floats
from components.shared.geometry import Anatomy, Plane, Window
from components.shared.passports import Passport
from components.shared.planes import CORONAL, SAGITTAL
from components.shared.suspicions import Measured
from components.shared.volumes import Volume

CONSTANT, SPECKLE, RAMP = "constant", "speckle", "ramp"
KINDS = (CONSTANT, SPECKLE, RAMP)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The geometry of a real volume."""

    volume: str  # its name in the PlaneSet
    patient: str
    site: str
    sizes: tuple[int, int, int]
    affine: NDArray[np.float64]
    centre: Floats  # in voxels
    radius_mm: float

    @classmethod
    def of(cls, passport: Passport, measured: Measured) -> "Scan":
        """Take a scan's geometry from its passport."""
        return cls(
            volume=passport.volume,
            patient=passport.patient,
            site=passport.site,
            sizes=measured.sizes,
            affine=np.array(measured.affine, float),
            centre=np.array(measured.centre_voxels, float),
            radius_mm=measured.radius_mm,
        )


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Which planes are cut from a blank: as from the real volumes, but fewer."""

    window: Window
    angles_deg: Sequence[float]
    spacing_mm: float
    planes: int  # of each class and blank

    def of(self, anatomy: Anatomy, rng: np.random.Generator) -> list[Plane]:
        """Return planes of both classes: chance draws, one from each of equal parts of all, from end to end.

        A sagittal plane takes a coronal one's offset and its angle negated: as if right and anterior had
        changed places, so that what is the same along both must give the same pictures.
        """
        known = [(angle, offset) for offset in anatomy.offsets(self.spacing_mm) for angle in self.angles_deg]
        edges = np.linspace(0, len(known), min(self.planes, len(known)) + 1).astype(int)
        drawn = [known[rng.integers(low, high)] for low, high in itertools.pairwise(edges)]
        return [
            Plane(name=name, angle_deg=sign * angle, offset_mm=offset)
            for angle, offset in drawn
            for name, sign in ((CORONAL, 1), (SAGITTAL, -1))
        ]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Planes of many blanks of one kind."""

    images_NHW: NDArray[np.uint8]  # noqa: N815
    sagittal_N: NDArray[np.bool_]  # noqa: N815
    blanks_N: NDArray[np.int64]  # noqa: N815  number of the blank


def volumes_of(kind: str, scan: Scan, sign: int, rng: np.random.Generator) -> Iterator[Volume]:
    """Yield the blanks of one kind that stand in for a scan, one at a time."""
    if kind == CONSTANT:
        yield Volume(data_XYZ=np.full(scan.sizes, 100, np.uint8), affine=scan.affine)
    elif kind == SPECKLE:
        yield Volume(data_XYZ=_rayleigh(scan.sizes, rng), affine=scan.affine)
    else:
        for axis in range(3):
            yield Volume(data_XYZ=_ramp(scan, sign * np.eye(3)[axis]), affine=scan.affine)


def cut(
    kind: str, scans: Sequence[Scan], cuts: Cuts, seed: int
) -> Iterator[tuple[int, Plane, NDArray[np.uint8]]]:
    """Yield number of the blank, plane and picture, of as many coronal as sagittal planes a blank."""
    for number, scan in enumerate(scans):
        rng = np.random.default_rng([seed, number, KINDS.index(kind)])
        planes: list[Plane] = []
        for volume in volumes_of(kind, scan, 1 - 2 * (number % 2), rng):
            anatomy = Anatomy.of(volume, cuts.window, centre=scan.centre, radius_mm=scan.radius_mm)
            planes = planes or cuts.of(anatomy, rng)  # the same ones of the three ramps
            for plane, (picture_HW, _) in zip(planes, anatomy.sample(planes), strict=True):
                yield number, plane, picture_HW


def gather(kind: str, scans: Sequence[Scan], cuts: Cuts, seed: int) -> Pictures:
    """Return the planes of one kind of blank for every scan."""
    numbers, planes, images = zip(*cut(kind, scans, cuts, seed), strict=True)
    return Pictures(
        images_NHW=np.stack(images),
        sagittal_N=np.array([plane.name == SAGITTAL for plane in planes]),
        blanks_N=np.array(numbers),
    )


def _rayleigh(sizes: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return fully developed speckle before any scanner smooths it: the hardest to hide a grid in."""
    squares = rng.standard_exponential(sizes, dtype=np.float32)
    return np.sqrt(squares, out=squares)


def _ramp(scan: Scan, along: Floats) -> NDArray[np.float32]:
    """Return millimetres along a direction of the patient, from the centre."""
    slopes = along @ scan.affine[:3, :3]
    x, y, z = (
        ((np.arange(size) - middle) * slope).astype(np.float32)
        for size, middle, slope in zip(scan.sizes, scan.centre, slopes, strict=True)
    )
    ramp_XYZ: NDArray[np.float32] = x[:, None, None] + y[:, None] + z
    return ramp_XYZ
