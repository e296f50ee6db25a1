"""The voxels of an NRRD file, decoded piece by piece into one array that is made once.

Python's zlib and bz2 inflate. pynrrd would hold the file, its inflated bytes and the array at a time,
inflates without a bound, opens detached files anywhere, and knows neither hex nor several data files.
"""

import bz2
import os
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from components.shared.nrrd_fields import ending, fault, require_beside
from components.shared.nrrd_header import Header

MAX_RATIO = 1032  # of inflated to compressed bytes: DEFLATE reaches no more, and bzip2 of anatomy far less

_PIECE = 2**17  # bytes held at a time beside the array
_SLACK = 2**20  # bytes of a compressed file beyond what voxels could ever take
_LONGEST_NUMBER = 64  # characters
_STREAMS: Mapping[str, tuple[bytes, Callable[[], Any]]] = {  # how one begins, what inflates it
    "gzip": (b"\x1f\x8b", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    "bzip2": (b"BZh", bz2.BZ2Decompressor),
}
_TO_BLANKS = bytes.maketrans(b"\t\n\v\f\r,", b"      ")
_BROKEN = (zlib.error, OSError, ValueError, ArithmeticError)


def read_data(header: Header) -> tuple[NDArray[Any], Sequence[str]]:
    """Return the voxels in native byte order, shaped as `sizes`, and notes for a reader of the volume."""
    sources = find_data(header)
    stored = np.empty(header.data_bytes // header.dtype.itemsize, header.dtype)
    buffer = stored.view(np.uint8).data
    share = len(buffer) // len(sources)
    extra = sum(
        _decode(header, source, buffer[number * share : (number + 1) * share])
        for number, source in enumerate(sources)
    )
    if not stored.dtype.isnative:
        stored = stored.byteswap(inplace=True).view(stored.dtype.newbyteorder("="))
    notes = [f"{extra} bytes after the data were ignored"] if extra else []
    return stored.reshape(header.sizes, order="F"), notes


def find_data(header: Header) -> Sequence[Path]:
    """Return the files that hold the voxels: inside the header's folder, and large enough; none is read."""
    sources = [_inside(header.path, name) for name in header.data_names] or [header.path]
    share = header.data_bytes // len(sources)
    for source in sources:
        size = source.stat().st_size - header.data_start
        least = _least(header, share)
        if size < least:
            held = f"{max(0, size)} bytes of {header.encoding}"
            valid = f"at least {least} bytes; the file is truncated or sizes are wrong"
            shown = f"{held} cannot hold the {share} that sizes and type ask for"
            raise fault(header.path, "data", shown, valid)
        most = 2 * share + header.byte_skip + _SLACK
        if header.encoding in _STREAMS and size > most:  # or endless empty streams would keep us
            raise fault(
                header.path, "data", f"{size} bytes of {header.encoding}", f"at most {most}; mend sizes"
            )
    return sources


def _least(header: Header, voxels: int) -> int:
    """Return how many bytes of a file so many bytes of voxels take at the very least."""
    if header.encoding in _STREAMS:
        return -(-voxels // MAX_RATIO)
    if header.encoding == "ascii":
        return 2 * voxels // header.dtype.itemsize - 1
    return voxels * 2 if header.encoding == "hex" else voxels + max(0, header.byte_skip)


def _inside(path: Path, name: str) -> Path:
    """Refuse what lies outside the header's folder: a volume must not show another file as pixels."""
    require_beside(path, name)
    shown = ending(name)
    try:
        file = (path.parent / name).resolve()
        there = file.is_file() and os.access(file, os.R_OK)
        inside = file.parent == path.parent.resolve()  # not below it: a snapshot lists one folder
    except (OSError, ValueError, RuntimeError):  # a name too long, with a null, a circle of links
        there = inside = False
    if there and inside:
        require_beside(path, file.name)  # where a link leads
    if there and not inside:
        raise fault(
            path, "data file", f"{shown} (a link that leads elsewhere)", "a file in the folder of its header"
        )
    if not there:
        raise fault(
            path, "data file", f"{shown} (not there, or not readable)", "a file that exists beside its header"
        )
    return file


def _decode(header: Header, source: Path, into: memoryview) -> int:
    """Fill a buffer with one file's voxels and return how many bytes of the file came after them."""
    size, slice_size = len(into), header.data_bytes // header.sizes[-1]
    with source.open("rb") as file:
        file.seek(header.data_start)
        skip = _skip(header, file, size)
        try:
            found = _fill(into, _pieces(header, file), skip, size + slice_size)
        except EOFError:
            raise fault(header.path, "data", f"truncated {header.encoding}", _whole(size)) from None
        except _BROKEN as error:  # whose own words may quote the data
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, and not the file's
            raise fault(header.path, "data", f"broken {header.encoding}", _whole(size)) from None
        after = os.fstat(file.fileno()).st_size - file.tell()
    if found < size:
        raise fault(header.path, "data", f"truncated, {max(0, found)} of {size} bytes", _whole(size))
    if found - size >= slice_size:
        shown = f"at least {found} bytes, a slice or more than sizes and type say"
        raise fault(header.path, "data", shown, f"{size} bytes; mend sizes or type")
    return found - size + after


def _whole(size: int) -> str:
    return f"{size} bytes, as sizes and type say; copy or export the file again"


def _skip(header: Header, file: BinaryIO, size: int) -> int:
    """Move on to the data and return how many bytes of it, once inflated, are still to be dropped."""
    lines = header.line_skip
    while lines and (part := file.readline(_PIECE)):
        lines -= part.endswith(b"\n")
    if header.encoding in _STREAMS:
        return header.byte_skip
    if header.byte_skip == -1:
        file.seek(-size, os.SEEK_END)
    else:
        file.seek(header.byte_skip, os.SEEK_CUR)
    return 0


def _fill(into: memoryview, pieces: Iterator[bytes], skip: int, limit: int) -> int:
    """Copy decoded pieces into a buffer and return how many bytes there were, up to some limit."""
    at = -skip
    for piece in pieces:
        if at + len(piece) > 0:
            part = piece[max(0, -at) : max(0, len(into) - at)]
            into[max(0, at) : max(0, at) + len(part)] = part
        at += len(piece)
        if at >= limit:
            break
    return at


def _pieces(header: Header, file: BinaryIO) -> Iterator[bytes]:
    if header.encoding in _STREAMS:
        return _inflated(file, *_STREAMS[header.encoding])
    if header.encoding == "hex":
        return _from_hex(file)
    return _from_ascii(file, header.dtype) if header.encoding == "ascii" else _read_on(file)


def _read_on(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE), b"")


def _inflated(file: BinaryIO, magic: bytes, start: Callable[[], Any]) -> Iterator[bytes]:
    """Yield what a file's streams hold, one after the other, and leave the file where the last one ends."""
    held = file.read(_PIECE)
    if not held.startswith(magic):
        raise ValueError("it does not begin as such")
    while held.startswith(magic):
        held = yield from _one_stream(file, start(), held)
        if len(held) < len(magic):
            held += file.read(_PIECE)
    file.seek(-len(held), os.SEEK_CUR)


def _one_stream(file: BinaryIO, stream: Any, held: bytes) -> Generator[bytes, None, bytes]:
    """Yield one stream inflated and return what was read of the file after its end."""
    idle = False
    while not stream.eof:
        if idle and not held:
            held = file.read(_PIECE)
            if not held:
                raise EOFError
        piece = stream.decompress(held, _PIECE)
        held = getattr(stream, "unconsumed_tail", b"")  # bz2 keeps for itself what it has not used
        idle = len(piece) < _PIECE
        yield piece
    after: bytes = stream.unused_data
    return after


def _from_hex(file: BinaryIO) -> Iterator[bytes]:
    held = b""
    for piece in _read_on(file):
        digits = held + piece.translate(None, b" \t\n\v\f\r")
        even = len(digits) // 2 * 2
        yield bytes.fromhex(digits[:even].decode("ascii"))
        held = digits[even:]
    if held:
        raise ValueError("half a byte at the end")


def _from_ascii(file: BinaryIO, dtype: np.dtype[Any]) -> Iterator[bytes]:
    held = b""
    for piece in _read_on(file):
        whole, _, held = (held + piece).translate(_TO_BLANKS).rpartition(b" ")
        if len(held) > _LONGEST_NUMBER:
            raise ValueError("no number")
        yield _numbers(whole, dtype)
    yield _numbers(held, dtype)


def _numbers(text: bytes, dtype: np.dtype[Any]) -> bytes:
    """Return numbers in text as they lie in memory; one that the type cannot hold is an ArithmeticError."""
    exact = dtype if dtype.itemsize == 8 else np.dtype(np.float64)  # by way of float is 6 times as fast
    values = np.array(text.split(), dtype=exact)
    with np.errstate(all="ignore" if dtype.kind == "f" else "raise"):
        typed = values.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(typed, values):
        raise OverflowError
    return typed.tobytes()
