"""Where the voxels of an NRRD file lie in the patient, as one affine to RAS millimetres.

A file says so by `space` and `space directions`. Where it does not, a policy decides (`missing_geometry`):

    refuse      the file is refused
    LPS, RAS    the file's axes, or the space that its vectors live in, are taken for these
    symmetry    the voxels tell: the axis of the best mirror symmetry is left-right; of the other two the
                earlier is anterior-posterior and the later superior-inferior, which is true of RAS, of LPS
                and of the P,S,R order that clinics export. Which end is which no symmetry tells: the axes
                are taken to run to posterior, to superior, and to the side that makes them right-handed.

No policy makes up millimetres: a file without spacing is refused by all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.arrays import Floats
from components.shared.faults import InputError
from components.shared.nrrd_fields import Fields, fault, quoted
from components.shared.symmetry import clear_axis

REFUSE, LPS, RAS, SYMMETRY = POLICIES = ("refuse", "LPS", "RAS", "symmetry")
HEADER = "header"  # the orientation's source where no policy was needed
MIN_SPACING_MM = 0.01  # less is metres
MAX_SPACING_MM = 100.0
MAX_ORIGIN_MM = 1e6

# Signs that turn a space's three axes into right, anterior, superior; none where it names no side.
_LONG = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
}
_SHORT = {"".join(word[0] for word in name.split("-")): signs for name, signs in _LONG.items()}
_SIDELESS = dict.fromkeys(["scanner-xyz", "3d-right-handed", "3d-left-handed"])
_SPACES: dict[str, tuple[float, float, float] | None] = {
    **{name + time: signs for (name, signs), time in product((_LONG | _SIDELESS).items(), ("", "-time"))},
    **{name + time: signs for (name, signs), time in product(_SHORT.items(), ("", "t"))},
}
_MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}
_SPATIAL_KINDS = {"domain", "space", "???", "none"}  # the last two say nothing
_REMEDY = "space (RAS, LAS or LPS) and space directions; export the volume again with its orientation"


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Which array axes are spatial, and where they run."""

    spatial: tuple[int, int, int]
    affine: Floats  # 4 x 4, voxel index to RAS millimetres; only spacing counts while orientation is symmetry
    orientation: str  # header, LPS, RAS or symmetry
    notes: tuple[str, ...] = ()


def read_geometry(fields: Fields, missing_geometry: str) -> Geometry:
    """Judge the fields that say where a volume lies."""
    signs = fields.choice("space", _SPACES) if "space" in fields.values else None
    vectors = _directions(fields)
    spatial = _spatial(fields, vectors)
    columns = _columns(fields, vectors, list(spatial))
    _require_spacing(fields, columns, "spacings" if vectors is None else "space directions")
    _require_millimetres(fields, spatial)
    if signs is not None and vectors is not None:
        affine = _affine(fields, columns, signs)
        notes = _contradiction(fields, columns, spatial)
        return Geometry(spatial=spatial, affine=affine, orientation=HEADER, notes=notes)
    return _by_policy(fields, missing_geometry, spatial, columns)


def by_symmetry(path: Path, affine: Floats, scores: Sequence[float]) -> tuple[Floats, str]:
    """Return the affine of a volume whose axes have these mirror symmetries, and a note for a reader."""
    sideways = clear_axis(scores)
    shown = ", ".join(f"{score:.3f}" for score in scores)
    if sideways is None:
        raise fault(path, "space", f"absent, and mirror symmetry ({shown}) does not tell left-right", _REMEDY)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    posterior, superior = (axis for axis in range(3) if axis != sideways)
    turned = np.zeros((4, 4))
    turned[1, posterior], turned[2, superior], turned[0, sideways], turned[3, 3] = -1, 1, 1, 1
    turned[0] *= np.sign(np.linalg.det(turned))
    turned[:3, :3] *= spacing
    note = f"the header has no orientation; axis {sideways} is left-right by mirror symmetry ({shown})"
    return turned, f"{note}; which end is left, front or up is assumed"


def require_policy(missing_geometry: str) -> None:
    """Refuse what names no policy."""
    if missing_geometry not in POLICIES:
        raise InputError(f"missing_geometry={missing_geometry}: unknown; valid: {', '.join(POLICIES)}")


def _by_policy(fields: Fields, policy: str, spatial: tuple[int, int, int], columns: Floats) -> Geometry:
    lacks = "space directions" if fields.values.get("space") and _SPACES[_space(fields)] else "space"
    said = fields.values.get(lacks, "absent")
    if policy == REFUSE:
        remedy = f"{_REMEDY}, or set missing_geometry to {LPS}, {RAS} or {SYMMETRY}"
        raise fields.fault(lacks, f"{said}, so left and right are unknown", remedy)
    if policy == SYMMETRY:
        gram = columns.T @ columns
        spacing = np.sqrt(np.diag(gram))
        if not np.allclose(gram, np.diag(spacing**2), atol=1e-3 * spacing.max() ** 2):
            raise fields.fault(lacks, f"{said}, and the axes are not at right angles", _REMEDY)
        return Geometry(spatial=spatial, affine=np.diag([*spacing, 1.0]), orientation=SYMMETRY)
    signs = _SHORT[policy.lower()]
    return Geometry(
        spatial=spatial,
        affine=_affine(fields, columns, signs),
        orientation=policy,
        notes=(f"the header has no orientation; {policy} is assumed",),
    )


def _space(fields: Fields) -> str:
    return str(fields.values["space"]).lower()


def _directions(fields: Fields) -> Floats | None:
    """Return one vector an axis, not a number for `none`, or None where the header has no vectors."""
    if "space directions" not in fields.values:
        return None
    vectors = np.asarray(fields.values["space directions"], float)
    dimension = len(fields.values["sizes"])
    timed = _space(fields).endswith(("-time", "t")) if "space" in fields.values else False
    width = fields.values.get("space dimension", 4 if timed else 3)
    if vectors.shape != (dimension, width) or width not in (3, 4):
        shown = f"{len(vectors)} vectors of {vectors.shape[-1]} numbers"
        raise fields.fault("space directions", shown, f"{dimension} vectors of {width} numbers, or none")
    return vectors


def _spacings(fields: Fields) -> Floats:
    if "spacings" not in fields.values:
        shown = "absent like spacings, so millimetres are unknown"
        raise fields.fault("space directions", shown, _REMEDY)
    return np.asarray(fields.values["spacings"], float)


def _spatial(fields: Fields, vectors: Floats | None) -> tuple[int, int, int]:
    dimension = len(fields.values["sizes"])
    kinds = [str(kind).lower() for kind in fields.values.get("kinds", ["???"] * dimension)]
    if len(kinds) != dimension:
        raise fields.fault("kinds", quoted(" ".join(kinds)), f"{dimension} kinds, one an axis")
    told = _spacings(fields)[:, None] if vectors is None else vectors
    if len(told) != dimension:
        raise fields.fault("spacings", f"{len(told)} numbers", f"{dimension} numbers, one an axis")
    placed = [dimension == 3 or _has_place(vector) for vector in told]
    axes = [axis for axis in range(dimension) if placed[axis] and kinds[axis] in _SPATIAL_KINDS]
    if len(axes) != 3:
        shown = f"{len(axes)} of {dimension} axes are spatial (kinds {quoted(' '.join(kinds))})"
        raise fields.fault("space directions", shown, "three spatial axes; none for the others")
    return axes[0], axes[1], axes[2]


def _columns(fields: Fields, vectors: Floats | None, spatial: list[int]) -> Floats:
    """Return the vectors of the spatial axes; the file's axes stand for the patient's where it has none."""
    if vectors is None:
        return np.diag(_spacings(fields)[spatial])
    if vectors[spatial, 3:].any():
        raise fields.fault("space directions", "an axis of both space and time", "time on an axis of its own")
    columns: Floats = vectors[spatial, :3].T  # pynrrd's rows are the affine's columns
    return columns


def _has_place(vector: Floats) -> bool:
    """Tell an axis of space from one of components or of time."""
    only_time = len(vector) == 4 and not vector[:3].any()
    return not np.isnan(vector).all() and not only_time


def _require_spacing(fields: Fields, columns: Floats, field: str) -> None:
    with np.errstate(all="ignore"):
        spacing = np.linalg.norm(columns, axis=0)
        if not ((spacing >= MIN_SPACING_MM) & (spacing <= MAX_SPACING_MM)).all():
            shown = "spacing " + " ".join(f"{length:g}" for length in spacing)
            raise fields.fault(field, shown, f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm along each axis")
    if abs(np.linalg.det(columns / spacing)) < 1e-3:
        raise fields.fault(field, columns.T.tolist(), "three vectors that span a volume")


def _contradiction(fields: Fields, columns: Floats, spatial: Sequence[int]) -> tuple[str, ...]:
    """Tell where a file says its spacing twice, which the format forbids, and in two ways."""
    said = [float(number) for number in fields.values.get("spacings", [])]
    given = [said[axis] for axis in spatial if axis < len(said)]
    spacing = np.linalg.norm(columns, axis=0)
    if not given or np.allclose(given, spacing[: len(given)], rtol=0.01):
        return ()
    shown = " ".join(f"{number:g}" for number in given)
    return (f"spacings {shown} contradict space directions and were ignored",)


def _require_millimetres(fields: Fields, spatial: Sequence[int]) -> None:
    units = [str(unit).lower() for unit in fields.values.get("units", [])]
    said = {
        "units": [units[axis] for axis in spatial if axis < len(units)],
        "space units": [str(unit).lower() for unit in fields.values.get("space units", [])[:3]],
    }
    for field, words in said.items():
        if not set(words) <= _MILLIMETRES:
            raise fields.fault(field, quoted(" ".join(words)), "mm; convert the spacing")


def _affine(fields: Fields, columns: Floats, signs: Sequence[float]) -> Floats:
    origin: Any = np.asarray(fields.values.get("space origin", np.zeros(3)), float)
    if len(origin) < 3 or not (np.abs(origin[:3]) <= MAX_ORIGIN_MM).all():
        raise fields.fault("space origin", origin.tolist(), f"three numbers up to {MAX_ORIGIN_MM:g} mm")
    affine = np.eye(4)
    affine[:3] = np.array(signs)[:, None] * np.column_stack([columns, origin[:3]]) + 0.0  # no -0.0
    return affine
