"""PlaneSet: grey planes and their index, as one folder that a later stage can trust.

    images.zip    8-bit PNG members, stored, in one folder per label; and dataset.json for GAN tools
    planes.json   side, channels, settings and their digest, patients, counts, size of the zip
    planes.csv    one row per plane; written last, so that its presence means the set is complete
    passports.json    of real planes alone: what was found of every volume, used or not (passports.py)
    judged/           of synthetic planes that judge_synthetic kept: how they were judged (judgement.py)

A PlaneSet knows no split. Shapes: N planes, H = W = side, values 0..255.
"""

import csv
import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from components.shared import stored_json
from components.shared.faults import InputError
from components.shared.png import decode_png, encode_png
from components.shared.stored_json import Shape, described, fits

CORONAL, SAGITTAL, NOISE, UNCERTAIN = "coronal", "sagittal", "noise", "uncertain"
CLASSES = (CORONAL, SAGITTAL, NOISE)
GAN_CLASSES = (CORONAL, SAGITTAL)
REAL, SYNTHETIC = "real", "synthetic"

INDEX = "planes.csv"
ARCHIVE = "images.zip"
SETTINGS = "planes.json"
_SHAPE: Shape = {
    "side": int,
    "channels": int,
    "settings": dict,
    "archive_bytes": int,
    "patients": [str],
    "scans": [str],
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed member date keeps equal sets byte-identical


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaneRow:
    """One plane: where it was cut, from whom, and where its pixels are."""

    image: str  # member of images.zip, e.g. "coronal/1f3a7c21e09b_c_+5_-12.png"
    label: str = ""  # coronal, sagittal, noise, uncertain; "" for synthetic planes
    patient: str = ""
    session: str = ""
    site: str = ""
    volume: str = ""  # content hash of the volume, 16 hex digits
    scan: str = ""  # hash of what the volume shows, 16 hex digits, however it was written
    plane: str = ""  # the requested cut, coronal or sagittal, whatever its content
    angle_deg: float = 0.0
    offset_mm: float = 0.0
    normal: str = ""  # unit vector in RAS, "x y z"
    content: float = 0.0  # share of the disc that shows tissue, 0..1
    verdict: str = ""  # of the volume's passport: accept, suspect
    source: str = REAL
    sha256: str = ""  # of the PNG
    seed: int = -1  # synthetic only, as are the next two
    truncation: float = 0.0
    generator: str = ""


COLUMNS = tuple(f.name for f in fields(PlaneRow))
cells_of = attrgetter(*COLUMNS)  # a row's values, without the deep copies that `astuple` makes of them
_CASTS = {"angle_deg": float, "offset_mm": float, "content": float, "seed": int, "truncation": float}


def digest_of(settings: Mapping[str, Any]) -> str:
    """Return the hash of settings that is equal exactly when they are equal."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Whom something shows or learnt from, and which of their scans."""

    patients: frozenset[str] = frozenset()
    scans: frozenset[str] = frozenset()  # by the hash of what they show: names change, keys, and encodings

    @classmethod
    def of(cls, rows: Iterable[PlaneRow]) -> Self:
        """Return what planes show."""
        pairs = {(row.patient, row.scan) for row in rows}
        return cls(
            patients=frozenset(one for one, _ in pairs), scans=frozenset(scan for _, scan in pairs if scan)
        )

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(patients=self.patients | other.patients, scans=self.scans | other.scans)

    def told(self, how: str = "seen") -> dict[str, list[str]]:
        """Return the entries of a JSON that say it, in alphabetical order."""
        return {f"patients_{how}": sorted(self.patients), f"scans_{how}": sorted(self.scans)}


@dataclass(kw_only=True)
class PlaneSetWriter:
    """Writes a PlaneSet as a context; leaving it without an error makes the set complete."""

    folder: Path
    side: int  # pixels
    channels: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    seen: Seen | None = None  # None: what the rows show; of synthetic planes what their generator has seen
    counts: Counter[str] = field(default_factory=Counter, init=False)  # planes by label, or by source

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).unlink(missing_ok=True)
        self._patients: set[str] = set()
        self._scans: set[str] = set()
        self._labels: list[tuple[str, int]] = []
        self._zip = zipfile.ZipFile(self.folder / ARCHIVE, "w", zipfile.ZIP_STORED)
        # Rows go to disk as they come: memory must not grow with the number of volumes.
        self._index = (self.folder / f"{INDEX}.part").open("w", newline="")
        self._table = table_of_rows(self._index)
        return self

    def add(self, image_HW: NDArray[np.uint8], row: PlaneRow) -> None:
        """Store one plane; its row's sha256 is filled in here."""
        self.add_png(encode_png(image_HW, self.channels), row)

    def add_png(self, png: bytes, row: PlaneRow) -> None:
        """Store one plane that is already encoded."""
        if row.image in self._zip.NameToInfo:
            raise ValueError(f"two planes are named {row.image}")
        self._zip.writestr(zipfile.ZipInfo(row.image, EPOCH), png)
        self._table.writerow(cells_of(replace(row, sha256=hashlib.sha256(png).hexdigest())))
        self.counts[row.label or row.source] += 1
        self._patients.add(row.patient)
        self._scans.add(row.scan)
        if row.label in CLASSES:
            self._labels.append((row.image, CLASSES.index(row.label)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            labels = json.dumps({"labels": self._labels or None})
            self._zip.writestr(zipfile.ZipInfo("dataset.json", EPOCH), labels)
        self._zip.close()
        self._index.close()
        part = Path(self._index.name)
        if kind is not None:
            return part.unlink()
        stored_json.write(self.folder / SETTINGS, self._describe())
        part.replace(self.folder / INDEX)
        return None

    def _describe(self) -> dict[str, Any]:
        shown = Seen(patients=frozenset(self._patients), scans=frozenset(self._scans - {""}))
        seen = shown if self.seen is None else self.seen
        return {
            "side": self.side,
            "channels": self.channels,
            "settings": dict(self.settings),
            "settings_digest": digest_of(self.settings),
            "patients": sorted(seen.patients),
            "scans": sorted(seen.scans),
            "counts": dict(sorted(self.counts.items())),
            "archive_bytes": (self.folder / ARCHIVE).stat().st_size,
        }


def table_of_rows(file: TextIO) -> Any:
    """Return a CSV writer whose header is written; each row goes through `cells_of`."""
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    return table


def read_rows(file: TextIO) -> Iterator[PlaneRow]:
    """Yield the rows of an index."""
    for line in csv.DictReader(file):
        yield PlaneRow(**{name: _CASTS.get(name, str)(value) for name, value in line.items()})


@dataclass(frozen=True, kw_only=True)
class PlaneSet:
    """A complete PlaneSet opened for reading."""

    folder: Path
    rows: Sequence[PlaneRow]
    side: int
    channels: int
    settings: Mapping[str, Any]
    seen: Seen  # everyone the pixels descend from; of synthetic planes all that their generator has seen
    digest: str  # of the index, which holds the hash of every image

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a set, or raise InputError when it is not whole."""
        about = _whole(folder)
        if about is None:
            raise InputError(f"{folder}: not a complete PlaneSet; run the stage that makes it again")
        index = folder / INDEX
        with index.open(newline="") as file:
            rows = list(read_rows(file))
        return cls(
            folder=folder,
            rows=rows,
            side=about["side"],
            channels=about["channels"],
            settings=about["settings"],
            seen=Seen(patients=frozenset(about["patients"]), scans=frozenset(about["scans"])),
            digest=hashlib.sha256(index.read_bytes()).hexdigest(),
        )

    @property
    def archive(self) -> Path:
        """The zip that holds the pixels."""
        return self.folder / ARCHIVE

    def rows_of(self, patients: Collection[str]) -> list[PlaneRow]:
        """Return the rows of some patients that show a class."""
        return [row for row in self.rows if row.label in CLASSES and row.patient in patients]

    def images(self, rows: Iterable[PlaneRow]) -> Iterator[NDArray[np.uint8]]:
        """Yield the planes of rows in their order, each H x W."""
        with zipfile.ZipFile(self.archive) as archive:
            for row in rows:
                yield decode_png(archive.read(row.image))


def is_whole(folder: Path) -> bool:
    """Tell whether a folder holds a PlaneSet whose last file was written and whose zip is intact."""
    return _whole(folder) is not None


def _whole(folder: Path) -> dict[str, Any] | None:
    """Return what the JSON of a whole set says; one of a version before did not say scans."""
    archive = folder / ARCHIVE
    if not all(path.is_file() for path in (folder / INDEX, folder / SETTINGS, archive)):
        return None
    about = described((folder / SETTINGS).read_bytes())
    return about if fits(about, _SHAPE) and archive.stat().st_size == about["archive_bytes"] else None
