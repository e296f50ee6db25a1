"""What of a state descends from a patient, and how it is taken out.

Whatever learnt from a patient, or was measured on one, names the patient or a scan of theirs: by the digest
of its file, by the hash of its content (PlaneRow.volume), or by a snapshot that lists it. So a scan that was
listed under another patient before is found as well. What should say whose it is and cannot be read may be
anybody's, and goes.
"""

import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from components.shared import storage
from components.shared.history import HISTORY
from components.shared.lease import LEASE
from components.shared.ledger import EXPERTS, RECORD
from components.shared.planes import INDEX, read_rows
from components.shared.splits import Splits

SEEN, LEASES = "patients", "leases"  # beside the GANs' folders: what each descends from, who works in it
NOTES = "forgotten"
FOLDERS = ("planes", "snapshots", "splits", "gan", "generators", "finished", "runs", NOTES)
# What a run keeps in a folder of its own; a folder of the state with anything else is not ours to touch.
OF_RUNS = {RECORD, LEASE, HISTORY, EXPERTS, "rounds", "published", "cells", "synthetic", "report"}
_TEXTS = (".json", ".csv")  # what says whose the objects of a folder are

_Folders = Mapping[str, Sequence[storage.StoredObject]]


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """A scan, as a snapshot or a kept volume names it, and whose it is there."""

    name: str
    patients: frozenset[str]


_Scans = Mapping[str, Sequence[_Scan] | None]  # by the object that tells them; None: it cannot be read


def remove(state_uri: str, patient: str) -> list[str]:
    """Take a patient out of a state; return the addresses of what was removed, in that order.

    What tells which scans are theirs goes last: cut off before it, all of it is found again.
    """
    leave_splits(state_uri, patient)
    doomed = list(_descendants(state_uri, patient))
    for uri in doomed:
        storage.delete(uri)
    return doomed


def sessions(state_uri: str) -> Iterator[tuple[str, str]]:
    """Yield the pseudonyms of sessions that snapshots list, each with its patient's."""
    for found in _own(state_uri, "snapshots"):
        for entry in _entries(read(found.uri)) or ():
            yield str(entry.get("session")), str(entry.get("patient"))


def read(uri: str) -> bytes | None:
    """Return an object's bytes, None where another run removed it meanwhile."""
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        return None


def _descendants(state_uri: str, patient: str) -> Iterator[str]:
    volumes = _scans(state_uri, "planes", _of_cell)
    files = _scans(state_uri, "snapshots", _of_snapshot)
    marks = {patient, *_named(volumes, patient), *_named(files, patient)} - {storage.NOWHERE}
    snapshots = _naming_scans(files, marks)
    marks |= {PurePosixPath(uri).stem for uri in snapshots if files[uri] is not None}
    folders = _folders(state_uri)
    runs = {name: doomed for name in _runs(folders) if (doomed := _naming(folders[name], marks))}
    yield from _measured(state_uri, marks, runs)
    yield from _generators(state_uri, marks)
    yield from _gans(state_uri, marks)
    yield from (each.uri for each in _own(state_uri, "finished") if _is_marked(read(each.uri) or b"", marks))
    for doomed in runs.values():
        yield from doomed
    yield from sorted(_naming_scans(volumes, marks), key=lambda uri: _names(volumes[uri], patient))
    yield from sorted(snapshots, key=lambda uri: _names(files[uri], patient))


def _own(state_uri: str, folder: str) -> list[storage.StoredObject]:
    """Return what runs write directly in a folder of the state; whatever else lies there is not ours."""
    suffix = ".zip" if folder == "planes" else ".json"
    found = storage.list_tree(storage.join(state_uri, folder))
    return [each for each in found if "/" not in each.name and each.name.endswith(suffix)]


def _scans(state_uri: str, folder: str, told: Any) -> dict[str, Sequence[_Scan] | None]:
    """Return the scans that each object of a folder tells; an object that went meanwhile is left out."""
    scans: dict[str, Sequence[_Scan] | None] = {}
    for found in _own(state_uri, folder):
        if (data := read(found.uri)) is not None:
            scans[found.uri] = told(data)
    return scans


def _of_cell(data: bytes) -> Sequence[_Scan] | None:
    """Return the scan whose planes are kept; a refused one has none, its passport names its owner."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            passport = json.loads(archive.read("passport.json"))
            patients = {passport["patient"]}
            if INDEX in archive.namelist():
                with archive.open(INDEX) as file:
                    patients |= {row.patient for row in read_rows(io.TextIOWrapper(file, newline=""))}
        return [_Scan(name=passport["volume"], patients=frozenset(patients))]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a torn archive gives rise to
        return None


def _of_snapshot(data: bytes) -> Sequence[_Scan] | None:
    """Return the scans of a snapshot."""
    entries = _entries(data)
    if entries is None:
        return None
    return [
        _Scan(name=str(entry.get("digest")), patients=frozenset({str(entry.get("patient"))}))
        for entry in entries
        if entry.get("patient")  # volumes.csv has none
    ]


def _entries(data: bytes | None) -> list[dict[str, Any]] | None:
    """Return what a snapshot lists; None where it cannot be read."""
    with suppress(ValueError, TypeError, RecursionError):
        listed = json.loads(data or b"")
        if isinstance(listed, list) and all("patient" in dict(entry) for entry in listed):
            return listed
    return None


def _named(scans: _Scans, patient: str) -> set[str]:
    """Return the names of a patient's scans."""
    return {scan.name for told in scans.values() for scan in told or () if patient in scan.patients}


def _naming_scans(scans: _Scans, marks: set[str]) -> list[str]:
    """Return the objects that tell a marked scan or patient, and those that cannot be read."""
    return [
        uri
        for uri, told in scans.items()
        if told is None or any(scan.name in marks or scan.patients & marks for scan in told)
    ]


def _names(told: Sequence[_Scan] | None, patient: str) -> bool:
    return any(patient in scan.patients for scan in told or ())


def _measured(state_uri: str, marks: set[str], runs: Collection[str]) -> Iterator[str]:
    """Yield what the reports of the runs that go measured, for the next run to compare with."""
    for found in _own(state_uri, "runs"):
        data = read(found.uri) or b""
        told = _object(data)
        if not told or told.get("run") in runs or _is_marked(data, marks):
            yield found.uri


def _generators(state_uri: str, marks: set[str]) -> Iterator[str]:
    """Yield the kept generators that saw them, first their entries, by which a run finds one."""
    folders = _folders(storage.join(state_uri, "generators"))
    doomed = {name: _naming(objects, marks, nameless=True) for name, objects in folders.items()}
    for found in _own(state_uri, "generators"):
        data = read(found.uri) or b""
        told = _object(data)
        if not told or doomed.get(str(told.get("digest"))) or _is_marked(data, marks):
            yield found.uri
    for objects in doomed.values():
        yield from objects


def _gans(state_uri: str, marks: set[str]) -> Iterator[str]:
    """Yield the checkpoints of GANs that saw them, or that do not say whom."""
    place = storage.join(state_uri, "gan")
    folders = _folders(place)
    named = {PurePosixPath(found.name).stem: found.uri for found in folders.get(SEEN, ())}
    for run in (folders.keys() - {SEEN, LEASES}) | named.keys():
        data = read(named[run]) if run in named else None
        if data is None or not _object(data) or _is_marked(data, marks):
            yield from (found.uri for found in folders.get(run, ()))
            yield from [named[run]] if run in named else []


def _object(data: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    with suppress(ValueError, RecursionError):
        told = json.loads(data)
        return told if isinstance(told, dict) else {}
    return {}


def _is_marked(data: bytes, marks: set[str]) -> bool:
    return any(mark.encode() in data for mark in marks)


def _runs(folders: _Folders) -> Iterator[str]:
    """Yield the folders that are runs'; what is no run's stays, whoever it names."""
    for name, objects in folders.items():
        held = {found.name.split("/")[1] for found in objects}
        if name not in FOLDERS and (RECORD in held or held <= OF_RUNS):
            yield name


def _folders(uri: str) -> dict[str, list[storage.StoredObject]]:
    """Return what is at any depth of each folder at a place."""
    folders: dict[str, list[storage.StoredObject]] = {}
    for found in storage.list_tree(uri):
        top, slash, _ = found.name.partition("/")
        if slash:
            folders.setdefault(top, []).append(found)
    return folders


def _naming(objects: Sequence[storage.StoredObject], marks: set[str], *, nameless: bool = False) -> list[str]:
    """Return all of a folder's objects where a table or JSON among them is marked; or `nameless`, has none.

    What is marked goes last: cut off before it, the folder is found again.
    """
    texts = [found for found in objects if found.name.endswith(_TEXTS)]
    naming = {found.uri for found in texts if _is_marked(read(found.uri) or b"", marks)}
    doomed = naming or (nameless and not texts)
    return sorted((found.uri for found in objects if doomed), key=lambda uri: (uri in naming, uri))


def leave_splits(state_uri: str, patient: str) -> None:
    """Take the patient out of every version of the splits; nobody else changes side."""
    for found in storage.list_tree(storage.join(state_uri, "splits")):
        with suppress(FileNotFoundError):
            while not _left(found.uri, patient):  # another one is forgotten at this moment
                pass


def _left(uri: str, patient: str) -> bool:
    data, generation = storage.read_versioned(uri)
    splits = Splits.stored(uri, data)
    if patient not in splits.folds:
        return True
    return storage.replace(uri, _without(splits, patient).text().encode(), generation)


def _without(splits: Splits, patient: str) -> Splits:
    def others(values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name != patient}

    return Splits(others(splits.folds), others(splits.sides))
