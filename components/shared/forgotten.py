"""Forgetting a patient: what descends from them leaves the state, and their volumes are never read again.

    {state_uri}/forgotten/{pseudonym}    written first, empty: the patient's volumes are left out
                                         then with REMOVING, once no other run works on the state,
                                         or with TAKEN_BACK, where one does: nobody is forgotten
                                         and at the end with DONE: whoever asks again removes no checkpoints

Removed are their planes, every snapshot that lists them, their row in every version of the splits, every run
and study whose models saw them or were measured on them, and every kept generator that did. Of the GANs'
checkpoints and the marks of finished runs all go, unless nothing in the state names the patient. The next run
finds none of these and makes them anew.
"""

import io
import json
import time
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from components.shared import storage
from components.shared.faults import ForgottenError, InputError
from components.shared.history import HISTORY
from components.shared.lease import LEASE, require_free
from components.shared.ledger import EXPERTS, RECORD
from components.shared.planes import INDEX, read_rows
from components.shared.pseudonyms import is_pseudonym
from components.shared.splits import Splits

ASKED, REMOVING, DONE, TAKEN_BACK = b"", b"removing", b"done", b"taken back"
PATIENTS, LEASES = "patients", "leases"  # beside the GANs' folders: whom each descends from, who works in it
_WAIT_S, _WAITS = 1.0, 120  # for a run that asks whether it may forget
_FOLDER = "forgotten"
_TEXTS = (".json", ".csv")  # what says whose the objects of a folder are
FOLDERS = ("planes", "snapshots", "splits", "gan", "generators", "finished", "runs", _FOLDER)
# What a run keeps in a folder of its own; a folder of the state with anything else is not ours to touch.
OF_RUNS = {RECORD, LEASE, HISTORY, EXPERTS, "rounds", "published", "cells", "synthetic", "report"}


def forgotten(state_uri: str) -> set[str]:
    """Return the patients whose volumes are left out, by pseudonym."""
    return {found.name for found in _notes(state_uri) if _read(found.uri) not in (None, TAKEN_BACK)}


def forget(state_uri: str, patient: str) -> list[str]:
    """Remove whatever descends from a patient; return what was removed, in the order of its names.

    Raises InputError for what is no patient's pseudonym, and while another run works on the state: it would
    bring the patient back. One that nothing descends from is noted all the same, and nothing is removed.
    """
    if not is_pseudonym(patient):
        raise InputError(
            f"forget_patient={patient}: no pseudonym; valid: one as reports print it, e.g. 3fa1-7c21e09b4d"
        )
    _refuse_session(state_uri, patient)
    note = _note(state_uri, patient)
    mine = _ask(note)  # before anybody is asked: a stage that begins now sees it
    try:
        _require_idle(state_uri)
        # Asked while others still wait for the answer: from REMOVING on they remove what is theirs as well.
        unknown = mine and not _is_known(state_uri, patient)
    except BaseException:
        if mine:
            with suppress(InputError, OSError):
                _turn(note, ASKED, TAKEN_BACK)
        raise
    again = _begin(note) == DONE
    doomed = _remove(state_uri, patient, [] if again or unknown else _nameless(state_uri))
    storage.drop_unfinished(state_uri)  # parts of uploads that were killed name nobody, and may be of anybody
    _turn(note, REMOVING, DONE)
    return sorted(uri.removeprefix(state_uri).lstrip("/") for uri in doomed)


def require_remembered(state_uri: str, patients: Iterable[str]) -> None:
    """Refuse patients who were forgotten meanwhile, and remove again what this run wrote of them.

    A stage that writes of patients where no lease is held asks this afterwards, one that holds a lease before
    it writes: either it sees the note that is left before anything is removed, or what it wrote was there to
    be removed. Raises ForgottenError.
    """
    noted = {found.name for found in _notes(state_uri)} & set(patients)
    gone = sorted(patient for patient in noted if _is_gone(state_uri, patient))
    for patient in gone:
        _remove(state_uri, patient)
    if gone:
        raise ForgottenError(
            f"patients {', '.join(gone)}: forgotten while this run was under way, or before; valid: submit"
            " it again, which leaves them out, with no artifact that descends from them"
        )


def _refuse_session(state_uri: str, patient: str) -> None:
    """Refuse the pseudonym of a session, which stands beside its patient's and looks alike."""
    for found in storage.list_tree(storage.join(state_uri, "snapshots")):
        for entry in _entries(_read(found.uri)):
            if entry.get("session") == patient:
                valid = f"its patient's, {entry['patient']}"
                raise InputError(f"forget_patient={patient}: a session's pseudonym; valid: {valid}")


def _entries(data: bytes | None) -> list[dict[str, Any]]:
    """Return what a snapshot lists; nothing of one that cannot be read."""
    with suppress(ValueError, TypeError):
        return [entry for entry in json.loads(data or b"[]") if isinstance(entry, dict)]
    return []


def _is_known(state_uri: str, patient: str) -> bool:
    """Tell whether anything in the state names the patient, or may be theirs for want of a name."""
    splits = storage.list_tree(storage.join(state_uri, "splits"))
    gans = _folders(storage.join(state_uri, "gan"))
    named = {found.name.split("/")[-1].removesuffix(".json") for found in gans.get(PATIENTS, ())}
    return (
        any(patient in Splits.stored(found.uri, storage.read_bytes(found.uri)).folds for found in splits)
        or not gans.keys() <= named | {PATIENTS, LEASES}
        or bool(_naming(gans.get(PATIENTS, ()), patient))
        or any(True for _ in _of_patient(state_uri, patient))
    )


def _notes(state_uri: str) -> list[storage.StoredObject]:
    return storage.list_tree(storage.join(state_uri, _FOLDER))


def _note(state_uri: str, patient: str) -> str:
    return storage.join(state_uri, _FOLDER, patient)


def _ask(note: str) -> bool:
    """Leave a note, or renew one that was taken back; tell whether it is ours to take back."""
    if storage.create(note, ASKED):
        return True
    told, generation = storage.read_versioned(note)
    return told == TAKEN_BACK and storage.replace(note, ASKED, generation)


def _begin(note: str) -> bytes:
    """Say that what is the patient's is removed from now on; return what the note says."""
    told = _turn(note, ASKED, REMOVING)
    if told == TAKEN_BACK:
        raise InputError(f"{note}: another run that asked was refused meanwhile; valid: submit it again")
    return told


def _turn(note: str, before: bytes, after: bytes) -> bytes:
    """Replace what a note says, if it says that; return what it says then. A note is never deleted."""
    while True:
        told, generation = storage.read_versioned(note)
        if told != before:
            return told
        if storage.replace(note, after, generation):
            return after


def _is_gone(state_uri: str, patient: str) -> bool:
    """Tell whether a patient is forgotten; where a run only asks whether it may, wait for its answer.

    A stage that holds a lease is that answer, and goes on once the note is taken back.
    """
    for _ in range(_WAITS):
        told = _read(_note(state_uri, patient))
        if told is None or told == TAKEN_BACK:
            return False
        if told != ASKED:
            return True
        time.sleep(_WAIT_S)
    raise ForgottenError(
        f"patient {patient}: another run asked to forget them and did not end; valid: forget_patient again,"
        " which takes away what is theirs"
    )


def _read(uri: str) -> bytes | None:
    """Return an object's bytes, None where another run removed it meanwhile."""
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        return None


def _require_idle(state_uri: str) -> None:
    for found in storage.list_tree(state_uri):
        if found.name.endswith(f"/{LEASE}"):
            with suppress(FileNotFoundError):  # removed with its run at this moment
                require_free(found.uri)


def _remove(state_uri: str, patient: str, besides: Iterable[str] = ()) -> list[str]:
    """Remove what names the patient, and other objects; return their addresses."""
    _leave_splits(state_uri, patient)
    doomed = [*_of_patient(state_uri, patient), *besides]
    for uri in doomed:
        storage.delete(uri)
    return doomed


def _of_patient(state_uri: str, patient: str) -> Iterator[str]:
    """Yield the objects that descend from this patient."""
    folders = _folders(state_uri)
    runs = list(_runs(folders, patient))
    gone = {uri.removeprefix(state_uri).lstrip("/").partition("/")[0] for uri in runs}
    yield from _single(state_uri, patient, folders.keys() - gone)
    yield from runs


def _single(state_uri: str, patient: str, runs: Collection[str]) -> Iterator[str]:
    """Yield the objects that are of this patient, or that say what a run but these measured."""
    told: dict[str, Callable[[bytes], bool]] = {
        "planes": lambda data: patient in _patients_of_cell(data),
        "generators": lambda data: patient in json.loads(data).get("patients", ()),
        "snapshots": lambda data: any(entry["patient"] == patient for entry in json.loads(data)),
        "runs": lambda data: patient.encode() in data or json.loads(data).get("run") not in runs,
    }
    for folder, holds in told.items():
        for found in storage.list_tree(storage.join(state_uri, folder)):
            data = None if "/" in found.name else _read(found.uri)
            if data is not None and _may(holds, data):
                yield found.uri
    for objects in _folders(storage.join(state_uri, "generators")).values():
        yield from _naming(objects, patient)


def _may(holds: Callable[[bytes], bool], data: bytes) -> bool:
    """Tell whether an object is the patient's; a damaged one may be anybody's, and is made anew."""
    try:
        return holds(data)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a torn archive or text gives rise to
        return True


def _nameless(state_uri: str) -> list[str]:
    """Return the objects that name no patient and may be of this one."""
    places = (storage.join(state_uri, folder) for folder in ("gan", "finished"))
    return [found.uri for place in places for found in storage.list_tree(place)]


def _patients_of_cell(data: bytes) -> set[str]:
    """Return whose planes a kept volume holds; a refused one holds none, its passport names its owner."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {json.loads(archive.read("passport.json"))["patient"]}
        if INDEX in archive.namelist():
            with archive.open(INDEX) as file:
                found |= {row.patient for row in read_rows(io.TextIOWrapper(file, newline=""))}
    return found


def _runs(folders: Mapping[str, Sequence[storage.StoredObject]], patient: str) -> Iterator[str]:
    """Yield all objects of every run that knew the patient; what is no run's stays, whoever it names."""
    for name, objects in folders.items():
        held = {found.name.split("/")[1] for found in objects}
        if name not in FOLDERS and (RECORD in held or held <= OF_RUNS):
            yield from _naming(objects, patient)


def _folders(uri: str) -> dict[str, list[storage.StoredObject]]:
    """Return what is at any depth of each folder at a place."""
    folders: dict[str, list[storage.StoredObject]] = {}
    for found in storage.list_tree(uri):
        top, slash, _ = found.name.partition("/")
        if slash:
            folders.setdefault(top, []).append(found)
    return folders


def _naming(objects: Sequence[storage.StoredObject], patient: str) -> list[str]:
    """Return all of a folder's objects where some table or JSON among them names the patient.

    What names the patient goes last: cut off before it, the folder is found again.
    """
    texts = [found for found in objects if found.name.endswith(_TEXTS)]
    naming = {found.uri for found in texts if patient.encode() in (_read(found.uri) or b"")}
    return sorted((found.uri for found in objects if naming), key=lambda uri: (uri in naming, uri))


def _leave_splits(state_uri: str, patient: str) -> None:
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
