"""The fields of an NRRD header that a reader of volumes needs; pynrrd parses their values.

Key/value pairs, comments and free text (content, labels, ...) may name a patient: they are dropped here,
unread, and reach no message. Of the fields that are used a message quotes numbers and words of the format
alone, since any field may hold a name; of what `data file` names it shows the ending.

A detached header may name data of its own folder alone, by an ending that voxels have: neither a table of
patients nor another patient's volume can be read as voxels.

Also dropped, knowingly: `centerings` (an origin is the centre of the first voxel with either) and
`measurement frame` (it says nothing about scalars).

Format: teem.sourceforge.net/nrrd/format.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import nrrd
import numpy as np

from components.shared.faults import InputError

MAX_HEADER = 64 * 1024  # bytes
MAX_FILES = 4096  # that may hold one volume's voxels
DATA_SUFFIXES = (".raw", ".gz", ".bz2", ".hex", ".ascii", ".img", ".bin", ".dat")  # or a number
# Endings that a message may quote: another may be a surname, or a record's number.
_QUOTED = {*DATA_SUFFIXES, ".nrrd", ".nhdr", ".txt", ".csv", ".key", ".dcm", ".nii", ".mha", ".png", ".jpg"}

_USED = {
    *("type", "dimension", "sizes", "encoding", "endian", "kinds", "units", "spacings", "data file"),
    *(
        "line skip",
        "byte skip",
        "space",
        "space dimension",
        "space units",
        "space directions",
        "space origin",
    ),
}
_JOINED = {"lineskip": "line skip", "byteskip": "byte skip", "datafile": "data file"}
_WHOLE_NUMBERS = {"dimension", "sizes", "line skip", "byte skip", "space dimension"}
_VECTORS = {"space directions", "space origin"}
# What pynrrd's parsers raise on values that break the format.
_PARSE_ERRORS = (nrrd.NRRDError, ValueError, LookupError, ArithmeticError, TypeError)
# What a message may quote, in parts as hyphens part them: words of the format, read here or not, and numbers.
_WORD = re.compile(
    r"(un)?signed|u?(char|short|int((8|16|32|64)(_t)?)?|long(long)?)|float|double|block"
    r"|raw|te?xt|ascii|hex|gz(ip)?|bz(ip)?2|zrl|little|big"
    r"|left|right|anterior|posterior|superior|inferior|scanner|xyz|handed|(ra|la|lp)st?"
    r"|domain|space|time|list|point|vector|covariant|normal|stub|scalar|complex|quaternion|gradient"
    r"|color|rgba?|hsv|symmetric|masked|matrix|[23]d|[1-4]|\?{3}|none|absent"
    r"|[cmun]?m|(milli)?met(er|re)s?|m?s"
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf)")
# One conversion to a number of at most 99 characters, then first, last, step and perhaps subdim.
_NUMBERED = re.compile(r"([^%\s]*%0?[0-9]{0,2}[diu][^%\s]*)((?:\s+[+-]?[0-9]{1,9}){3,4})")


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What a header says, parsed but not yet judged."""

    path: Path
    values: Mapping[str, Any]
    data_start: int  # bytes from the file's first to the voxels', where they follow the header
    data_names: Sequence[str]  # of detached files; none: the voxels follow the header
    subdim: int | None  # dimension of what each of several detached files holds
    notes: tuple[str, ...]

    def fault(self, field: str, value: object, valid: str) -> InputError:
        """Return the one line that refuses a field."""
        return fault(self.path, field, value, valid)

    def choice(self, name: str, valid: Mapping[str, Any]) -> Any:
        """Return what a field's value stands for, whatever its case."""
        value = str(self.values.get(name, "absent"))
        if value.lower() not in valid:
            raise self.fault(name, quoted(value), ", ".join(valid))
        return valid[value.lower()]


def fault(path: Path, field: str, value: object, valid: str) -> InputError:
    """Return the one line that refuses a file: its name, the field, the value, what would be valid."""
    shown = "".join(sign if sign.isprintable() else " " for sign in f"{field}: {value}")
    shown = shown if len(shown) < 160 else shown[:157] + "..."
    name = "".join(sign if sign.isprintable() else " " for sign in path.name)
    return InputError(f"{name}: {shown}; valid: {valid}")


def quoted(text: str, *, numbers: bool = False) -> str:
    """Return what a header says where words of the format, or numbers, are all of it."""
    parts = re.findall(r'[^\s,()"]+' if numbers else r'[^\s,()"-]+', text.lower())
    if not all(_WORD.fullmatch(part) or (numbers and _NUMBER.fullmatch(part)) for part in parts):
        return "(not shown, no word of NRRD)"
    return text if parts else "empty"


def ending(name: str) -> str:
    """Return what a message shows of a data file: its ending, as all else may name a patient."""
    suffix = PurePath(name).suffix.lower()
    return "(name)" + suffix * (suffix in _QUOTED)


def data_files(path: Path, head: bytes) -> Sequence[str]:
    """Return the names of the files that a volume's first 64 kB say hold its voxels; none: its own file."""
    return read_fields(path, head).data_names


def read_fields(path: Path, head: bytes) -> Fields:
    """Parse a header from its file's first 64 kB; InputError names the first field that breaks the format."""
    lines, start = _lines(path, head)
    said: dict[str, str] = {}
    notes = []
    listed: Sequence[str] = ()
    for number, name, value in _used(path, lines):
        if said.get(name, value) != value:
            raise fault(path, name, "Duplicate header field, with another value", "each field once")
        if name in said:
            notes.append(f"{name} is given twice, both times the same")
        said[name] = value
        if name == "data file" and value.split()[:1] == ["LIST"]:
            listed = [line.strip() for line in lines[number:] if line.strip()]
            break
    names, subdim = _detached(path, said.pop("data file", None), listed)
    values = {name: _value(path, name, text) for name, text in said.items()}
    return Fields(
        path=path, values=values, data_start=start, data_names=names, subdim=subdim, notes=tuple(notes)
    )


def _lines(path: Path, head: bytes) -> tuple[Sequence[str], int]:
    """Return a header's lines, without its magic's, and where in the file it ends."""
    if not re.match(rb"NRRD000[1-5]\s*\n", head):
        shown = "not those of NRRD" if head else "none, the file is empty"
        raise fault(path, "first bytes", shown, "an NRRD file, which begins with NRRD0001 to NRRD0005")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and len(head) >= MAX_HEADER:
        raise fault(path, "header", "no end in the first 64 kB", "at most 64 kB, and an empty line after it")
    text = head[: end.start() if end else len(head)].decode("utf-8", "replace")
    return re.split(r"\r?\n", text)[1:], end.end() if end else len(head)


def _used(path: Path, lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Yield number, field and value of the lines that matter, spelt in one way."""
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        name, colon, value = line.partition(":")
        if not colon:  # its words stay here: they may be the rest of a name
            raise fault(path, "header", f"line {number + 1} is no field", "lines such as 'type: uint8'")
        name = " ".join(name.lower().split())
        name = _JOINED.get(name, name)
        if name in _USED:
            yield number, name, value.strip()


def _value(path: Path, name: str, text: str) -> Any:
    """Return a field's value as pynrrd parses it."""
    if name in _WHOLE_NUMBERS and not re.fullmatch(r"[+-]?[0-9]{1,18}(\s+[+-]?[0-9]{1,18})*", text):
        raise fault(path, name, quoted(text, numbers=True), "whole numbers")
    if name in _VECTORS:  # (1, 0, 0)(0, 1, 0) is the same as (1,0,0) (0,1,0), which alone pynrrd knows
        text = re.sub(r"(?<=\))(?=.)|(?<=none)(?=.)", " ", re.sub(r"\s+", "", text.lower()))
    try:
        with np.errstate(all="raise"):
            return nrrd.read_header(["NRRD0005", f"{name}: {text}"])[name]
    except _PARSE_ERRORS as error:
        shown = quoted(text, numbers=True)
        raise fault(path, name, shown, "a value that follows the NRRD format") from error


def _detached(path: Path, value: str | None, listed: Sequence[str]) -> tuple[Sequence[str], int | None]:
    """Return the names of the files that hold the voxels, and subdim where it is given."""
    if value is None:
        return (), None
    words, numbered = value.split(), _NUMBERED.fullmatch(value)
    if words[:1] == ["LIST"]:
        names, extra = listed, words[1:]
    elif numbered:
        first, last, step, *extra = numbered[2].split()
        names = [numbered[1] % number for number in _range(path, int(first), int(last), int(step))]
    else:
        names, extra = [value], []
    if not 0 < len(names) <= MAX_FILES or not all(names):
        raise fault(
            path, "data file", f"{len(names)} files", f"1 to {MAX_FILES} files, by name or by pattern"
        )
    for name in names:
        require_beside(path, name)
    if extra and not re.fullmatch(r"[0-9]", " ".join(extra)):
        raise fault(path, "data file", "an odd subdim", "one number, the dimension of each file")
    return tuple(names), int(extra[0]) if extra else None


def _range(path: Path, first: int, last: int, step: int) -> range:
    if step == 0 or abs(last - first) // abs(step) >= MAX_FILES:
        raise fault(
            path, "data file", f"range {first} {last} {step}", f"a range of at most {MAX_FILES} files"
        )
    return range(first, last + (1 if step > 0 else -1), step)


def require_beside(path: Path, name: str) -> None:
    """Refuse a data file's name that leads out of the header's folder, or whose ending is not one of data."""
    parts = re.split(r"[\\/]", name)
    if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
        raise fault(
            path, "data file", f"{ending(parts[-1])} (elsewhere)", "a file in the folder of its header"
        )
    suffix = PurePath(parts[-1]).suffix.lower()
    if suffix not in DATA_SUFFIXES and not suffix[1:].isdigit():
        valid = f"a file that ends in {', '.join(DATA_SUFFIXES)} or a number, in the folder of its header"
        raise fault(path, "data file", f"{ending(parts[-1])} (no ending of voxels)", valid)
