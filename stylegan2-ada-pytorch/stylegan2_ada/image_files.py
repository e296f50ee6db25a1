"""Files by name in a zip or a folder that may come from anyone.

Nothing is ever unpacked to disk, and nothing is inflated before its declared size has been checked.
"""

import logging
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

from stylegan2_ada.errors import UsageError

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
RUN_OPTIONS = "training_options.json"  # a folder that holds it is a run's
LARGEST_FILE = 2**28  # bytes, inflated
SMALL_FILE = 2**23  # bytes up to which nobody asks how well a file was compressed
LARGEST_RATIO = 100  # of inflated to compressed bytes

# What reading a file raises where it, or the zip around it, is damaged.
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile)

_ENCRYPTED = 1  # a bit of a zip entry's flags
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the ones that inflate step by step
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of a zip or folder, whose names and sizes have been checked."""

    path: Path
    names: Sequence[str]  # sorted, with forward slashes
    stream: Callable[[str], IO[bytes]]  # opens the file of a name

    def images(self) -> list[str]:
        """Return the names that end as an image's, but for macOS's notes on files ("._x.png")."""
        own = (name for name in self.names if not name.rpartition("/")[2].startswith("._"))
        return [name for name in own if name.lower().endswith(SUFFIXES)]

    def fault(self, what: str, valid: str) -> UsageError:
        """Return the error that says what is wrong with these files."""
        return UsageError(f"data={self.path}: {what}; valid: {valid}")


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """Open a zip or folder; UsageError where it is neither, or where a file of it is not to be trusted."""
    if path.is_dir():
        yield _folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        what = "not a zip" if path.exists() else "not found"
        raise UsageError(f"data={path}: {what}; valid: a zip or a folder of images") from error
    with archive:
        yield _zip(path, archive)


def _folder(path: Path) -> Files:
    found = (Path(top, name) for top, names in _data_folders(path) for name in names)
    regular = [file for file in found if file.is_file()]  # a pipe would be waited for
    names = sorted(file.relative_to(path).as_posix() for file in regular)
    files = Files(path=path, names=names, stream=lambda name: (path / name).open("rb"))
    for name in names:
        _check_name(files, name)
        _check_size(files, name, (path / name).stat().st_size)
    return files


def _data_folders(path: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield folders and the names of their files; those of runs, full of generated images, are left out."""
    for top, folders, names in os.walk(path):
        if RUN_OPTIONS not in names:
            yield top, names
            continue
        log.warning("data=%s: %s is the folder of a run, left out", path, top)
        folders.clear()


def _zip(path: Path, archive: zipfile.ZipFile) -> Files:
    names = sorted(name for name in archive.namelist() if not name.endswith("/"))
    files = Files(path=path, names=names, stream=archive.open)
    for info in archive.infolist():
        _check_name(files, info.filename)
        _check_entry(files, info)
    for name, other in pairwise(names):
        if name == other:
            raise files.fault(f"{name} is in it twice", "names that differ")
    return files


def _check_name(files: Files, name: str) -> None:
    """Refuse a name that would leave the folder it is unpacked into, or the line it is printed on."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or re.match("[A-Za-z]:", name) or _CONTROL.search(name):
        raise files.fault(f"unsafe file name {name!r}", "names of files within it")


def _check_entry(files: Files, info: zipfile.ZipInfo) -> None:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise files.fault(f"{info.filename} is a symbolic link", "files alone")
    if info.flag_bits & _ENCRYPTED:
        raise files.fault(f"{info.filename} is encrypted", "a zip without a password")
    if info.compress_type not in _METHODS:
        raise files.fault(f"{info.filename} is compressed by method {info.compress_type}", "stored, deflated")
    _check_size(files, info.filename, info.file_size)
    if info.file_size > max(SMALL_FILE, LARGEST_RATIO * info.compress_size):
        what = f"{info.filename} inflates from {info.compress_size} to {info.file_size} bytes"
        raise files.fault(what, f"at most {LARGEST_RATIO} times as many")


def _check_size(files: Files, name: str, size: int) -> None:
    # A file that is no image may be of any size: only these are ever read.
    if name.lower().endswith((*SUFFIXES, ".json")) and size > LARGEST_FILE:
        raise files.fault(f"{name} has {size} bytes", f"at most {LARGEST_FILE}")
