"""NRRD volumes: the header is judged before a voxel is read, and the geometry becomes one RAS affine.

    data_XYZ    voxels in the file's own axis order, native byte order, finite
    affine      4 x 4, voxel index to millimetres; +x right, +y anterior, +z superior (RAS)

Of several components one is read: the luminance of colours (RGB and RGBA, Rec. 601, rounded to the stored
type), component 0 of lists, vectors and time. No read takes more than twice the memory of what is stored.

    nrrd_fields.py      what the header says        nrrd_header.py    whether it can be used
    nrrd_geometry.py    where the voxels lie        nrrd_data.py      the voxels
"""

import errno
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from components.shared.arrays import Floats
from components.shared.nrrd_data import find_data, read_data
from components.shared.nrrd_fields import MAX_HEADER, data_files, fault
from components.shared.nrrd_geometry import HEADER, REFUSE, SYMMETRY, by_symmetry
from components.shared.nrrd_header import Header, read_head
from components.shared.symmetry import mirror_scores

__all__ = [
    "MAX_HEADER",
    "Header",
    "Volume",
    "data_files",
    "read_head",
    "read_header",
    "read_volume",
    "write_volume",
]

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R Rec. 601
# What is computed with voxels is computed in float32, squares and sums of them too.
MAX_GREY = 1e15
MIN_GREY = 1e-15  # of the voxel that is farthest from 0, unless all are 0
_IN_RANGE = f"voxels within ±{MAX_GREY:g}, and not all closer to 0 than {MIN_GREY:g}; scale them"
_MOST_BEYOND = 0.1  # share of the voxels: fewer are slips of a scanner, more a picture in other units
_AT_A_TIME = 2**15  # voxels whose colours are mixed
# Of a file, or of the link that is in its place; whatever else is refused is the disk's fault.
_OF_THE_FILE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels and where they lie in the patient."""

    data_XYZ: NDArray[Any]  # noqa: N815
    affine: Floats
    replaced: int = 0  # voxels that were NaN, infinite or beyond MAX_GREY, and took the minimum
    orientation: str = HEADER  # where it came from: header, LPS, RAS or symmetry
    notes: tuple[str, ...] = ()  # what a reader should know, in words; nothing that names a patient


def read_volume(path: Path, missing_geometry: str = REFUSE) -> Volume:
    """Read a volume, or raise InputError with one line that says what is wrong and how to mend it.

    missing_geometry: refuse, LPS, RAS or symmetry; see nrrd_geometry.py.
    """
    header = read_header(path, missing_geometry)
    stored, notes = read_data(header)
    voxels_XYZ = _luminance(header, stored) if header.colours else _first_component(header, stored)
    del stored  # before anything else is allocated
    replaced = _make_finite(path, voxels_XYZ)
    notes = [*header.notes, *notes]
    affine = header.affine
    if replaced:
        notes.append(f"{replaced} voxels were no numbers within ±{MAX_GREY:g} and took the minimum")
    if header.orientation == SYMMETRY:
        spacing = np.diag(affine)[:3].tolist()
        affine, note = by_symmetry(path, affine, mirror_scores(voxels_XYZ, spacing))
        notes.append(note)
    return Volume(
        data_XYZ=voxels_XYZ,
        affine=affine,
        replaced=replaced,
        orientation=header.orientation,
        notes=tuple(notes),
    )


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume as a gzipped NRRD, its affine expressed in left-posterior-superior.

    Equal volumes give equal files: the comment in which pynrrd puts the time of day is left out.
    """
    directions_and_origin = np.array([[-1.0], [-1.0], [1.0]]) * volume.affine[:3]
    header = {
        "space": "left-posterior-superior",
        "space directions": directions_and_origin[:, :3].T,
        "space origin": directions_and_origin[:, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pynrrd 1.1.3 asks for the time by utcnow
        nrrd.write(buffer, np.asarray(volume.data_XYZ), header, index_order="F", compression_level=6)
    head, _, data = buffer.getvalue().partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if not line.startswith(b"#")]
    path.write_bytes(b"\n".join(kept) + b"\n\n" + data)


def read_header(path: Path, missing_geometry: str = REFUSE) -> Header:
    """Judge a file by its first 64 kB and by where its data lie and how large they are; no voxel is read."""
    try:
        with path.open("rb") as file:
            header = read_head(path, file.read(MAX_HEADER), missing_geometry)
    except OSError as error:
        if error.errno not in _OF_THE_FILE:
            raise
        raise fault(path, "file", error.strerror, "a file that can be read") from None
    find_data(header)
    return header


def _first_component(header: Header, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the voxels themselves, or a copy of component 0 that lets go of the others."""
    if stored.ndim == len(header.spatial):
        return stored
    return stored[tuple(slice(None) if axis in header.spatial else 0 for axis in range(stored.ndim))].copy(
        "F"
    )


def _luminance(header: Header, stored: NDArray[Any]) -> NDArray[Any]:
    """Return colours as grey in the stored type, a few slices at a time."""
    (axis,) = set(range(stored.ndim)) - set(header.spatial)
    colours_CXYZ = np.moveaxis(stored, axis, 0)
    grey_XYZ = np.empty(colours_CXYZ.shape[1:], stored.dtype, order="F")
    longest = int(np.argmax(grey_XYZ.shape))
    colours, grey = np.moveaxis(colours_CXYZ, longest + 1, 1), np.moveaxis(grey_XYZ, longest, 0)
    step = max(1, _AT_A_TIME * len(grey) // grey.size)
    for first in range(0, len(grey), step):
        part = colours[:3, first : first + step]
        with np.errstate(all="ignore"):  # infinite minus infinite is dealt with later
            mixed = sum(weight * colour for weight, colour in zip(_LUMINANCE, part, strict=True))
        grey[first : first + step] = mixed if stored.dtype.kind == "f" else np.rint(mixed)
    return grey_XYZ


def _make_finite(path: Path, voxels_XYZ: NDArray[Any]) -> int:
    """Give what is no number in range the minimum, in place, and return how many voxels that were."""
    if voxels_XYZ.dtype.kind != "f" and voxels_XYZ.dtype.itemsize < 8:
        return 0
    usable = voxels_XYZ >= -MAX_GREY
    usable &= voxels_XYZ <= MAX_GREY
    lost = usable.size - int(np.count_nonzero(usable))
    if lost:
        _require_few(path, voxels_XYZ, lost)
        lowest = voxels_XYZ.min(where=usable, initial=int(MAX_GREY))
        np.copyto(voxels_XYZ, lowest, where=np.logical_not(usable, out=usable))
    largest = max(abs(float(voxels_XYZ.min())), abs(float(voxels_XYZ.max())))
    if 0 < largest < MIN_GREY:
        raise fault(path, "data", f"no voxel farther from 0 than {largest:g}", _IN_RANGE)
    return lost


def _require_few(path: Path, voxels_XYZ: NDArray[Any], lost: int) -> None:
    """Refuse a volume none of whose voxels is a number in range, or many of whose are too large."""
    if lost == voxels_XYZ.size:
        raise fault(path, "data", "no voxel is a number in range", _IN_RANGE)
    beyond = int(np.count_nonzero(np.isfinite(voxels_XYZ))) - (voxels_XYZ.size - lost)
    if beyond > _MOST_BEYOND * voxels_XYZ.size:
        shown = f"{100 * beyond / voxels_XYZ.size:.0f} % of the voxels are larger"
        raise fault(path, "data", shown, _IN_RANGE)
