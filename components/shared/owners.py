"""Whose each volume is: from `volumes.csv` beside the files, else from their names.

The table has columns file, patient, session, site (the last two may be absent) and a row for every volume;
without one, named groups of `patient_pattern` are read from a file's name. A detached header is matched as if
its name ended in .nrrd. What a cell holds may be a patient's name, so a refusal quotes none.

The default pattern takes for the patient whatever is not a date at the end, so that a date written otherwise
would make a patient of every session. Names that look so are refused, but no years of two digits, and no mere
numbers or words (p07_1, p07_pre), which may tell infants apart; of a pattern of one's own nothing is.
"""

import csv
import hashlib
import io
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from components.shared import storage
from components.shared.faults import InputError, shown
from components.shared.pseudonyms import folded

TABLE = "volumes.csv"
DEFAULT_PATTERN = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$"
MAX_TABLE = 2**24  # bytes
SUFFIXES = (".nrrd", ".nhdr")
_SEARCH_S = 20.0  # of this process's own time, for all names; a million take the default pattern six
_YEAR, _MONTH, _DAY, _GAP = r"(19|20)\d\d", r"(0?[1-9]|1[0-2])", r"(0?[1-9]|[12]\d|3[01])", r"[-_. ]+"
_MM, _DD = r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
_CLOSED = rf"({_YEAR}{_MM}{_DD}|{_DD}{_MM}{_YEAR}|{_MM}{_DD}{_YEAR})"  # without gaps
_NAMED = r"[-_. ]*(jan|ene|feb|mar|apr|abr|may|jun|jul|aug|ago|sep|oct|nov|dec|dic)[a-z]{0,7}[-_. ]*"
# A date with gaps, in any order; one with a month's name; one without gaps, perhaps with a time, where words
# stand beside it, as a record's number may look so; a session by its name.
_DATED = re.compile(
    rf"(?<!\d)({_YEAR}{_GAP}{_MONTH}{_GAP}{_DAY}|{_DAY}{_GAP}{_MONTH}{_GAP}{_YEAR}"
    rf"|{_MONTH}{_GAP}{_DAY}{_GAP}{_YEAR}|{_DAY}{_NAMED}{_YEAR}|{_YEAR}{_NAMED}{_DD})(?!\d)"
    rf"|(?<=[-_. ]){_CLOSED}(\d{{4}}(\d\d)?)?(?!\d)|^{_CLOSED}(?=[-_. ])"
    r"|(?<=[-_. ])ses-[a-z\d]+|(?<=[-_. ])(session|sesion|visit|visita|exam|sweep)[-_. ]?\d+(?![a-z\d])",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[-_. ()]+")
_OWN_NAMES = (
    f"a {TABLE} beside them, or a patient_pattern of one's own that matches every name,"
    r" as ^(?P<patient>[^_]+)_.*\.nrrd$"
)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose a volume is."""

    patient: str
    session: str
    site: str


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return what reads patients from names, or refuse it."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"patient_pattern={shown(pattern)}: {error}; valid: a regular expression") from error
    if "patient" not in compiled.groupindex:
        raise InputError(f"patient_pattern={shown(pattern)}: has no group; valid: one named (?P<patient>...)")
    return compiled


def without_names(pattern: str) -> str:
    """Return what is told of a pattern: the default itself, of one's own, which may list patients, a hash."""
    if pattern == DEFAULT_PATTERN:
        return pattern
    return f"own, {hashlib.sha256(pattern.encode(errors='surrogatepass')).hexdigest()[:12]}"


def owners_of(
    names: Iterable[str], pattern: re.Pattern[str], beside: Mapping[str, storage.StoredObject]
) -> Mapping[str, Owner]:
    """Return the owner of each volume by its name, from the table among what lies beside, or the pattern.

    Raises InputError for a name or table that does not say, for one patient in two spellings, and where the
    default pattern would take sessions of one patient for patients.
    """
    table = _table(beside)
    with _in_time(pattern):
        owners = {name: _owner(name, table, pattern) for name in names}
    _require_one_spelling(owners)
    if table is None and pattern.pattern == DEFAULT_PATTERN:
        _require_no_date(owners)
        _require_no_longer_name(owners)
    return owners


def require_there(name: str, digest: str) -> None:
    """Refuse a link that leads nowhere, as archives leave them where a file was."""
    if digest == storage.NOWHERE:
        raise InputError(f"{name}: file: a link that leads nowhere; valid: a file that can be read")


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


def _require_one_spelling(owners: Mapping[str, Owner]) -> None:
    """Refuse two names that a person would read as one: that infant could be on two sides."""
    known: dict[str, str] = {}
    for name, who in owners.items():
        other = known.setdefault(folded(who.patient), name)
        if owners[other].patient != who.patient:
            raise InputError(
                f"{name}: its patient and that of {other} differ in capitals, or in how accents are stored,"
                " alone; valid: one spelling a patient"
            )


def _require_no_date(owners: Mapping[str, Owner]) -> None:
    """Refuse patients in whose names a date or session is left: each of one infant would be an infant."""
    if dated := [name for name, who in owners.items() if _DATED.search(who.patient)]:
        raise InputError(
            f"{_first(dated)}: a date or a session is left in the patient's name by the default"
            f" patient_pattern, so that each session may be a patient;"
            f" valid: <patient>_<yyyy>_<mm>_<dd>.nrrd, {_OWN_NAMES}"
        )


def _require_no_longer_name(owners: Mapping[str, Owner]) -> None:
    """Refuse a patient whose name is another's and more, as copies and numbered sessions of one have it."""
    known: dict[str, str] = {}
    for name, who in owners.items():
        known.setdefault(folded(who.patient), name)
    for name, who in owners.items():
        patient = folded(who.patient)
        starts = [patient[: gap.start()] for gap in _SEPARATOR.finditer(patient)]
        if shorter := [known[start] for start in starts if start in known]:
            raise InputError(
                f"{name}: its patient's name by the default patient_pattern is that of {shorter[0]} and more,"
                f" so that one infant may be two patients; valid: names of which none begins another,"
                f" {_OWN_NAMES}, which may tell such names apart"
            )


def _first(names: Sequence[str]) -> str:
    """Return the first of some names, and how many there are besides."""
    return names[0] + f" (and {len(names) - 1} more)" * (len(names) > 1)


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


def _owner(name: str, table: Mapping[str, Mapping[str, str]] | None, pattern: re.Pattern[str]) -> Owner:
    _require_text(name)
    who = _from_table(name, table) if table is not None else _from_name(name, pattern)
    patient = (who.get("patient") or "").strip()
    if not re.fullmatch(r"[^\s,\"'/\\][^,\"'/\\\n]*", patient):
        raise InputError(
            f"{name}: its patient; valid: one character or more, no comma, quote, slash or line end"
        )
    session, site = who.get("session") or Path(name).stem, who.get("site") or ""
    return Owner(patient=patient, session=session.strip(), site=site.strip())


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
