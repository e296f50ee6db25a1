"""The passport of a volume: what was found in it, and whether to trust it.

    accept    its planes are used
    suspect   its planes are used and marked: something in it contradicts its header or its purpose
    refuse    it could not be read or cut, and is left out

A passport names a volume by its content and a patient by a pseudonym: no name, key or date of a header or a
file is in it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared import stored_json
from components.shared.faults import InputError
from components.shared.geometry import Anatomy
from components.shared.nrrd_geometry import HEADER
from components.shared.padding import padding_of
from components.shared.planes import CORONAL, SAGITTAL
from components.shared.snapshots import VolumeEntry
from components.shared.suspicions import Measured, suspicions
from components.shared.symmetry import clear_axis, mirrors
from components.shared.thumbnails import thumbnail
from components.shared.volumes import Volume

ACCEPT, SUSPECT, REFUSE = ("accept", "suspect", "refuse")
PASSPORTS = "passports.json"

Cut = tuple[str, float, float, float]  # coronal or sagittal, angle in degrees, offset in mm, content 0..1

# What a refusal says itself, and so may stand in it though the file's name has the same word.
_FORMAT_WORDS = re.compile(
    r"absent|another|ascii|axes|axis|block|byte|bytes|cannot|content|data|detached|dimension"
    r"|directions|encoding|endian|field|file|files|gzip|header|hex|inside|kinds|line|lines|nan"
    r"|none|nrrd|numbers|only|origin|raw|scan|sizes|skip|space|spacing|spacings|spatial|three"
    r"|type|valid|vectors|volume|volumes|voxel|voxels|with",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(19|20)\d\d[-_./](0?[1-9]|1[0-2])[-_./](0?[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True, kw_only=True)
class Passport:
    """One volume's verdict, and what it rests on."""

    volume: str  # first 16 hex digits of its content's hash
    patient: str  # a pseudonym, as are the next two
    session: str
    site: str
    verdict: str
    reason: str = ""  # one sentence; empty when accepted
    also: tuple[str, ...] = ()  # what else is suspect, one sentence each
    measured: Measured | None = None  # None: refused
    voxels: str = ""  # first 16 hex digits of the hash of what it shows, however that was written
    file: str = ""  # digest of its file, by which snapshots list it
    thumbnail: str = ""  # PNG of 288 x 96 pixels in base64: coronal, sagittal, axial


def accepted_or_suspect(
    entry: VolumeEntry, volume: Volume, anatomy: Anatomy, content_hash: str, cuts: Sequence[Cut]
) -> Passport:
    """Return the passport of a volume that was cut; the entry holds pseudonyms."""
    measured = measure(volume, anatomy, cuts)
    found = suspicions(measured)
    return Passport(
        volume=content_hash[:16],
        patient=entry.patient,
        session=entry.session,
        site=entry.site,
        verdict=SUSPECT if found else ACCEPT,
        reason=found[0] if found else "",
        also=tuple(found[1:]),
        measured=measured,
        voxels=shown_hash(volume),
        file=entry.digest,
        thumbnail=thumbnail(volume, anatomy),
    )


def shown_hash(volume: Volume) -> str:
    """Return the hash of voxels and of where their file says they lie: one scan in two encodings has one.

    What a run assumed of a file that says spacings alone is left out, or another `missing_geometry` would
    make another scan of the same bytes.
    """
    voxels_XYZ = volume.data_XYZ.astype(volume.data_XYZ.dtype.newbyteorder("<"), order="C", copy=False)
    place = np.round(volume.affine, 4) + 0.0
    if volume.orientation != HEADER:
        place = np.round([voxels_XYZ.shape, np.linalg.norm(volume.affine[:3, :3], axis=0)], 4)
    return hashlib.sha256(voxels_XYZ.tobytes() + place.tobytes()).hexdigest()[:16]


def refused(entry: VolumeEntry, reason: str, content_hash: str = "") -> Passport:
    """Return the passport of a volume that could not be read or cut; the reason loses the file's name.

    Where the content's hash is not known, that of the snapshot's digest stands for it.
    """
    return Passport(
        volume=(content_hash or hashlib.sha256(entry.digest.encode()).hexdigest())[:16],
        patient=entry.patient,
        session=entry.session,
        site=entry.site,
        verdict=REFUSE,
        reason=without_names(reason, entry.name),
        file=entry.digest,
    )


def measure(volume: Volume, anatomy: Anatomy, cuts: Sequence[Cut]) -> Measured:
    """Return what a passport says of a volume's geometry, grey levels, symmetry and content."""
    axes = volume.affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    codes, oblique_deg = axis_codes(volume.affine)
    found = mirrors(volume.data_XYZ, np.linalg.inv(axes))
    scores = _three([each.score for each in found], 3)
    told = clear_axis(scores)
    middle = axes @ ((np.array(volume.data_XYZ.shape) - 1) / 2) + volume.affine[:3, 3]
    first, second, third = volume.data_XYZ.shape
    return Measured(
        sizes=(first, second, third),
        spacing_mm=_three(spacing, 4),
        axes=codes,
        oblique_deg=round(oblique_deg, 1),
        handedness="right" if np.linalg.det(axes) > 0 else "left",
        affine=tuple(tuple(round(float(value), 6) + 0.0 for value in row) for row in volume.affine),
        orientation=volume.orientation,
        origin_distance_mm=round(float(np.linalg.norm(middle)), 1),
        centre_voxels=_three(anatomy.centre, 2),
        radius_mm=round(float(anatomy.radius_mm), 2),
        grey_window=(_six_digits(anatomy.low), _six_digits(anatomy.high)),
        tissue=_six_digits(anatomy.tissue),
        replaced=volume.replaced,
        notes=volume.notes,
        mirror=scores,
        tilt_deg=_three([each.tilt_deg for each in found], 1),
        left_right="" if told is None else "RAS"[told],
        header_agrees=None if told is None else told == 0,
        planes=len(cuts),
        profile={name: content_profile(cuts, name) for name in (CORONAL, SAGITTAL)},
        padding=padding_of(volume.data_XYZ),
        yaw_deg=round(abs(found[0].turn_deg), 1),
        steepest_deg=max((abs(float(angle)) for _, angle, _, _ in cuts), default=0.0),
    )


def axis_codes(affine: NDArray[np.floating[Any]]) -> tuple[str, float]:
    """Return where each array axis runs to, like PSR, and the largest angle to it in degrees."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = max(permutations(range(3)), key=lambda rows: sum(abs(directions[rows, (0, 1, 2)])))
    along = directions[order, (0, 1, 2)]
    letters = [("LR", "PA", "IS")[row][int(value > 0)] for row, value in zip(order, along, strict=True)]
    return "".join(letters), float(np.degrees(np.arccos(np.clip(np.abs(along).min(), 0, 1))))


def content_profile(cuts: Iterable[Cut], name: str) -> tuple[tuple[float, float], ...]:
    """Return (offset, content) of one class's planes at the angle nearest to 0, by offset."""
    mine = [cut for cut in cuts if cut[0] == name]
    nearest = min((abs(angle), angle) for _, angle, _, _ in mine)[1] if mine else 0.0
    return tuple(
        sorted(
            (float(offset), round(float(share), 4)) for _, angle, offset, share in mine if angle == nearest
        )
    )


def without_names(text: str, name: str) -> str:
    """Return one line without a file's name, its parts, and dates; no refusal names a data file."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    base = "".join(sign if sign.isprintable() else " " for sign in PurePath(name).name)
    plain = plain.removeprefix(f"{name}: ").removeprefix(f"{base}: ")
    parts = [part for part in re.split(r"[\W_]+", PurePath(base).stem) if re.search("[^0-9]", part)]
    spoken = [part for part in parts if len(part) > 2 and not _FORMAT_WORDS.fullmatch(part)]
    hidden = [name, base, PurePath(base).stem, *spoken]
    for word in sorted((word for word in hidden if len(word) > 2), key=len, reverse=True):
        plain = re.sub(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", "(name)", plain, flags=re.IGNORECASE)
    return _DATE.sub("(date)", plain)


def write(path: Path, passports: Sequence[Passport]) -> None:
    """Write passports as one JSON file that is either whole or absent."""
    listed = [asdict(passport) for passport in passports]
    stored_json.write(path, listed)


def read(path: Path) -> list[Passport]:
    """Return the passports of a file, in its order."""
    try:
        return [parse(each) for each in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path.name}: {error}; valid: what extract_planes wrote") from error


def parse(value: Mapping[str, Any]) -> Passport:
    """Return the passport that `asdict` took apart and JSON carried."""
    measured = value["measured"]
    return Passport(
        **{
            **value,
            "also": tuple(value["also"]),
            "measured": None if measured is None else Measured(**_tuples(measured)),
        }
    )


def _tuples(value: Any) -> Any:
    """Return JSON's lists as tuples, however deep."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _six_digits(value: float) -> float:
    """Return a grey level as it is told: some scanners' are of a millionth."""
    return float(f"{value:.6g}") + 0.0


def _three(values: Sequence[float] | NDArray[Any], decimals: int) -> tuple[float, float, float]:
    first, second, third = (round(float(value), decimals) + 0.0 for value in values)
    return first, second, third
