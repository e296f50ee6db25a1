"""Which volumes a run reads, whose they are, and the digest that stands for all of it.

Patients and sessions, which owners.py tells, enter the snapshot as pseudonyms; it is the one place that says
which object a pseudonym stands for.

A file that is no usable volume stays listed: extraction gives it a passport that says why it is left out.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from components.shared import storage, stored_json, volumes
from components.shared.faults import InputError
from components.shared.nrrd_fields import ending
from components.shared.owners import SUFFIXES, TABLE, Owner, compile_pattern, owners_of, require_there
from components.shared.planes import PlaneSet
from components.shared.pseudonyms import Pseudonyms

SIMULATED = "simulated"  # the site of volumes that show nobody
_AT_ONCE = 8  # questions to a bucket, whose clients keep ten connections

_Answer = TypeVar("_Answer")


def is_simulated(planes: PlaneSet) -> bool:
    """Tell whether planes are of volumes that show nobody."""
    return any(row.site == SIMULATED for row in planes.rows)


@dataclass(frozen=True, kw_only=True)
class VolumeEntry:
    """One volume of a snapshot; the entry of volumes.csv itself has no patient."""

    name: str
    size: int  # bytes, with its detached files
    digest: str  # of its bytes and its detached files'
    patient: str  # a pseudonym, as is the session
    session: str
    site: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where volumes are and how their owners are known."""

    volumes_uri: str
    patient_pattern: str
    minimum_patients: int = 3  # one each to train, validate and test on
    missing_geometry: str = "refuse"  # what the check makes of volumes without orientation


def check(source: Source) -> tuple[set[str], Sequence[str]]:
    """Return the patients by their own names, and a line for each file that will be left out.

    Raises InputError for the first thing that keeps the rest from being used. It reads the volumes' first
    bytes alone, whatever their size.
    """
    beside, owners = _identify(source)
    faults = _of_each(owners, lambda name: _fault(beside, name, source.missing_geometry))
    usable = {who.patient for name, who in owners.items() if not faults[name]}
    told = [fault for fault in faults.values() if fault]
    if told and len(told) == len(owners):
        raise InputError(told[0])
    _require_patients(source, usable, len(owners) - len(told))
    return usable, told


def list_entries(
    source: Source, pseudonyms: Pseudonyms, forgotten: Collection[str] = ()
) -> list[VolumeEntry]:
    """List the volumes and their table with the digests of their contents, sorted by name.

    A scan that lies there twice under one patient is listed once, one of a forgotten patient not at all.
    """
    beside, owners = _identify(source)
    entries = _one_entry_a_scan(
        _of_each(owners, lambda name: _entry(beside, name, owners[name])).values(),
        lambda name: not _fault(beside, name, source.missing_geometry),
    )
    entries = [_pseudonymous(entry, pseudonyms) for entry in entries]
    entries = [entry for entry in entries if entry.patient not in forgotten]
    _require_patients(source, {entry.patient for entry in entries}, len(entries))
    if TABLE in beside:
        about = beside[TABLE]
        entries.append(
            VolumeEntry(name=TABLE, size=about.size, digest=about.digest, patient="", session="", site="")
        )
    return sorted(entries, key=lambda entry: entry.name)


def write_snapshot(state_uri: str, entries: Sequence[VolumeEntry]) -> str:
    """Store a snapshot under its digest, once, and return the digest."""
    # Not stored_json.text: the bytes are the digest, by which states know their volumes.
    text = json.dumps([asdict(entry) for entry in entries], indent=1, sort_keys=True) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    storage.create(_uri(state_uri, digest), text.encode())
    return digest


def read_snapshot(state_uri: str, digest: str) -> list[VolumeEntry]:
    """Return a snapshot's volumes, sorted by name."""
    uri = _uri(state_uri, digest)
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise InputError(
            f"snapshot_digest={digest}: not under {state_uri}; valid: what snapshot_volumes returned"
        ) from error
    shape = VolumeEntry.__annotations__
    listed = stored_json.parse(uri, data, [shape])
    entries = [VolumeEntry(**{name: entry[name] for name in shape}) for entry in listed]
    return [entry for entry in entries if entry.patient]


def require_unchanged(volumes_uri: str, entries: Sequence[VolumeEntry]) -> None:
    """Refuse volumes that are no longer what the snapshot says: its digest would then name other pixels."""
    folder, _ = storage.split_glob(volumes_uri)
    beside = {found.name: found for found in _listed(volumes_uri, folder)}
    there = [entry.name for entry in entries if entry.name in beside]
    contents = _of_each(there, lambda name: _content(beside, name)[1])
    for entry in entries:
        if contents.get(entry.name) != entry.digest:
            raise InputError(
                f"{entry.name}: changed since the snapshot was taken; valid: run the pipeline again"
            )


def require_one_owner(first: VolumeEntry, again: VolumeEntry) -> None:
    """Refuse one scan under two patients."""
    if first.patient != again.patient:
        raise InputError(
            f"{again.name}: the same scan as {first.name}, yet of another patient; valid: one patient"
            f" for one scan, named in {TABLE} or by the file's name"
        )


def _of_each(names: Iterable[str], ask: Callable[[str], _Answer]) -> dict[str, _Answer]:
    """Ask about several files at once: of a bucket every answer takes a journey."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(ask, names), strict=True))


def _uri(state_uri: str, digest: str) -> str:
    return storage.join(state_uri, "snapshots", f"{digest}.json")


def _listed(volumes_uri: str, folder: str) -> list[storage.StoredObject]:
    try:
        return storage.list_objects(folder)
    except InputError as error:
        raise InputError(f"volumes_uri={volumes_uri}: {str(error).removeprefix(f'{folder}: ')}") from error


def _identify(source: Source) -> tuple[Mapping[str, storage.StoredObject], Mapping[str, Owner]]:
    """Return what lies in the folder, and the owner of each volume that is asked for."""
    pattern = compile_pattern(source.patient_pattern)
    folder, glob = storage.split_glob(source.volumes_uri)
    beside = {found.name: found for found in _listed(source.volumes_uri, folder)}
    names = sorted(name for name in beside if fnmatchcase(name, glob) and name.lower().endswith(SUFFIXES))
    if not names:
        as_glob = ", its last part read as a glob of files" if folder != source.volumes_uri else ""
        valid = "a place with .nrrd or .nhdr files"
        raise InputError(f"volumes_uri={source.volumes_uri}: no volume there{as_glob}; valid: {valid}")
    return beside, owners_of(names, pattern, beside)


def _fault(beside: Mapping[str, storage.StoredObject], name: str, missing_geometry: str) -> str:
    """Return what a volume's first bytes have against it, "" for nothing; a store's refusal is raised."""
    head = _head(beside[name])
    try:
        require_there(name, beside[name].checksum)
        volumes.read_head(Path(name), head, missing_geometry)
        _parts(beside, name, head)
    except InputError as error:
        return str(error)
    return ""


def _require_patients(source: Source, patients: Collection[str], volumes: int) -> None:
    """Refuse too few patients, without a word of who they are."""
    least = source.minimum_patients
    if len(patients) < least:
        found = f"{len(patients)} patient{'s' * (len(patients) != 1)} in {volumes} usable volumes"
        raise InputError(
            f"volumes_uri={source.volumes_uri}: {found}; valid: volumes of at least {least} patients"
            + " (train, validation, test)" * (least >= 3)
        )


def _one_entry_a_scan(entries: Iterable[VolumeEntry], is_volume: Callable[[str], bool]) -> list[VolumeEntry]:
    """Drop copies, and refuse one scan under two patients: one infant would be on two sides.

    What is no volume is nobody's scan: two empty files are two that will be left out. It is asked of equal
    files alone, since the answer costs a look at the header.
    """
    first: dict[str, VolumeEntry] = {}
    nobodys = []
    for entry in entries:
        other = first.setdefault(entry.digest, entry)
        if other is not entry and not is_volume(entry.name):
            nobodys.append(entry)
        else:
            require_one_owner(other, entry)
    return [*first.values(), *nobodys]


def _pseudonymous(entry: VolumeEntry, pseudonyms: Pseudonyms) -> VolumeEntry:
    patient, session = pseudonyms.of("patient", entry.patient), pseudonyms.of("session", entry.session)
    return replace(entry, patient=patient, session=session)


def _entry(beside: Mapping[str, storage.StoredObject], name: str, who: Owner) -> VolumeEntry:
    size, digest = _content(beside, name)
    return VolumeEntry(
        name=name, size=size, digest=digest, patient=who.patient, session=who.session, site=who.site
    )


def _is_lost(found: storage.StoredObject) -> bool:
    return found.checksum == storage.NOWHERE


def _head(found: storage.StoredObject) -> bytes:
    return b"" if _is_lost(found) else storage.read_head(found.uri, volumes.MAX_HEADER)


def _parts(beside: Mapping[str, storage.StoredObject], name: str, head: bytes) -> list[storage.StoredObject]:
    """Return a volume's file and its detached ones, which its first bytes name."""
    found = beside[name]
    detached = volumes.data_files(Path(name), head)
    if absent := [file for file in detached if file not in beside or _is_lost(beside[file])]:
        raise InputError(
            f"{name}: data file: {ending(absent[0])} (not there); valid: a file that exists beside its header"
        )
    return [found, *(beside[file] for file in detached)]


def _content(beside: Mapping[str, storage.StoredObject], name: str) -> tuple[int, str]:
    """Return the size and the digest of a volume, its detached files included where its header names them."""
    head = _head(beside[name])
    try:
        parts = _parts(beside, name, head)
    except InputError:  # it is no volume, and yet what it holds is known by its digest
        parts = [beside[name]]
    if len(parts) == 1:
        return parts[0].size, parts[0].digest
    together = hashlib.sha256("\n".join(part.digest for part in parts).encode()).hexdigest()
    return sum(part.size for part in parts), f"sha256:{together}"
