"""Cut the planes of one volume, and say what each of them shows.

By content, a plane is `noise` where next to nothing of its disc is tissue, the cut that was requested where
enough is, and `uncertain` between: kept aside in the zip, counted, and trained on by nobody. By index, the
notebook's rule, the outermost planes are noise whatever they show.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import Any, Self

from components.shared.faults import InputError
from components.shared.geometry import FIELDS_OF_VIEW, Anatomy, Plane, Window, planes_of
from components.shared.nrrd_geometry import POLICIES
from components.shared.planes import NOISE, UNCERTAIN, PlaneRow
from components.shared.png import encode_png
from components.shared.snapshots import VolumeEntry

LIMIT_DEG = 45.0  # at it one plane is a coronal and, mirrored, a sagittal one: all angles are smaller
# The rules that say what is noise, each with the dials that are its own.
RULE_DIALS = {"content": ("noise_max_content", "anatomy_min_content"), "index": ("noise_index_planes",)}
NOISE_RULES = tuple(RULE_DIALS)
MAX_PLANES = 20_000  # of a volume: nine angles of a head of 90 mm, cut every half millimetre, are 5,500
_BATCH = 16  # planes a call: with fewer, threads wait for one another (sampling.py)
# What a pipeline lets its user choose; the side is the data contract's, and grey is stored once.
PARAMETERS = (
    "missing_geometry",
    "plane_angles_deg",
    "plane_spacing_mm",
    "field_of_view",
    "field_of_view_mm",
    "noise_rule",
    "noise_max_content",
    "anatomy_min_content",
    "noise_index_planes",
)


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Which planes of a volume, how they look and what they are called: all that their pixels depend on."""

    plane_angles_deg: Sequence[float]  # about the superior-inferior axis
    plane_spacing_mm: float  # between two offsets; one of them is 0
    field_of_view_mm: float  # side of the square window, the same for every plane
    field_of_view: str = "sphere"  # disc or full (geometry.py)
    side_px: int = 256
    channels: int = 1  # 3 writes RGB, as the notebooks did
    noise_rule: str = "content"
    noise_max_content: float = 0.02  # share of the disc that is tissue: an empty plane has no more
    anatomy_min_content: float = 0.10  # and a plane of anatomy no less
    noise_index_planes: int = 20  # at each end of every angle's row of planes, by index alone
    missing_geometry: str = "refuse"  # or the orientation that volumes without one are taken to have

    def __post_init__(self) -> None:
        angles = sorted(self.plane_angles_deg)
        symmetric = 0 in angles and angles == sorted(-angle for angle in angles)
        written = {f"{angle:+g}" for angle in angles}  # as a plane is named by it
        distinct = len(written) == len(angles) and all(abs(angle) < LIMIT_DEG for angle in angles)
        valid = f"distinct angles of less than {LIMIT_DEG:g}, symmetric about 0 and with 0 among them"
        _require(self, "plane_angles_deg", symmetric and distinct, valid)
        _require(self, "plane_spacing_mm", 0.1 <= self.plane_spacing_mm <= 50, "0.1 to 50 mm")
        _require(self, "field_of_view_mm", 10 <= self.field_of_view_mm <= 500, "10 to 500 mm")
        _require_one_of(self, "field_of_view", FIELDS_OF_VIEW)
        _require(self, "side_px", 16 <= self.side_px <= 2048, "16 to 2048")
        _require(self, "channels", self.channels in (1, 3), "1 or 3")
        _require_one_of(self, "noise_rule", NOISE_RULES)
        _require(self, "anatomy_min_content", 0 < self.anatomy_min_content <= 1, "above 0, up to 1")
        ordered = 0 <= self.noise_max_content < self.anatomy_min_content
        valid = f"0 or more, and below anatomy_min_content={self.anatomy_min_content}"
        _require(self, "noise_max_content", ordered, valid)
        _require(self, "noise_index_planes", 1 <= self.noise_index_planes <= 1000, "1 to 1000")
        _require_one_of(self, "missing_geometry", POLICIES)

    @classmethod
    def among(cls, parameters: Mapping[str, Any]) -> Self:
        """Return the cuts that a pipeline's parameters ask for; its other parameters are ignored."""
        return cls(**{name: parameters[name] for name in PARAMETERS})

    @property
    def window(self) -> Window:
        """The square that every plane shows."""
        return Window(
            field_of_view_mm=self.field_of_view_mm, side_px=self.side_px, field_of_view=self.field_of_view
        )

    def settings(self) -> Mapping[str, Any]:
        """Return what the planes depend on in plain JSON types: the other rule's dials are left out."""
        all_of_them = asdict(self) | {"plane_angles_deg": [float(angle) for angle in self.plane_angles_deg]}
        idle = {name for rule, names in RULE_DIALS.items() if rule != self.noise_rule for name in names}
        return {name: value for name, value in all_of_them.items() if name not in idle}


def requested(cuts: Cuts, anatomy: Anatomy) -> list[Plane]:
    """Return every plane of a volume that is asked for, each once.

    Raises InputError for more than MAX_PLANES: its spacings are hardly in millimetres.
    """
    count = 2 * len(cuts.plane_angles_deg) * len(anatomy.offsets(cuts.plane_spacing_mm))
    if count > MAX_PLANES:
        raise InputError(
            f"space directions: content of {anatomy.radius_mm:.0f} mm radius, which asks for {count} planes;"
            f" valid: spacings in millimetres, or a plane_spacing_mm that leaves up to {MAX_PLANES}"
        )
    return planes_of(anatomy, [float(angle) for angle in cuts.plane_angles_deg], cuts.plane_spacing_mm)


def cut_planes(
    cuts: Cuts, entry: VolumeEntry, content: str, anatomy: Anatomy, pool: Executor
) -> Iterator[tuple[bytes, PlaneRow]]:
    """Yield every requested plane as PNG and row, in a fixed order; content is the hash of the volume."""
    offsets = anatomy.offsets(cuts.plane_spacing_mm)
    from_end = {offset: min(at, len(offsets) - 1 - at) for at, offset in enumerate(offsets)}

    def cut(planes: Sequence[Plane]) -> list[tuple[bytes, PlaneRow]]:
        found = []
        for plane, (picture_HW, share) in zip(planes, anatomy.sample(planes), strict=True):
            label = label_of(cuts, plane, share, from_end[plane.offset_mm])
            found.append((encode_png(picture_HW, cuts.channels), _row(label, entry, content, plane, share)))
        return found

    planes = requested(cuts, anatomy)
    batches = [planes[start : start + _BATCH] for start in range(0, len(planes), _BATCH)]
    yield from itertools.chain.from_iterable(pool.map(cut, batches))


def label_of(cuts: Cuts, plane: Plane, share: float, from_end: int) -> str:
    """Return what a plane is called; from_end counts the planes between it and the nearer end of its row."""
    if cuts.noise_rule == "index":
        return NOISE if from_end < cuts.noise_index_planes else plane.name
    if share <= cuts.noise_max_content:
        return NOISE
    return plane.name if share >= cuts.anatomy_min_content else UNCERTAIN


def _row(label: str, entry: VolumeEntry, content: str, plane: Plane, share: float) -> PlaneRow:
    x, y, z = plane.axes[2]
    return PlaneRow(
        # Of the content alone: what a hash of names chooses later must not depend on the key of pseudonyms.
        image=f"{label}/{content[:12]}_{plane.name[0]}_{plane.angle_deg:+g}_{plane.offset_mm:+g}.png",
        label=label,
        patient=entry.patient,
        session=entry.session,
        site=entry.site,
        volume=content[:16],
        plane=plane.name,
        angle_deg=plane.angle_deg,
        offset_mm=plane.offset_mm,
        normal=f"{x:.6f} {y:.6f} {z:.6f}",
        content=round(share, 4),
    )


def volume_hash(parts: Sequence[str]) -> str:
    """Return the hash of a volume from the hashes of its file and its detached ones."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _require(cuts: Cuts, name: str, holds: bool, valid: str) -> None:
    if not holds:
        raise InputError(f"{name}={getattr(cuts, name)}: not usable; valid: {valid}")


def _require_one_of(cuts: Cuts, name: str, choices: Sequence[str]) -> None:
    _require(cuts, name, getattr(cuts, name) in choices, " or ".join(choices))
