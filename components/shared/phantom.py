"""Simulated transfontanellar ultrasound volumes: no patient's data, plainly simulated, but brain-like.

An analytic preterm brain (fissures, ventricles, choroid plexus, thalami, cerebellum, sulci) is seen through a
sector from the anterior fontanelle with speckle, attenuation and log compression. It is left-right symmetric
and front-back asymmetric, so that coronal and sagittal planes differ by anatomy alone. Coordinates are RAS;
anatomy is in shares of the brain's half-axes. Shapes: X Y Z voxels of the file, P points inside the brain.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from components.shared.arrays import Floats
from components.shared.faults import InputError, shown
from components.shared.files import whole, write_whole
from components.shared.owners import SUFFIXES, TABLE
from components.shared.snapshots import SIMULATED
from components.shared.volumes import Volume, write_volume

EXTENT_MM = 96.0  # edge of the block: it leaves empty planes on both sides of the brain
_HALF_AXES_MM = np.array([31.0, 38.0, 31.0])  # right, anterior, superior, at 29 weeks
_FONTANELLE_MM = np.array([0.0, 6.0, 38.0])  # the probe's place above the centre, for a brain of that size
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_VALID = "a folder that is empty, not there yet, or of the same call"
_SECTOR_COS = np.cos(np.deg2rad(62))

# Echo strengths before speckle.
_OUTSIDE, _FLUID, _TISSUE, _NUCLEI, _CEREBELLUM, _PLEXUS, _FISSURE = (
    0.012,
    0.016,
    0.20,
    0.27,
    0.34,
    0.95,
    0.75,
)

# Centre line of one lateral ventricle as (right, anterior, superior, radius): frontal horn, body, atrium,
# temporal horn; then the occipital horn. The other side is its mirror image.
_VENTRICLE = np.array(
    [
        (0.13, 0.56, 0.12, 0.06),
        (0.13, 0.40, 0.20, 0.11),
        (0.14, 0.10, 0.28, 0.10),
        (0.19, -0.20, 0.28, 0.10),
        (0.32, -0.46, 0.14, 0.15),
        (0.42, -0.38, -0.12, 0.10),
        (0.46, -0.12, -0.30, 0.07),
        (0.44, 0.08, -0.36, 0.05),
    ]
)
_OCCIPITAL = np.array([(0.32, -0.46, 0.12, 0.14), (0.31, -0.62, 0.04, 0.11), (0.27, -0.78, -0.02, 0.06)])
_PLEXUS_LINE = np.array(
    [
        (0.12, 0.02, 0.20, 0.035),
        (0.18, -0.22, 0.22, 0.05),
        (0.32, -0.44, 0.08, 0.085),
        (0.42, -0.30, -0.16, 0.04),
    ]
)

Points = tuple[Floats, Floats, Floats]  # right (of either side), anterior, superior; in half-axes


@dataclass(frozen=True, kw_only=True)
class Brain:
    """What differs between two infants."""

    scale: float  # of the half-axes, grows with age
    length: float  # front to back against the mean shape
    ventricles: float  # radius against the mean
    cavum: float  # width of the cavum septi pellucidi against the mean
    cerebellum: float  # size against the mean
    folding: float  # 0 smooth .. 1 many sulci
    sylvian: float  # depth of the Sylvian fissure against the mean
    seed: int  # of the sulci

    def older(self) -> "Brain":
        """Return the same brain some weeks later."""
        return Brain(
            scale=self.scale * 1.04,
            length=self.length,
            ventricles=self.ventricles * 1.1,
            cavum=self.cavum * 0.8,
            cerebellum=self.cerebellum * 1.05,
            folding=min(1.0, self.folding + 0.15),
            sylvian=self.sylvian * 1.08,
            seed=self.seed,
        )


def simulate_patients(
    folder: Path, patients: int = 8, seed: int = 0, size: int = 120, name: str = "sim"
) -> list[Path]:
    """Write one volume per patient, and a second session of the first; size is voxels along each axis.

    Where an earlier call with the same arguments wrote them, they stay. Raises InputError, before anything
    is written, where the folder holds other volumes or another table.
    """
    _check(patients, seed, name)
    sessions = {folder / each.file(name): each for each in _sessions(patients)}
    table = _table(list(sessions))
    _require_own(folder, sessions, table)
    for path in filter(Path.exists, sessions):
        _require_same(path, sessions[path].acquire(seed, size))
    for path in [each for each in sessions if not each.exists()]:
        with whole(path) as part:
            write_volume(part, sessions[path].acquire(seed, size))
    write_whole(folder / TABLE, table)
    return list(sessions)


@dataclass(frozen=True, kw_only=True)
class _Session:
    """One acquisition of one simulated patient."""

    number: int  # of the patient, from 1
    later: int  # 0: the first session, 1: some weeks after it

    def file(self, name: str) -> str:
        month, day = 1 + (self.number + 3 * self.later) % 12, 1 + (7 * self.number) % 28
        return f"{name}{self.number:02}_2024_{month:02}_{day:02}.nrrd"

    def acquire(self, seed: int, size: int) -> Volume:
        brain = _brain(np.random.default_rng([seed, self.number]))
        noise = np.random.default_rng([seed, self.number, self.later])
        return simulate(brain.older() if self.later else brain, noise, size)


def _sessions(patients: int) -> list[_Session]:
    return [
        _Session(number=number, later=later)
        for number in range(1, patients + 1)
        for later in range(2 if number == 1 else 1)
    ]


def _check(patients: int, seed: int, name: str) -> None:
    if patients < 1:
        raise InputError(f"patients={patients}: nobody to simulate; valid: 1 or more")
    if seed < 0:
        raise InputError(f"seed={seed}: not usable; valid: 0 or more")
    if not _NAME.fullmatch(name):
        raise InputError(f"name={shown(name)}: not usable; valid: up to 50 letters, digits, '.', '_' and '-'")


def _table(volumes: list[Path]) -> str:
    """Return volumes.csv, whose site lets a report say that nothing it shows is of an infant."""
    rows = [f"{path.name},{path.stem[:-11]},{path.stem},{SIMULATED}" for path in volumes]
    return "\n".join(["file,patient,session,site", *rows]) + "\n"


def _require_own(folder: Path, own: Collection[Path], table: str) -> None:
    """Refuse a folder with volumes that are not simulated here, or whose table says something else."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in there:
        if path.suffix.lower() in SUFFIXES and path not in own:
            raise InputError(f"{path}: is there, and no volume of this call; valid: {_VALID}")
    written = folder / TABLE
    if written in there and written.read_bytes() != table.encode():
        raise InputError(f"{written}: is there, and lists other volumes; valid: {_VALID}")


def _require_same(path: Path, volume: Volume) -> None:
    """Refuse to replace a volume by another."""
    with TemporaryDirectory() as scratch:
        again = Path(scratch) / path.name
        write_volume(again, volume)
        if again.read_bytes() != path.read_bytes():
            raise InputError(f"{path}: is there, and another volume; valid: {_VALID}")


def simulate(brain: Brain, rng: np.random.Generator, size: int = 120) -> Volume:
    """Return one acquisition, stored posterior, superior, right and tilted a few degrees."""
    affine = _affine(rng.uniform(-4, 4, 3), size)
    index = np.indices((size, size, size), dtype=np.float32).reshape(3, -1)
    world = (affine[:3, :3] @ index + affine[:3, 3:]).astype(np.float32)
    echo = _echoes(brain, world, (size, size, size))
    grey = _acquire(echo, world * np.float32(1 / brain.scale), rng, EXTENT_MM / size)
    return Volume(data_XYZ=grey, affine=affine)


def _brain(rng: np.random.Generator) -> Brain:
    return Brain(
        scale=rng.uniform(0.9, 1.06),
        length=rng.uniform(0.95, 1.06),
        ventricles=rng.uniform(0.75, 1.5),
        cavum=rng.uniform(0.5, 1.3),
        cerebellum=rng.uniform(0.88, 1.12),
        folding=rng.uniform(0.1, 0.9),
        sylvian=rng.uniform(0.85, 1.2),
        seed=int(rng.integers(2**31)),
    )


def _affine(tilt_deg: Floats, size: int) -> Floats:
    a, b, c = np.deg2rad(tilt_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    posterior_superior_right = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ posterior_superior_right * (EXTENT_MM / size)
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (size - 1) / 2)
    return affine


def _echoes(brain: Brain, world: Floats, shape: tuple[int, int, int]) -> Floats:
    """Return the echo strength of every voxel, before speckle."""
    half_axes = _HALF_AXES_MM * brain.scale * np.array([1, brain.length, 1])
    right, y, z = world / half_axes[:, None].astype(np.float32)
    everywhere = (np.abs(right), y, z)  # both hemispheres at once
    depth = _depth(everywhere)
    below = _ellipsoid(everywhere, (0, -0.50, -0.70), np.array((0.52, 0.34, 0.26)) * brain.cerebellum)
    stem = _ellipsoid(everywhere, (0, -0.16, -0.85), (0.15, 0.15, 0.5))
    inside = np.flatnonzero((depth > 0) | (below < 1) | (stem < 1))
    points = (everywhere[0][inside], y[inside], z[inside])
    echo = np.full(y.shape, _OUTSIDE, np.float32)
    echo[inside] = _cerebrum(brain, points, depth[inside])
    hind = inside[(depth[inside] <= 0) | (below[inside] < 1)]
    echo[hind] = np.where(below[hind] < 1, _folia(y[hind], z[hind]), _TISSUE * 0.9)
    return np.asarray(ndimage.gaussian_filter(echo.reshape(shape), 0.6))


def _folia(y: Floats, z: Floats) -> Floats:
    """Return the cerebellum's echoes: leaves around its root, and the dark fourth ventricle before it."""
    echo = _CEREBELLUM * (1 + 0.35 * np.cos(46 * np.hypot(y + 0.30, z + 0.62)))
    return np.where(np.hypot((y + 0.26) / 0.08, (z + 0.62) / 0.1) < 1, _FLUID, echo)


def _depth(points: Points) -> Floats:
    """Return how far inside the cerebrum a point lies: 0 on its surface, 1 at its middle."""
    x, y, z = points
    width = 0.93 - 0.10 * y - 0.10 * y**2  # narrower in front, widest behind the middle
    # A flat floor under the frontal lobes.
    height = np.where(z > 0, 0.92, 0.72 - 0.22 * np.clip(y, 0, 1) + 0.06 * x)
    return np.asarray(1 - ((x / width) ** 2.3 + np.abs(y) ** 2.3 + (np.abs(z) / height) ** 2.3) ** (1 / 2.3))


def _cerebrum(brain: Brain, points: Points, depth: Floats) -> Floats:
    x, _, z = points
    ventricle = np.minimum(_tube(points, _VENTRICLE), _tube(points, _OCCIPITAL)) / brain.ventricles
    echo = _TISSUE * (1 + 0.45 * np.exp(-(((ventricle - 1.3) / 0.3) ** 2)))  # the periventricular halo
    echo = np.where(_nuclei(points) < 1, _NUCLEI, echo)
    echo = np.where(_sulci(brain, points, depth), _FISSURE * (0.7 + 0.3 * brain.folding), echo)
    echo = np.where(_sylvian(brain, points), _FISSURE * 0.8, echo)
    echo = np.where(_midline(points), _FISSURE * 0.7, echo)
    arch = _arch(points)
    # The corpus callosum, then its sulcus.
    echo = np.where((x < 0.16) & (np.abs(arch - 1) < 0.1) & (z > 0.05), _TISSUE * 0.45, echo)
    echo = np.where((x < 0.16) & (np.abs(arch - 1.14) < 0.04) & (z > 0.1), _FISSURE * 0.8, echo)
    echo = np.where((ventricle < 1) | _midline_fluid(brain, points), _FLUID, echo)
    echo = np.where((_tube(points, _PLEXUS_LINE) < 1) & (ventricle < 1.1), _PLEXUS, echo)
    return np.where((depth < 0.03) & (depth > 0), _FISSURE * 0.5, echo)


def _nuclei(points: Points) -> Floats:
    thalamus = _ellipsoid(points, (0.15, -0.10, -0.02), (0.14, 0.27, 0.17))
    return np.minimum(thalamus, _ellipsoid(points, (0.24, 0.34, 0.08), (0.10, 0.22, 0.13)))


def _sulci(brain: Brain, points: Points, depth: Floats) -> NDArray[np.bool_]:
    reach = 0.05 + 0.17 * brain.folding
    return (np.abs(_folds(brain, points)) < 0.42 * (1 - depth / reach)) & (depth < reach) & (points[0] > 0.05)


def _sylvian(brain: Brain, points: Points) -> NDArray[np.bool_]:
    """The fissure runs in from the side and opens into the insula's cistern."""
    x, y, z = points
    bend = z + 0.13 - 0.25 * y + 0.35 * (x - 0.75) ** 2 - 0.12 * np.sin(5 * x)
    fissure = (np.abs(bend) < 0.028) & (x > 0.95 - 0.36 * brain.sylvian) & (np.abs(y - 0.03) < 0.36)
    return np.asarray(fissure | (_ellipsoid(points, (0.58, 0.06, -0.06), (0.028, 0.24, 0.14)) < 1))


def _midline(points: Points) -> NDArray[np.bool_]:
    """The falx between the hemispheres and the tentorium over the cerebellum."""
    x, y, z = points
    falx = (x < 0.018) & (_arch(points) > 1.2) & (z > -0.05 - 0.3 * (y < -0.5))
    tent = (np.abs(z + 0.30 + 0.34 * x - 0.12 * y) < 0.028) & (y < -0.28) & (y > -0.9) & (x < 0.66)
    return np.asarray(falx | tent)


def _midline_fluid(brain: Brain, points: Points) -> NDArray[np.bool_]:
    cavum = _ellipsoid(points, (0, 0.24, 0.17), (0.075 * brain.cavum, 0.26, 0.085))
    third = _ellipsoid(points, (0, -0.08, -0.08), (0.03 * brain.ventricles, 0.24, 0.16))
    return np.minimum(cavum, third) < 1


def _arch(points: Points) -> Floats:
    """Return where a point lies against the arch of the corpus callosum: 1 on it."""
    return np.asarray(np.hypot((points[1] - 0.02) / 0.56, (points[2] - 0.02) / 0.34))


def _folds(brain: Brain, points: tuple[Floats, Floats, Floats]) -> Floats:
    """Return a smooth field whose zero crossings are sulci; more of them in a folded brain."""
    rng = np.random.default_rng(brain.seed)
    field = np.zeros(points[0].shape, np.float32)
    for _ in range(8):
        wave = rng.normal(size=3)
        wave *= (7 + 6 * brain.folding) / np.linalg.norm(wave)
        field += np.cos(
            wave[0] * points[0] + wave[1] * points[1] + wave[2] * points[2] + rng.uniform(0, 2 * np.pi)
        )
    return field / 2


def _ellipsoid(points: Points, centre: object, radii: object) -> Floats:
    """Return the distance from a centre in radii: below 1 inside."""
    x, y, z = points
    (a, b, c), (p, q, r) = np.asarray(centre, np.float32), np.asarray(radii, np.float32)
    return np.asarray(np.sqrt(((x - a) / p) ** 2 + ((y - b) / q) ** 2 + ((z - c) / r) ** 2))


def _tube(points: Points, line: Floats) -> Floats:
    """Return the distance from a bent line of changing radius, in radii: below 1 inside."""
    x, y, z = points
    steps = np.linspace(0, len(line) - 1, 4 * len(line))
    knots = np.stack([np.interp(steps, np.arange(len(line)), column) for column in line.T], axis=1)
    nearest = np.full(x.shape, np.inf, np.float32)
    for a, b, c, radius in knots.astype(np.float32):
        np.minimum(nearest, ((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / radius**2, out=nearest)
    return np.asarray(np.sqrt(nearest))


def _acquire(echo: Floats, world: Floats, rng: np.random.Generator, voxel_mm: float) -> NDArray[np.uint8]:
    """Return what a scanner shows of the echoes: speckle, attenuation, sector and log compression."""
    away = world - _FONTANELLE_MM[:, None].astype(np.float32)
    distance = np.sqrt((away**2).sum(axis=0)).reshape(echo.shape)
    sector = (-away[2].reshape(echo.shape) > _SECTOR_COS * distance - 3) & (distance < 92)
    grain = np.array([0.55, 0.5, 0.55]) / voxel_mm  # millimetres: finer along the beam, which goes down
    real, imaginary = (
        ndimage.gaussian_filter(rng.standard_normal(echo.shape, dtype=np.float32), grain) for _ in range(2)
    )
    speckle = np.hypot(real, imaginary)
    speckle /= speckle.mean()
    shadow = ndimage.gaussian_filter(rng.standard_normal(echo.shape, dtype=np.float32), 12 * 0.8 / voxel_mm)
    gain = np.exp(-distance / 110 + 0.25 * shadow / max(float(shadow.std()), 1e-6))
    seen = echo * gain * speckle**0.75 + 0.006 * speckle
    grey = 255 * np.log1p(18 * seen) / np.log1p(18 * 0.7)
    return np.where(sector, np.clip(grey, 1, 255), 0).astype(np.uint8)
