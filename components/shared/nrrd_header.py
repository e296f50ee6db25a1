"""What an NRRD file says about its voxels, judged by its first 64 kB before any of them is read.

Which component is read: an axis of colours (RGB, RGBA) gives luminance, any other axis that is not spatial
(list, vector, time) its component 0. Complex numbers, matrices and other colour spaces are refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.arrays import Floats
from components.shared.nrrd_fields import Fields, quoted, read_fields
from components.shared.nrrd_geometry import REFUSE, read_geometry, require_policy

MAX_VOXELS = 2**29  # 512 million: 800 voxels along each axis
MAX_AXIS = 4096  # voxels along one: what is computed along an axis grows with its square
MAX_SKIP = 2**26  # bytes before the data, which a compressed file makes us inflate
MAX_LINES = 2**16  # before the data

_TYPES = {
    **dict.fromkeys(["signed char", "int8", "int8_t"], "i1"),
    **dict.fromkeys(["uchar", "unsigned char", "uint8", "uint8_t"], "u1"),
    **dict.fromkeys(["short", "short int", "signed short", "signed short int", "int16", "int16_t"], "i2"),
    **dict.fromkeys(["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"], "u2"),
    **dict.fromkeys(["int", "signed int", "int32", "int32_t"], "i4"),
    **dict.fromkeys(["uint", "unsigned int", "uint32", "uint32_t"], "u4"),
    **dict.fromkeys(
        [
            *("longlong", "long long", "long long int", "signed long long", "signed long long int"),
            *("int64", "int64_t"),
        ],
        "i8",
    ),
    **dict.fromkeys(
        ["ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"], "u8"
    ),
    "float": "f4",
    "double": "f8",
}
_ENCODINGS = {
    "raw": "raw",
    **dict.fromkeys(["gzip", "gz"], "gzip"),
    **dict.fromkeys(["bzip2", "bz2"], "bzip2"),
    **dict.fromkeys(["ascii", "text", "txt"], "ascii"),
    "hex": "hex",
}
_COLOURS = {"rgb-color": 3, "3-color": 3, "rgba-color": 4, "4-color": 4}
_COMPONENTS = {
    *("list", "point", "vector", "covariant-vector", "normal", "2-vector", "3-vector", "4-vector"),
    *("3-gradient", "3-normal", "scalar", "stub", "time", "domain", "space", "none", "???"),
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its voxels, once it has been found usable."""

    path: Path
    sizes: tuple[int, ...]
    spatial: tuple[int, int, int]  # which array axes are spatial
    colours: bool  # whether the axis that is not holds colours
    dtype: np.dtype[Any]  # as stored
    encoding: str  # raw, gzip, bzip2, ascii or hex
    affine: Floats  # 4 x 4, voxel index to RAS millimetres
    orientation: str  # whence: header, LPS, RAS; with symmetry only the affine's spacing counts
    line_skip: int
    byte_skip: int
    data_names: Sequence[str]  # empty: the voxels follow the header
    data_start: int  # where they do, in bytes
    notes: tuple[str, ...]  # what a reader of the volume should know, in words

    @property
    def data_bytes(self) -> int:
        """What the voxels of all components take."""
        return math.prod(self.sizes) * self.dtype.itemsize


def read_head(path: Path, head: bytes, missing_geometry: str = REFUSE) -> Header:
    """Judge a file by its first 64 kB alone; of the path only the name counts, nothing is opened.

    InputError says in one line what is wrong and how to mend it.
    """
    require_policy(missing_geometry)
    fields = read_fields(path, head)
    sizes = _sizes(fields)
    geometry = read_geometry(fields, missing_geometry)
    dtype = _dtype(fields)
    colours, note = _component(fields, geometry.spatial, dtype)
    line_skip, byte_skip = _skips(fields)
    _require_shares(fields, sizes)
    return Header(
        path=path,
        sizes=sizes,
        spatial=geometry.spatial,
        colours=colours,
        dtype=dtype,
        encoding=fields.choice("encoding", _ENCODINGS),
        affine=geometry.affine,
        orientation=geometry.orientation,
        line_skip=line_skip,
        byte_skip=byte_skip,
        data_names=fields.data_names,
        data_start=0 if fields.data_names else fields.data_start,
        notes=(*fields.notes, *geometry.notes, *note),
    )


def _sizes(fields: Fields) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in fields.values.get("sizes", ()))
    dimension = fields.values.get("dimension", "absent")
    shown = f"{' '.join(map(str, sizes)) or 'absent'} (dimension {dimension})"
    if len(sizes) != dimension or len(sizes) not in (3, 4) or min(sizes) < 1:
        raise fields.fault("sizes", shown, "three spatial axes, and at most one of components")
    if math.prod(sizes) > MAX_VOXELS:
        raise fields.fault("sizes", shown, f"at most {MAX_VOXELS} voxels; resample the volume")
    if max(sizes) > MAX_AXIS:
        raise fields.fault("sizes", shown, f"at most {MAX_AXIS} voxels along an axis; resample the volume")
    return sizes


def _dtype(fields: Fields) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(fields.choice("type", _TYPES))
    if dtype.itemsize == 1 or fields.choice("encoding", _ENCODINGS) == "ascii":
        return dtype
    return dtype.newbyteorder(fields.choice("endian", {"little": "<", "big": ">"}))


def _component(fields: Fields, spatial: Sequence[int], dtype: np.dtype[Any]) -> tuple[bool, Sequence[str]]:
    """Return whether the axis that is not spatial holds colours, and what a reader should know of it."""
    sizes = fields.values["sizes"]
    exact = dtype.kind == "f" or dtype.itemsize < 8  # a mean of 64-bit numbers is not, in double precision
    for axis in set(range(len(sizes))) - set(spatial):
        kind = str(fields.values["kinds"][axis]).lower() if "kinds" in fields.values else "none"
        if exact and sizes[axis] == _COLOURS.get(kind):
            return True, [f"luminance of {'RGBA'[: sizes[axis]]} was read"]
        if kind not in _COMPONENTS:
            valid = "list, vector, time, RGB-color (3), RGBA-color (4); or store one component alone"
            raise fields.fault("kinds", f"{quoted(kind)} ({sizes[axis]} of {dtype.name})", valid)
        return False, [f"component 0 of {sizes[axis]} was read"] if sizes[axis] > 1 else []
    return False, []


def _skips(fields: Fields) -> tuple[int, int]:
    lines, skipped = (int(fields.values.get(name, 0)) for name in ("line skip", "byte skip"))
    if not 0 <= lines <= MAX_LINES:
        raise fields.fault("line skip", lines, f"0 to {MAX_LINES}")
    least = -1 if fields.choice("encoding", _ENCODINGS) == "raw" else 0
    if not least <= skipped <= MAX_SKIP:
        raise fields.fault("byte skip", skipped, f"0 to {MAX_SKIP}, or -1 with encoding raw")
    return lines, skipped


def _require_shares(fields: Fields, sizes: Sequence[int]) -> None:
    """Hold several data files to what each should hold: equal shares, slices unless subdim says otherwise."""
    files, dimension = len(fields.data_names), len(sizes)
    if files < 2 and fields.subdim is None:
        return
    subdim = dimension - 1 if fields.subdim is None else fields.subdim
    slabs = subdim == dimension and sizes[-1] % files == 0
    if not slabs and not (1 <= subdim < dimension and math.prod(sizes[subdim:]) == files):
        valid = "as many files as sizes and subdim ask for"
        raise fields.fault("data file", f"{files} files, each of dimension {subdim}", valid)
