"""What of a state descends from a patient.

Whatever learnt from a patient, or was measured on one, names the patient or a scan of theirs: by the hash of
what it shows (PlaneRow.scan), or by a snapshot that lists it. So a scan that was listed under another patient
before is found as well. What should say whose it is and cannot be read may be anybody's, and goes.
"""

import json
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Self, TypeVar

from components.shared import storage
from components.shared.history import HISTORY
from components.shared.lease import LEASE
from components.shared.ledger import EXPERTS, PUBLISHED, RECORD
from components.shared.stored_json import described

SEEN, LEASES = "patients", "leases"  # beside the GANs' folders: what each descends from, who works in it
NOTES = "forgotten"
PASSPORT = "passport.json"  # in the archive of a volume's kept planes: whose they are
FOLDERS = ("planes", "snapshots", "splits", "gan", "generators", "finished", "runs", NOTES)
# What a run keeps in a folder of its own; a folder of the state with anything else is not ours to touch.
OF_RUNS = {RECORD, LEASE, HISTORY, EXPERTS, "rounds", PUBLISHED, "cells", "synthetic", "report"}
_TEXTS = (".json", ".csv")  # what says whose the objects of a folder are
_HASH = re.compile(rb"\b[0-9a-f]{16}(?:[0-9a-f]{48})?\b")  # of a scan, or of a snapshot
_AT_ONCE = 8  # questions to a bucket, whose clients keep ten connections

_Objects = Sequence[storage.StoredObject]
_Told = TypeVar("_Told")


@dataclass(frozen=True, kw_only=True)
class Descent:
    """What descends from a patient."""

    scans: frozenset[str]  # of theirs, by the hash of what each shows
    uris: Sequence[str]  # in an order in which removal may be cut off: the rest is found again
    others: frozenset[str]  # whose are now what was kept as theirs


@dataclass(frozen=True, kw_only=True)
class _Marks:
    """What tells that something is of a patient."""

    patient: bytes
    hashes: frozenset[bytes]  # of their scans, and of the snapshots that list them

    @classmethod
    def of(cls, patient: str, hashes: Iterable[str]) -> Self:
        """Return the marks of a patient."""
        return cls(patient=patient.encode(), hashes=frozenset(each.encode() for each in hashes))

    def are_in(self, name: str, data: bytes) -> bool:
        """Tell whether a table names the patient, or a JSON the patient or a scan."""
        if self.patient in data:
            return True
        return name.endswith(".json") and not self.hashes.isdisjoint(_HASH.findall(data))


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """A scan as a snapshot lists it, or as its kept planes tell."""

    patient: str
    file: str  # its digest
    session: str = ""
    shown: str = ""  # hash of what it shows, which planes alone tell; "" where it was refused


def descent(
    state_uri: str, patient: str, known: Collection[str], owners: Mapping[str, str] | None
) -> Descent:
    """Return what descends from a patient, but for the splits; `known` are scans that are theirs.

    `owners` says whose each file is now, by its digest: where a name was corrected since, a scan that was
    kept as another's may be theirs, and one that was kept as theirs another's. A scan of which no file is
    left belongs to whom it was kept as. Without owners (None) nothing but the known scans is taken for
    theirs; the kept planes of other scans, which alone tell what else is theirs, stay for the next run that
    can tell.
    """
    kept = _told_by(state_uri, "planes", _kept)
    snapshots = _told_by(state_uri, "snapshots", _entries)
    scans, asked = _whole(kept), owners is not None
    whose = _whose(scans, owners or {})
    shown = {*known, *(scan for scan, names in whose.items() if asked and patient in names)}
    files = {scan.file for scan in scans if scan.shown in shown} - {""}
    listing = _listing(snapshots, patient, files)
    marks = _Marks.of(patient, [*shown, *(_digest(uri) for uri in listing if snapshots[uri] is not None)])
    uris = [
        *_of_runs(state_uri, marks),
        *_of_gans(state_uri, marks),
        *_marked(_own(state_uri, "finished"), marks),
        *listing,
        # Last: they tell which files are theirs.
        *(uri for uri, scan in kept.items() if _is_theirs(scan, patient, shown, asked)),
    ]
    listed = [scan for told in _whole(snapshots) for scan in told]
    return Descent(
        scans=frozenset(shown), uris=uris, others=_others([*scans, *listed], whose, owners, patient)
    )


def sessions(state_uri: str) -> Iterator[tuple[str, str]]:
    """Yield the pseudonyms of sessions that snapshots list, each with its patient's."""
    for entries in _told_by(state_uri, "snapshots", _entries).values():
        for entry in entries or ():
            yield entry.session, entry.patient


def _own(state_uri: str, folder: str) -> list[storage.StoredObject]:
    """Return what runs write directly in a folder of the state; whatever else lies there is not ours."""
    form = {
        "planes": r"[0-9a-f]{32}\.zip",
        "snapshots": r"[0-9a-f]{64}\.json",
        "finished": r"[0-9a-f]+\.json",
    }
    own = re.compile(form.get(folder, r"[0-9]+\.json"))
    return [
        found for found in storage.list_tree(storage.join(state_uri, folder)) if own.fullmatch(found.name)
    ]


def _read_all(found: _Objects) -> Iterator[tuple[storage.StoredObject, bytes]]:
    """Yield objects with their bytes, some asked for at once; those that went meanwhile are left out."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            for each, data in zip(some, pool.map(_read, some), strict=True):
                if data is not None:
                    yield each, data


def _read(found: storage.StoredObject) -> bytes | None:
    with suppress(FileNotFoundError):
        return storage.read_bytes(found.uri)
    return None


def _told_by(state_uri: str, folder: str, told: Callable[[bytes], _Told | None]) -> dict[str, _Told | None]:
    """Return what each object of a folder tells, by address; None where it cannot be read."""
    return {found.uri: told(data) for found, data in _read_all(_own(state_uri, folder))}


def _whole(told: Mapping[str, _Told | None]) -> list[_Told]:
    return [each for each in told.values() if each is not None]


def _kept(data: bytes) -> _Scan | None:
    """Return the scan whose planes are kept."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            told = json.loads(archive.read(PASSPORT))
        return _Scan(patient=str(told["patient"]), file=str(told.get("file", "")), shown=str(told["voxels"]))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a torn archive gives rise to
        return None


def _entries(data: bytes) -> list[_Scan] | None:
    """Return the scans of a snapshot; volumes.csv beside them is nobody's."""
    try:
        told = [[str(entry[key]) for key in ("patient", "digest", "session")] for entry in json.loads(data)]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return [_Scan(patient=patient, file=file, session=session) for patient, file, session in told if patient]


def _listing(snapshots: Mapping[str, list[_Scan] | None], patient: str, files: Collection[str]) -> list[str]:
    """Return the snapshots that name the patient, or a file of theirs under any name, and the unreadable."""
    return [
        uri
        for uri, scans in snapshots.items()
        if scans is None or any(scan.patient == patient or scan.file in files for scan in scans)
    ]


def _whose(scans: Sequence[_Scan], owners: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the patients of what is shown: who has a file of it now, else as whose it was kept."""
    now: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for scan in scans:
        if scan.shown:
            kept.setdefault(scan.shown, set()).add(scan.patient)
            if scan.file in owners:
                now.setdefault(scan.shown, set()).add(owners[scan.file])
    return kept | now


def _others(
    scans: Sequence[_Scan], whose: Mapping[str, set[str]], owners: Mapping[str, str] | None, patient: str
) -> frozenset[str]:
    """Return whose are now the scans that were kept or listed as the patient's."""
    if owners is None:
        return frozenset()
    theirs = [scan for scan in scans if scan.patient == patient]
    now = {owners[scan.file] for scan in theirs if scan.file in owners}
    return frozenset(now.union(*(whose.get(scan.shown, ()) for scan in theirs)) - {patient})


def _is_theirs(scan: _Scan | None, patient: str, shown: Collection[str], asked: bool) -> bool:
    """Tell whether a kept volume goes; one that cannot be read may be anybody's."""
    if scan is None:
        return asked
    return scan.shown in shown or (asked and scan.patient == patient)


def _digest(uri: str) -> str:
    return PurePosixPath(uri).stem


def _of_runs(state_uri: str, marks: _Marks) -> Iterator[str]:
    """Yield the objects of every run that knew them, first what its report measured for the next run."""
    folders = _folders(state_uri)
    runs = {name: doomed for name in _runs(folders) if (doomed := _naming(folders[name], marks))}
    for found, data in _read_all(_own(state_uri, "runs")):
        told = described(data)
        if not told or str(told.get("run")) in runs or marks.are_in(found.name, data):
            yield found.uri
    for doomed in runs.values():
        yield from doomed


def _runs(folders: Mapping[str, _Objects]) -> Iterator[str]:
    """Yield the folders that are runs'; what is no run's stays, whoever it names."""
    for name, objects in folders.items():
        held = {found.name.split("/")[1] for found in objects}
        if name not in FOLDERS and (RECORD in held or held <= OF_RUNS):
            yield name


def _of_gans(state_uri: str, marks: _Marks) -> Iterator[str]:
    """Yield the kept generators and the checkpoints that saw them, or that do not say whom they saw."""
    yield from _generators(storage.join(state_uri, "generators"), _own(state_uri, "generators"), marks)
    place = storage.join(state_uri, "gan")
    folders = _folders(place)
    named = {_digest(found.uri): found for found in folders.get(SEEN, ())}
    told = {_digest(found.uri): data for found, data in _read_all(list(named.values()))}
    for run in (folders.keys() - {SEEN, LEASES}) | named.keys():
        data = told.get(run, b"")
        if not described(data) or marks.are_in(f"{run}.json", data):
            yield from (found.uri for found in folders.get(run, ()))
            yield from (found.uri for found in [named.get(run)] if found)


def _generators(place: str, entries: _Objects, marks: _Marks) -> Iterator[str]:
    """Yield kept generators, first their entries, by which a run finds one."""
    doomed = {
        name: _naming(objects, marks) or _nameless(name, objects) for name, objects in _folders(place).items()
    }
    for found, data in _read_all(entries):
        told = described(data)
        # Not by its snapshot, which lists whom it was not trained on as well.
        if not told or doomed.get(str(told.get("digest"))) or marks.patient in data:
            yield found.uri
    for uris in doomed.values():
        yield from uris


def _nameless(name: str, objects: _Objects) -> list[str]:
    """Return the objects of a generator whose keeping was cut off before it said whom it saw."""
    is_ours = re.fullmatch("[0-9a-f]{64}", name) and not any(map(_is_text, objects))
    return [found.uri for found in objects if is_ours]


def _marked(objects: _Objects, marks: _Marks) -> Iterator[str]:
    return (found.uri for found, data in _read_all(objects) if marks.are_in(found.name, data))


def _naming(objects: _Objects, marks: _Marks) -> list[str]:
    """Return all of a folder's objects where a table or JSON among them is marked.

    What is marked goes last, the record of a run at the very end: cut off before, the folder is found again.
    """
    naming = set(_marked([found for found in objects if _is_text(found)], marks))
    rank = {
        found.uri: (found.uri in naming, found.name.endswith(f"/{RECORD}"), found.uri) for found in objects
    }
    return sorted(rank, key=rank.__getitem__) if naming else []


def _is_text(found: storage.StoredObject) -> bool:
    return found.name.endswith(_TEXTS)


def _folders(uri: str) -> dict[str, list[storage.StoredObject]]:
    """Return what is at any depth of each folder at a place."""
    folders: dict[str, list[storage.StoredObject]] = {}
    for found in storage.list_tree(uri):
        top, slash, _ = found.name.partition("/")
        if slash:
            folders.setdefault(top, []).append(found)
    return folders
