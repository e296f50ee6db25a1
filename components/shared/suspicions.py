"""What makes a volume suspect, each rule one sentence that a neonatologist and an engineer can act on.

Nothing here changes a volume: a doubt is told, never mended in silence.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.shared.nrrd_geometry import HEADER, SYMMETRY
from components.shared.planes import CORONAL, SAGITTAL

RIGHT, ANTERIOR, SUPERIOR = "RAS"
DIRECTIONS = {RIGHT: "left-right", ANTERIOR: "front-back", SUPERIOR: "up-down"}

# Scanners put a head near the origin of their space. Of 97 volumes one was farther: it had a wrong sign.
MAX_ORIGIN_MM = 100.0
MAX_REPLACED = 0.01  # share of voxels that were no numbers: a damaged border is less, a damaged volume more
MIN_CONTENT = 0.10  # share of the best plane through the volume that is tissue: less is no plane of anatomy
MAX_RADIUS_MM = 150.0  # an adult's head reaches some 100 mm
MIN_RADIUS_MM = 15.0  # the smallest brain, of 21 weeks, reaches some 25 mm: less shows no whole structure
MAX_TURN_DEG = 45.0  # of a plane in the head: beyond it a sagittal plane is nearer to a coronal one
MAX_UNEQUAL = 3.0  # coarsest spacing over finest: the low-pass leaves a third of the detail or less


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a passport says of a volume that could be read."""

    sizes: tuple[int, int, int]  # voxels along each array axis
    spacing_mm: tuple[float, float, float]
    axes: str  # where each array axis runs to, like PSR
    oblique_deg: float  # largest angle of an array axis to its direction in the patient
    handedness: str  # of the array axes: right, or left (a mirror image unless the affine is heeded)
    affine: tuple[tuple[float, ...], ...]  # 4 x 4, voxels to RAS millimetres
    orientation: str  # where it came from: header, LPS, RAS, symmetry
    origin_distance_mm: float  # from the origin of its space to the middle of the block
    centre_voxels: tuple[float, float, float]  # of content
    radius_mm: float  # of the sphere that is cut
    grey_window: tuple[float, float]  # shown black, shown white
    tissue: float  # grey above which a voxel counts as content
    replaced: int  # voxels that were no numbers
    notes: tuple[str, ...]  # the reader's
    mirror: tuple[float, float, float]  # correlation with the mirror image along the header's R, A, S
    tilt_deg: tuple[float, float, float]  # of those mirrors against R, A, S
    left_right: str  # which of R, A, S symmetry finds to be left-right; empty where it does not tell
    header_agrees: bool | None  # whether that is the header's R; None where symmetry does not tell
    planes: int  # cut from it
    profile: Mapping[str, tuple[tuple[float, float], ...]]  # (offset in mm, content) by class, at angle 0
    padding: tuple[float, float] | None = None  # what was filled in far below the picture, and its lowest
    yaw_deg: float = 0.0  # by which left-right turns towards front or back in the header's frame
    steepest_deg: float = 0.0  # largest angle of a plane about up-down, to either side

    @property
    def best_content(self) -> float:
        """The largest share of tissue on a plane at angle 0."""
        shares = [share for name in (CORONAL, SAGITTAL) for _, share in self.profile.get(name, ())]
        return max(shares, default=0.0)


def suspicions(measured: Measured) -> list[str]:
    """Return every reason to distrust a volume, the gravest first."""
    found = [
        _placed(measured),
        _mirrored(measured),
        _turned(measured),
        _oriented(measured),
        _finite(measured),
        _filled(measured),
        _padded(measured),
        _wide(measured),
        _equal(measured),
    ]
    return [sentence for sentence in found if sentence]


def _placed(measured: Measured) -> str:
    """A volume far from the origin of its space has lost its place, most often by a wrong sign."""
    far = measured.origin_distance_mm
    if far <= MAX_ORIGIN_MM or measured.orientation != HEADER:
        return ""
    axes, near = _flipped(measured)
    if near > MAX_ORIGIN_MM:
        return (
            f"the middle of the volume lies {far:.0f} mm from the origin of its space, and a head lies within"
            f" {MAX_ORIGIN_MM:.0f} mm: the header's origin or its directions may not be those of the patient"
        )
    names = " and ".join(DIRECTIONS[_direction(measured.axes[axis])] for axis in axes)
    return (
        f"the axis signs in the header look wrong: the middle of the volume lies {far:.0f} mm from the origin"
        f" of its space, and {near:.0f} mm with the {names} axis reversed"
        + (" together" if len(axes) > 1 else "")
        + f", so {_exchanged(measured, axes)} may be exchanged"
    )


def _flipped(measured: Measured) -> tuple[tuple[int, ...], float]:
    """Return the array axes whose reversal brings the volume nearest to the origin, and how near."""
    affine = np.array(measured.affine)
    halves = affine[:3, :3] * ((np.array(measured.sizes) - 1) / 2)
    tried = []
    for count in (1, 2, 3):
        for axes in itertools.combinations(range(3), count):
            signs = np.where(np.isin(range(3), axes), -1.0, 1.0)
            tried.append((float(np.linalg.norm(affine[:3, 3] + halves @ signs)), axes))
    # Fewer axes win where more bring it hardly nearer.
    near, axes = min(tried, key=lambda each: each[0] + 10 * len(each[1]))
    return axes, near


def _exchanged(measured: Measured, axes: tuple[int, ...]) -> str:
    ends = [measured.axes[axis] for axis in axes]
    pairs = [DIRECTIONS[_direction(end)].split("-") for end in ends]
    return ", ".join(f"{first} and {second}" for first, second in pairs)


def _direction(letter: str) -> str:
    return {"L": RIGHT, "P": ANTERIOR, "I": SUPERIOR}.get(letter, letter)


def _mirrored(measured: Measured) -> str:
    if measured.header_agrees is not False:
        return ""
    found, scores = measured.left_right, dict(zip("RAS", measured.mirror, strict=True))
    return (
        f"the header's left-right axis may not be the patient's: left and right mirror each other along its"
        f" {DIRECTIONS[found]} axis (correlation {scores[found]:.2f}) and not along its left-right axis"
        f" ({scores[RIGHT]:.2f})"
    )


def _turned(measured: Measured) -> str:
    """A plane is named by its angle in the header's frame, and that of a turned head is another one."""
    if not measured.header_agrees or measured.yaw_deg + measured.steepest_deg <= MAX_TURN_DEG:
        return ""
    return (
        f"the head lies turned by {measured.yaw_deg:.0f}° about the header's up-down axis, and planes are cut"
        f" up to {measured.steepest_deg:.0f}° to either side: some that are called sagittal are nearer to"
        " coronal in the head, and the other way round"
    )


def _oriented(measured: Measured) -> str:
    if measured.orientation == HEADER:
        return ""
    how = {SYMMETRY: "left-right was found by mirror symmetry, and which end is left, front or up is a guess"}
    taken = how.get(measured.orientation, f"it was taken to be {measured.orientation}, as the run asked")
    return f"the header does not say how the volume lies in the patient: {taken}"


def _finite(measured: Measured) -> str:
    share = measured.replaced / max(1, int(np.prod(measured.sizes)))
    if share <= MAX_REPLACED:
        return ""
    return f"{100 * share:.0f} % of its voxels were no numbers and were made black"


def _filled(measured: Measured) -> str:
    low, high = measured.grey_window
    if high <= low:
        return "it shows nothing: its voxels are all of one grey"
    if not measured.planes or measured.best_content >= MIN_CONTENT:
        return ""
    return f"it shows hardly any tissue: at most {100 * measured.best_content:.0f} % of a plane"


def _padded(measured: Measured) -> str:
    if measured.padding is None:
        return ""
    fill, lowest = measured.padding
    return (
        f"where the scanner saw nothing it is filled with {fill:g}, far below its picture, which begins at"
        f" {lowest:g}: both were taken for black"
    )


def _wide(measured: Measured) -> str:
    if measured.radius_mm > MAX_RADIUS_MM:
        return (
            f"the sphere about its content has a radius of {measured.radius_mm:.0f} mm, more than a head's:"
            " its spacings may not be millimetres"
        )
    if measured.radius_mm >= MIN_RADIUS_MM and measured.planes:
        return ""
    return (
        f"its planes show little: the sphere about its content ends after {measured.radius_mm:.0f} mm, at the"
        " nearest edge of the block"
    )


def _equal(measured: Measured) -> str:
    fine, coarse = min(measured.spacing_mm), max(measured.spacing_mm)
    if coarse <= MAX_UNEQUAL * fine:
        return ""
    return (
        f"its voxels are {coarse:.1f} mm long and {fine:.1f} mm wide: all planes are smoothed to"
        f" {coarse:.1f} mm, and detail is lost"
    )
