"""Which volumes a run reads, whose they are, and the digest that stands for all of it.

A volume's patient, session and site come from `volumes.csv` beside the files (columns file, patient, session,
site; the last two may be absent), else from named groups of `patient_pattern` on the file's name. A detached
header is matched as if its name ended in .nrrd. Patients and sessions enter the snapshot as pseudonyms; it is
the one place that says which object a pseudonym stands for.

A file that is no usable volume stays listed: extraction gives it a passport that says why it is left out.
"""

import csv
import hashlib
import io
import json
import re
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from components.shared import storage, volumes
from components.shared.faults import InputError, shown
from components.shared.pseudonyms import Pseudonyms, folded

TABLE = "volumes.csv"
SIMULATED = "simulated"  # the site of volumes that show nobody
MAX_TABLE = 2**24  # bytes
SUFFIXES = (".nrrd", ".nhdr")
_SEARCH_S = 20.0  # of this process's own time, for all names; a million take the default pattern six
_AT_ONCE = 8  # questions to a bucket, whose clients keep ten connections

_Answer = TypeVar("_Answer")


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
    text = json.dumps([asdict(entry) for entry in entries], indent=1, sort_keys=True) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    storage.create(_uri(state_uri, digest), text.encode())
    return digest


def read_snapshot(state_uri: str, digest: str) -> list[VolumeEntry]:
    """Return a snapshot's volumes, sorted by name."""
    try:
        listed = json.loads(storage.read_bytes(_uri(state_uri, digest)))
    except FileNotFoundError as error:
        raise InputError(
            f"snapshot_digest={digest}: not under {state_uri}; valid: what snapshot_volumes returned"
        ) from error
    return [VolumeEntry(**entry) for entry in listed if entry["patient"]]


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


def require_there(name: str, digest: str) -> None:
    """Refuse a link that leads nowhere, as archives leave them where a file was."""
    if digest == storage.NOWHERE:
        raise InputError(f"{name}: file: a link that leads nowhere; valid: a file that can be read")


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


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return what reads patients from names, or refuse it."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"patient_pattern={shown(pattern)}: {error}; valid: a regular expression") from error
    if "patient" not in compiled.groupindex:
        raise InputError(f"patient_pattern={shown(pattern)}: has no group; valid: one named (?P<patient>...)")
    return compiled


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """Whose a volume is."""

    patient: str
    session: str
    site: str


def _identify(source: Source) -> tuple[Mapping[str, storage.StoredObject], Mapping[str, _Owner]]:
    """Return what lies in the folder, and the owner of each volume that is asked for."""
    pattern = compile_pattern(source.patient_pattern)
    folder, glob = storage.split_glob(source.volumes_uri)
    beside = {found.name: found for found in _listed(source.volumes_uri, folder)}
    names = sorted(name for name in beside if fnmatchcase(name, glob) and name.lower().endswith(SUFFIXES))
    if not names:
        as_glob = ", its last part read as a glob of files" if folder != source.volumes_uri else ""
        valid = "a place with .nrrd or .nhdr files"
        raise InputError(f"volumes_uri={source.volumes_uri}: no volume there{as_glob}; valid: {valid}")
    table = _table(beside)
    with _in_time(pattern):
        owners = {name: _owner(name, table, pattern) for name in names}
    _require_one_spelling(owners)
    return beside, owners


@contextmanager
def _in_time(pattern: re.Pattern[str]) -> Iterator[None]:
    """End a search that would not: nested repeats try every way to share a name among them.

    Only the names themselves show it. Python hears a signal in the midst of a search, though in its first
    thread alone; elsewhere nothing is timed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise InputError(
            f"patient_pattern={shown(pattern.pattern)}: not done with the names in {_SEARCH_S:.0f} s;"
            " valid: a pattern without a repeat inside a repeat, as in (a+)+"
        )

    former = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SEARCH_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)


def _require_one_spelling(owners: Mapping[str, _Owner]) -> None:
    """Refuse two names that a person would read as one: that infant could be on two sides."""
    known: dict[str, str] = {}
    for name, who in owners.items():
        other = known.setdefault(folded(who.patient), name)
        if owners[other].patient != who.patient:
            raise InputError(
                f"{name}: its patient and that of {other} differ in capitals, or in how accents are stored,"
                " alone; valid: one spelling a patient"
            )


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


def _table(beside: Mapping[str, storage.StoredObject]) -> Mapping[str, Mapping[str, str]] | None:
    if TABLE not in beside:
        return None
    require_there(TABLE, beside[TABLE].checksum)
    rows: dict[str, Mapping[str, str]] = {}
    known: dict[str, int] = {}
    for line, row in _rows(beside[TABLE]):
        file, said = row["file"], f"{TABLE}: line {line}{_named(row['file'])}"
        if file in known:
            raise InputError(f"{said} is of the same file as line {known[file]}; valid: one row a file")
        if file not in beside:
            raise InputError(f"{said} names no file beside it; valid: rows of files that exist")
        rows[file], known[file] = row, line
    return rows


def _named(cell: str) -> str:
    """Return a cell in brackets where it is plainly a file's name; of any other a patient may be in it."""
    is_name = cell.lower().endswith(SUFFIXES) and re.fullmatch(r"[^,;\"/\\]{1,255}", cell)
    return f" ({cell})" if is_name and shown(cell) == cell else ""


def _rows(table: storage.StoredObject) -> list[tuple[int, dict[str, str]]]:
    """Return the table's rows, each with the number of its first line, or refuse what is no such table."""
    if table.size > MAX_TABLE:
        raise InputError(f"{TABLE}: {table.size} bytes; valid: at most {MAX_TABLE}")
    (_, columns), *records = [*_records(_text(table))] or [(1, [])]
    if not {"file", "patient"} <= set(columns):
        valid = "a first line with file, patient, and session, site if known"  # it may hold a patient: unsaid
        raise InputError(f"{TABLE}: its first line names no file and patient; valid: {valid}")
    if longer := [line for line, cells in records if len(cells) > len(columns)]:
        valid = "a cell a column, in quotes where it holds a comma"
        raise InputError(f"{TABLE}: line {longer[0]} has more cells than columns; valid: {valid}")
    return [(line, dict(zip_longest(columns, cells, fillvalue=""))) for line, cells in records]


def _text(table: storage.StoredObject) -> str:
    """Return what a table says; guessed, two names that differ in an accent would be one."""
    try:
        return storage.read_bytes(table.uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{TABLE}: no UTF-8 at byte {error.start}; valid: CSV saved as UTF-8") from error


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of every row that has some, and the number of the line on which it begins."""
    lines, begins = csv.reader(io.StringIO(text, newline="")), 1
    try:
        for cells in lines:
            if cells:
                yield begins, cells
            begins = lines.line_num + 1
    except csv.Error as error:
        valid = "comma-separated fields of less than 128 kB, quotes in pairs"
        raise InputError(f"{TABLE}: after line {begins - 1}: {error}; valid: {valid}") from error


def _owner(name: str, table: Mapping[str, Mapping[str, str]] | None, pattern: re.Pattern[str]) -> _Owner:
    _require_text(name)
    who = _from_table(name, table) if table is not None else _from_name(name, pattern)
    patient = (who.get("patient") or "").strip()
    if not re.fullmatch(r"[^\s,\"'/\\][^,\"'/\\\n]*", patient):
        raise InputError(
            f"{name}: its patient; valid: one character or more, no comma, quote, slash or line end"
        )
    session, site = who.get("session") or Path(name).stem, who.get("site") or ""
    return _Owner(patient=patient, session=session.strip(), site=site.strip())


def _require_text(name: str) -> None:
    """Refuse a name that is not text, as old archives leave it, or not one line."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name!a}: its name is no UTF-8; valid: a file of another name") from error
    if not name.isprintable():
        raise InputError(f"{name!a}: its name holds a line end or the like; valid: another name")


def _from_table(name: str, table: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    if name not in table:
        raise InputError(f"{name}: no row in {TABLE} beside it; valid: a row for every volume, or no {TABLE}")
    return table[name]


def _from_name(name: str, pattern: re.Pattern[str]) -> Mapping[str, str]:
    match = pattern.search(name) or pattern.search(str(Path(name).with_suffix(".nrrd")))
    if match is None:
        raise InputError(
            f"{name}: whose volume it is cannot be read from its name by"
            f" patient_pattern={shown(pattern.pattern)};"
            f" valid: a pattern that matches every name, or a {TABLE} beside it"
        )
    return {key: value or "" for key, value in match.groupdict().items()}


def _entry(beside: Mapping[str, storage.StoredObject], name: str, who: _Owner) -> VolumeEntry:
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
            f"{name}: data file: {shown(absent[0])}; valid: a file that exists beside its header"
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
