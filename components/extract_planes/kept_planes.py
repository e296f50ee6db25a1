"""One volume's planes, kept in the state under all that they depend on: only what is new is cut again.

    {state_uri}/planes/{key}.zip    PNG members, stored; planes.csv; passport.json

One object, written as one, so that it is whole or absent. The key is a hash of the volume's digest and owner,
of the cuts and of the code that makes them: any of it changes, and the volume is cut anew. A volume that is
refused is kept too, as its passport alone.
"""

import hashlib
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.shared import storage
from components.shared.descendants import PASSPORT
from components.shared.faults import InputError
from components.shared.passports import Passport, parse
from components.shared.planes import EPOCH, INDEX, PlaneRow, cells_of, read_rows, table_of_rows
from components.shared.snapshots import VolumeEntry

# What zipfile and the parsers of what lies in it raise where a byte is another.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError),
    *(TypeError, RuntimeError, struct.error),
)
CODE = ("components/extract_planes", "components/shared")  # what makes planes


@dataclass(frozen=True)
class KeptPlanes:
    """A volume's planes and passport, opened for reading."""

    uri: str
    archive: zipfile.ZipFile
    passport: Passport

    def planes(self) -> Iterator[tuple[bytes, PlaneRow]]:
        """Yield PNG and row of every plane."""
        with _removed_if_damaged(self.uri):
            rows = list(read_rows(io.StringIO(self.archive.read(INDEX).decode(), newline="")))
        for row in rows:
            with _removed_if_damaged(self.uri):
                png = self.archive.read(row.image)  # which compares its checksum
            yield png, row


def kept_uri(state_uri: str, entry: VolumeEntry, settings: Mapping[str, Any], code: str) -> str:
    """Return where a volume's planes are kept that code of such a digest cuts."""
    owner = {key: value for key, value in asdict(entry).items() if key not in ("name", "size")}
    text = json.dumps([owner, settings, code], sort_keys=True)
    return storage.join(state_uri, "planes", f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.zip")


@contextmanager
def new_kept(uri: str) -> Iterator["KeptPlanesWriter"]:
    """Yield a writer; what it wrote appears as one object when the body ends without an error."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "planes.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            yield KeptPlanesWriter(archive)
        storage.upload(path, uri)


@dataclass(frozen=True)
class KeptPlanesWriter:
    """Takes a volume's planes as they come, then its passport."""

    archive: zipfile.ZipFile

    def add_planes(self, planes: Iterable[tuple[bytes, PlaneRow]]) -> list[PlaneRow]:
        """Store planes and their index; return the rows."""
        rows, index = [], io.StringIO()
        table = table_of_rows(index)
        for png, row in planes:
            self.archive.writestr(zipfile.ZipInfo(row.image, EPOCH), png)
            table.writerow(cells_of(row))
            rows.append(row)
        self.archive.writestr(zipfile.ZipInfo(INDEX, EPOCH), index.getvalue())
        return rows

    def add_passport(self, passport: Passport) -> None:
        """Store the passport."""
        self.archive.writestr(zipfile.ZipInfo(PASSPORT, EPOCH), json.dumps(asdict(passport)))


@contextmanager
def open_kept(uri: str) -> Iterator[KeptPlanes]:
    """Yield a volume's planes; what is damaged is removed, and an InputError says so."""
    with tempfile.TemporaryDirectory() as scratch:
        path = storage.local_path(uri)
        if path is None:
            path = Path(scratch) / "planes.zip"
            storage.download(uri, path)
        with _removed_if_damaged(uri):
            archive = zipfile.ZipFile(path)
        with archive:
            with _removed_if_damaged(uri):
                passport = parse(json.loads(archive.read(PASSPORT)))
            yield KeptPlanes(uri, archive, passport)


@contextmanager
def _removed_if_damaged(uri: str) -> Iterator[None]:
    """Remove a volume's planes that cannot be read as they were written, and say so."""
    try:
        yield
    except _DAMAGED as error:
        storage.delete(uri)
        raise InputError(f"{uri}: damaged, and removed; valid: run again, it is made anew") from error
