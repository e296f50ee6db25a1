"""Forgetting a patient: what descends from them leaves the state, and their volumes are never read again.

    {state_uri}/forgotten/{pseudonym}    written first, empty: the patient's volumes are left out
                                         then with REMOVING, once no other run works on the state,
                                         or with TAKEN_BACK, where one does: nobody is forgotten
                                         and at the end with DONE

Below the word stand the hashes of what their scans show: one that comes again under another name is theirs.
descendants.py says what is removed. The next run finds none of it and makes it anew; what a run that was
killed left of it, the next one removes.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from components.shared import storage
from components.shared.descendants import NOTES, descent, sessions
from components.shared.faults import ForgottenError, InputError
from components.shared.lease import LEASE, require_free
from components.shared.progress import emit
from components.shared.pseudonyms import is_pseudonym
from components.shared.splits import Splits

ASKED, REMOVING, DONE, TAKEN_BACK = b"", b"removing", b"done", b"taken back"
Owners = Mapping[str, str]
NOBODYS: Owners = MappingProxyType({})
_OTHERS = (
    "theirs are scans now that were kept as the forgotten patient's; if they are one, forget them as well"
)
_WAIT_S, _WAITS = 1.0, 120  # for a run that asks whether it may forget


def noted(state_uri: str) -> set[str]:
    """Return the patients whom somebody asked to forget, by pseudonym, whatever came of it."""
    listed = storage.list_tree(storage.join(state_uri, NOTES))
    return {found.name for found in listed if not found.name.startswith(".")}  # as .DS_Store


def forgotten(state_uri: str, among: Iterable[str] | None = None) -> set[str]:
    """Return the patients whose volumes are left out, by pseudonym; it waits while that is being asked."""
    asked = noted(state_uri) if among is None else noted(state_uri) & set(among)
    return {patient for patient in asked if _is_gone(state_uri, patient)}


def forget(state_uri: str, patient: str, owners: Owners | None = NOBODYS) -> list[str]:
    """Remove whatever descends from a patient; return what was removed, in the order of its names.

    `owners` says whose each file is now, by its digest, as the folder of volumes tells. Where it is None the
    planes, which alone tell what else is theirs, and the note stay for the next run that can ask.

    Raises InputError for what is no patient's pseudonym, and while another run works on the state: it would
    bring the patient back. One that nothing descends from is noted all the same.
    """
    if not is_pseudonym(patient):
        raise InputError(
            f"forget_patient={patient}: no pseudonym; valid: one as reports print it, e.g. 3fa1-7c21e09b4d"
        )
    _refuse_session(state_uri, patient)
    note = _note(state_uri, patient)
    _ask(note)  # before anybody is asked: a stage that begins now sees it
    try:
        _require_idle(state_uri)
    except BaseException:
        with suppress(InputError, OSError):  # also that of an attempt of this run that was killed
            _swap(note, ASKED, TAKEN_BACK)
        raise
    _begin(note)
    return _finish(state_uri, patient, owners)


def cut_off(state_uri: str) -> list[str]:
    """Return the patients over whom a run was killed as it forgot them."""
    return [name for name in sorted(noted(state_uri)) if _word(_note(state_uri, name)) == REMOVING]


def finish_forgetting(state_uri: str, owners: Owners = NOBODYS) -> list[str]:
    """Remove the rest of those whom a killed run began to forget; return them.

    Nobody has to be asked again: since it began, no stage takes them up.
    """
    patients = cut_off(state_uri)
    for patient in patients:
        _finish(state_uri, patient, owners)
    return patients


def forgotten_scans(state_uri: str) -> dict[str, str]:
    """Return the hashes of what the scans of forgotten patients show, each with its patient."""
    return {
        scan: patient for patient in sorted(noted(state_uri)) for scan in _scans(_note(state_uri, patient))
    }


def require_remembered(state_uri: str, patients: Iterable[str], scans: Collection[str] = ()) -> None:
    """Refuse patients who were forgotten meanwhile, and remove again what this run wrote of them.

    A scan of theirs, by the hash of what it shows, is refused under whatever name it goes in this run.

    A stage that writes of patients where no lease is held asks this afterwards, one that holds a lease before
    it writes: either it sees the note that is left before anything is removed, or what it wrote was there to
    be removed. Raises ForgottenError.
    """
    gone = forgotten(state_uri, patients)
    if scans:
        gone |= {patient for scan, patient in forgotten_scans(state_uri).items() if scan in scans}
    for patient in gone:
        # Open again: only a run that has listed the volumes knows whose scans are, and can end it.
        _swap(_note(state_uri, patient), DONE, REMOVING)
        _remove(state_uri, patient, None)
    if gone:
        raise ForgottenError(
            f"patients {', '.join(sorted(gone))}: forgotten while this run was under way, or before; valid:"
            " submit it again, which leaves them out, with no artifact that descends from them"
        )


def _finish(state_uri: str, patient: str, owners: Owners | None) -> list[str]:
    removed = _remove(state_uri, patient, owners)
    storage.drop_unfinished(state_uri)  # parts of uploads that were killed name nobody, and may be of anybody
    if owners is not None:
        _swap(_note(state_uri, patient), REMOVING, DONE)
    place = storage.join(state_uri, "")
    return sorted(uri.removeprefix(place) for uri in removed)


def _remove(state_uri: str, patient: str, owners: Owners | None) -> Sequence[str]:
    """Take a patient out of a state; return the addresses of what was removed."""
    note = _note(state_uri, patient)
    found = descent(state_uri, patient, _scans(note), owners)
    _know(note, found.scans)  # before they are gone, by which alone they can be known
    if found.others:
        emit("forget_patient", "warning", message=f"{patient}: {', '.join(sorted(found.others))}: {_OTHERS}")
    _leave_splits(state_uri, patient)
    for uri in found.uris:
        storage.delete(uri)
    return found.uris


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
    return storage.replace(uri, splits.without(patient).text().encode(), generation)


def _refuse_session(state_uri: str, patient: str) -> None:
    """Refuse the pseudonym of a session, which stands beside its patient's and looks alike."""
    for session, whose in sessions(state_uri):
        if session == patient:
            valid = f"its patient's, {whose}"
            raise InputError(f"forget_patient={patient}: a session's pseudonym; valid: {valid}")


def _note(state_uri: str, patient: str) -> str:
    return storage.join(state_uri, NOTES, patient)


def _ask(note: str) -> None:
    """Leave a note, or renew one that was taken back."""
    if not storage.create(note, ASKED):
        _swap(note, TAKEN_BACK, ASKED)


def _begin(note: str) -> None:
    """Say that what is the patient's is removed from now on, or once more."""
    if _swap(note, ASKED, REMOVING) == TAKEN_BACK:
        raise InputError(f"{note}: another run that asked was refused meanwhile; valid: submit it again")
    _swap(note, DONE, REMOVING)


def _swap(note: str, before: bytes, after: bytes) -> bytes:
    """Replace the word of a note, if it is that one; return the word then. A note is never deleted."""
    while True:
        told, generation = storage.read_versioned(note)
        word, line, scans = told.partition(b"\n")
        if word != before:
            return word
        if storage.replace(note, after + line + scans, generation):
            return after


def _know(note: str, scans: Collection[str]) -> None:
    """Add scans to a note."""
    while True:
        told, generation = storage.read_versioned(note)
        word, *known = told.split(b"\n")
        more = sorted({*known, *(scan.encode() for scan in scans)} - {b""})
        if known == more or storage.replace(note, b"\n".join([word, *more]), generation):
            return


def _word(note: str) -> bytes | None:
    """Return the word of a note, None where there is none."""
    with suppress(FileNotFoundError):
        return storage.read_bytes(note).partition(b"\n")[0]
    return None


def _scans(note: str) -> set[str]:
    with suppress(FileNotFoundError):
        return {*storage.read_bytes(note).decode(errors="replace").split("\n")[1:]} - {""}
    return set()


def _is_gone(state_uri: str, patient: str) -> bool:
    """Tell whether a patient is forgotten; where a run only asks whether it may, wait for its answer.

    A stage that holds a lease is that answer, and goes on once the note is taken back.
    """
    for _ in range(_WAITS):
        told = _word(_note(state_uri, patient))
        if told is None or told == TAKEN_BACK:
            return False
        if told != ASKED:
            return True
        time.sleep(_WAIT_S)
    raise ForgottenError(
        f"patient {patient}: another run asked to forget them and did not end; valid: forget_patient again,"
        f" which takes away what is theirs, or, if nobody meant it, {_note(state_uri, patient)} deleted"
    )


def _require_idle(state_uri: str) -> None:
    for found in storage.list_tree(state_uri):
        if found.name.endswith(f"/{LEASE}"):
            with suppress(FileNotFoundError):  # removed with its run at this moment
                require_free(found.uri)
