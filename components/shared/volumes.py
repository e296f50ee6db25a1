"""NRRD volumes: the header is judged before a voxel is read, and the geometry becomes one RAS affine.

    data_XYZ    voxels in the file's own axis order, native byte order, finite
    affine      4 x 4, voxel index to millimetres; +x right, +y anterior, +z superior (RAS)

pynrrd parses and writes headers. Payloads are decoded here, because pynrrd inflates without a bound, reads
detached files from anywhere and knows neither hex nor several data files. Axes that are not spatial (lists,
colours, time) give their component 0.
"""

import bz2
import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from components.shared.faults import InputError

MAGIC = b"NRRD000"
MAX_HEADER = 64 * 1024  # bytes
MAX_VOXELS = 2**29  # 512 million: 800 voxels along each axis
MAX_SPACING_MM = 100.0
MAX_SKIP = 2**26  # bytes before the data, which a compressed file makes us inflate

_TYPES = {
    **dict.fromkeys(["signed char", "int8", "int8_t"], "i1"),
    **dict.fromkeys(["uchar", "unsigned char", "uint8", "uint8_t"], "u1"),
    **dict.fromkeys(["short", "short int", "signed short", "signed short int", "int16", "int16_t"], "i2"),
    **dict.fromkeys(["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"], "u2"),
    **dict.fromkeys(["int", "signed int", "int32", "int32_t"], "i4"),
    **dict.fromkeys(["uint", "unsigned int", "uint32", "uint32_t"], "u4"),
    **dict.fromkeys(["longlong", "long long", "long long int", "signed long long", "int64", "int64_t"], "i8"),
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
# Signs that turn a space's three axes into right, anterior, superior.
_SPACES = {
    **dict.fromkeys(["right-anterior-superior", "ras"], (1.0, 1.0, 1.0)),
    **dict.fromkeys(["left-anterior-superior", "las"], (-1.0, 1.0, 1.0)),
    **dict.fromkeys(["left-posterior-superior", "lps"], (-1.0, -1.0, 1.0)),
}
_MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}
# What pynrrd's parsers raise on headers that break the format, StopIteration for an empty one.
_PARSE_ERRORS = (nrrd.NRRDError, ValueError, LookupError, ArithmeticError, TypeError, StopIteration)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its voxels, once it has been found usable."""

    path: Path
    sizes: tuple[int, ...]
    spatial: tuple[int, int, int]  # which array axes are spatial
    dtype: np.dtype[Any]
    encoding: str
    affine: NDArray[np.float64]
    line_skip: int
    byte_skip: int
    data_files: tuple[Path, ...]  # empty: the voxels follow the header
    data_start: int  # where they do, in bytes


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels and where they lie in the patient."""

    data_XYZ: NDArray[Any]  # noqa: N815
    affine: NDArray[np.float64]
    replaced: int = 0  # voxels that were NaN or infinite and took the minimum


def read_volume(path: Path) -> Volume:
    """Read a volume, or raise InputError with one line that says what is wrong and how to mend it."""
    header = read_header(path)
    data = np.frombuffer(_payload(header), header.dtype).reshape(header.sizes, order="F")
    component = tuple(slice(None) if axis in header.spatial else 0 for axis in range(data.ndim))
    native = data[component].astype(header.dtype.newbyteorder("="), copy=False)
    finite, replaced = _finite(path, native)
    return Volume(data_XYZ=finite, affine=header.affine, replaced=replaced)


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


def read_header(path: Path) -> Header:
    """Judge a file by its first 64 kB; no voxel is read."""
    with path.open("rb") as file:
        fields, start = _fields(path, file.read(MAX_HEADER))
    header = Header(
        path=path,
        sizes=_sizes(path, fields),
        spatial=(0, 1, 2),
        dtype=_dtype(path, fields),
        encoding=_choice(path, fields, "encoding", _ENCODINGS),
        affine=np.eye(4),
        line_skip=int(fields.get("line skip", fields.get("lineskip", 0))),
        byte_skip=int(fields.get("byte skip", fields.get("byteskip", 0))),
        data_files=tuple(_inside(path, name) for name in _data_files(path, fields)),
        data_start=start,
    )
    if header.line_skip < 0 or not -1 <= header.byte_skip <= MAX_SKIP:
        skips = f"{header.line_skip} and {header.byte_skip}"
        raise _fault(path, "line skip, byte skip", skips, f"0 or more, and -1 to {MAX_SKIP}")
    directions, spatial = _directions(path, fields, len(header.sizes))
    return replace(header, spatial=spatial, affine=_affine(path, fields, directions))


def data_files(path: Path, head: bytes) -> Sequence[str]:
    """Return the names of the files that a volume's first 64 kB say hold its voxels; none: its own file."""
    return _data_files(path, _fields(path, head)[0])


def _fault(path: Path, field: str, value: object, valid: str) -> InputError:
    shown = str(value).replace("\n", " ")
    return InputError(
        f"{path.name}: {field}: {shown if len(shown) < 120 else shown[:117] + '...'}; valid: {valid}"
    )


def _fields(path: Path, head: bytes) -> tuple[Mapping[str, Any], int]:
    if not head.startswith(MAGIC):
        raise _fault(path, "first bytes", repr(head[:8])[1:], "an NRRD file, which begins with NRRD000")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and len(head) == MAX_HEADER:
        raise _fault(
            path, "header", "no end in the first 64 kB", "a header of at most 64 kB and an empty line"
        )
    text = head[: end.start() if end else len(head)].decode("ascii", "ignore")
    lines = [line for line in text.splitlines() if not re.match(r"[^:]*:=", line)]  # keys may name a patient
    try:
        with np.errstate(all="raise"):  # sizes of nan
            return nrrd.read_header(lines), end.end() if end else len(head)
    except _PARSE_ERRORS as error:
        raise _fault(
            path, "header", error, "a header that follows the NRRD format, each field once"
        ) from error


def _choice(path: Path, fields: Mapping[str, Any], name: str, valid: Mapping[str, Any]) -> Any:
    value = str(fields.get(name, "absent"))
    if value.lower() not in valid:
        raise _fault(path, name, value, ", ".join(valid))
    return valid[value.lower()]


def _sizes(path: Path, fields: Mapping[str, Any]) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in fields.get("sizes", ()))
    if len(sizes) != fields.get("dimension") or len(sizes) not in (3, 4) or min(sizes) < 1:
        shown = (
            f"dimension {fields.get('dimension', 'absent')}, sizes {' '.join(map(str, sizes)) or 'absent'}"
        )
        raise _fault(path, "sizes", shown, "three spatial axes, and at most one of components")
    if math.prod(sizes) > MAX_VOXELS:
        raise _fault(
            path, "sizes", " ".join(map(str, sizes)), f"at most {MAX_VOXELS} voxels; resample the volume"
        )
    return sizes


def _dtype(path: Path, fields: Mapping[str, Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(_choice(path, fields, "type", _TYPES))
    plain = _choice(path, fields, "encoding", _ENCODINGS) == "ascii"
    if dtype.itemsize == 1 or plain:
        return dtype
    endian = _choice(path, fields, "endian", {"little": "<", "big": ">"})
    return dtype.newbyteorder(endian)


def _directions(
    path: Path, fields: Mapping[str, Any], dimension: int
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Return one RAS vector a spatial axis, and which axes are spatial."""
    remedy = "space (RAS, LAS or LPS) and space directions; export the volume again with its orientation"
    if "space" not in fields or "space directions" not in fields:
        missing = "absent" if "space" in fields else "absent, so left and right are unknown"
        raise _fault(path, "space directions" if "space" in fields else "space", missing, remedy)
    name = str(fields["space"]).lower()
    signs = np.array(_choice(path, {"space": name.removesuffix("-time").removesuffix("t")}, "space", _SPACES))
    vectors = np.asarray(fields["space directions"], float)
    if vectors.ndim != 2 or vectors.shape[0] != dimension or vectors.shape[1] < 3:
        raise _fault(
            path, "space directions", vectors.tolist(), f"{dimension} vectors of three numbers, or none"
        )
    kinds = fields.get("kinds", ["???"] * dimension)
    axes = [i for i in range(dimension) if _is_spatial(kinds[i : i + 1], vectors[i])]
    if len(axes) != 3:
        raise _fault(path, "space directions", vectors.tolist(), "three spatial axes; none for the others")
    return vectors[axes, :3] * signs, (axes[0], axes[1], axes[2])


def _is_spatial(kind: Sequence[str], vector: NDArray[np.float64]) -> bool:
    if kind and kind[0] in ("domain", "space"):
        return True
    only_time = len(vector) == 4 and vector[3] != 0 and not vector[:3].any()
    return bool(not np.isnan(vector).all() and not only_time)


def _affine(path: Path, fields: Mapping[str, Any], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    spacing = np.linalg.norm(directions, axis=1)
    if not (np.isfinite(spacing).all() and (spacing > 0).all() and (spacing <= MAX_SPACING_MM).all()):
        raise _fault(
            path, "space directions", f"spacing {spacing.tolist()}", f"above 0, up to {MAX_SPACING_MM} mm"
        )
    if abs(np.linalg.det(directions / spacing[:, None])) < 1e-3:
        raise _fault(path, "space directions", directions.tolist(), "three vectors that span a volume")
    units = [str(unit).lower() for unit in fields.get("space units", [])]
    if not set(units) <= _MILLIMETRES:
        raise _fault(path, "space units", " ".join(units), "mm")
    signs = np.array(_SPACES[str(fields["space"]).lower().removesuffix("-time").removesuffix("t")])
    origin = np.asarray(fields.get("space origin", np.zeros(3)), float)
    if origin.size < 3 or not np.isfinite(origin[:3]).all():
        raise _fault(path, "space origin", origin.tolist(), "three finite numbers")
    affine = np.eye(4)
    affine[:3, :3] = directions.T  # pynrrd's rows are the affine's columns
    affine[:3, 3] = origin[:3] * signs
    return affine


def _data_files(path: Path, fields: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the detached files that hold a header's voxels."""
    value = fields.get("data file", fields.get("datafile"))
    if value is None:
        return ()
    words = str(value).split() or [""]
    if words[:1] == ["LIST"]:
        raise _fault(
            path, "data file", value, "one file, or a pattern with its range (slice_%03d.raw 1 90 1)"
        )
    try:
        return [str(value)] if "%" not in words[0] else [words[0] % i for i in _range(words[1:4])]
    except (TypeError, ValueError) as error:
        raise _fault(path, "data file", value, "a pattern with one number and its range") from error


def _range(words: Sequence[str]) -> range:
    first, last, step = (int(word) for word in words)
    numbers = range(first, last + (1 if step > 0 else -1), step)
    if not 0 < len(numbers) <= 65536:
        raise ValueError(f"{len(numbers)} files")
    return numbers


def _inside(path: Path, name: str) -> Path:
    """Refuse what lies outside the header's folder: a volume must not show another file as pixels."""
    folder = path.parent.resolve()
    file = (path.parent / name).resolve()
    if not file.is_relative_to(folder):
        raise _fault(path, "data file", name, "a file in the folder of its header")
    if not file.is_file():
        raise _fault(path, "data file", name, "a file that exists beside its header")
    return file


def _payload(header: Header) -> bytes:
    """Return exactly the voxels' bytes in memory order."""
    expected = math.prod(header.sizes) * header.dtype.itemsize
    sources = header.data_files or (header.path,)
    share = expected // len(sources)  # each of several files holds an equal share
    data = b"".join(_decode(header, source, share) for source in sources)
    if len(data) != expected:
        valid = f"{expected} bytes, as sizes and type say; copy or export the file again"
        raise _fault(header.path, "data", f"{len(data)} bytes", valid)
    return data


def _decode(header: Header, source: Path, expected: int) -> bytes:
    """Return the voxels of one source; a byte too many or too few is left for the caller to see."""
    with source.open("rb") as file:
        file.seek(0 if header.data_files else header.data_start)
        for _ in range(header.line_skip):
            if not file.readline():
                break
        if header.encoding == "raw":
            if header.byte_skip == -1:
                file.seek(max(0, source.stat().st_size - expected))
            else:
                file.seek(header.byte_skip, 1)
            return file.read(expected + 1)
        skip = max(0, header.byte_skip)
        if header.encoding in ("gzip", "bzip2"):
            parts = _inflate(header, iter(lambda: file.read(1 << 20), b""), skip + expected + 1)
            data = b"".join(parts)
            return data[skip:]
        file.seek(skip, 1)
        # A number in text takes at most some 32 characters: more is not this volume.
        return _from_text(header, file.read(32 * expected // header.dtype.itemsize + 64))


def _inflate(header: Header, chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Yield inflated bytes, never more than the limit in all."""
    try:
        stream: Any = (
            zlib.decompressobj(zlib.MAX_WBITS | 16) if header.encoding == "gzip" else bz2.BZ2Decompressor()
        )
        for chunk in chunks:
            part = stream.decompress(chunk, limit)
            limit -= len(part)
            yield part
            if limit <= 0 or stream.eof:
                return
    except (zlib.error, OSError, EOFError, ValueError) as error:
        raise _fault(
            header.path, "data", f"broken {header.encoding} ({error})", "an intact file; copy it again"
        ) from error


def _from_text(header: Header, text: bytes) -> bytes:
    try:
        if header.encoding == "hex":
            return bytes.fromhex(text.decode("ascii"))
        return np.array(text.split(), dtype=header.dtype).tobytes()
    except (ValueError, OverflowError) as error:
        raise _fault(
            header.path, "data", error, f"numbers of the type {header.dtype} in {header.encoding}"
        ) from error


def _finite(path: Path, data: NDArray[Any]) -> tuple[NDArray[Any], int]:
    if data.dtype.kind != "f":
        return data, 0
    usable = np.isfinite(data)
    if not usable.any():
        raise _fault(path, "data", "no finite voxel", "at least one finite voxel")
    if usable.all():
        return data, 0
    return np.where(usable, data, data[usable].min()), int((~usable).sum())
