"""Forgetting a patient: what descends from them leaves the state, and their volumes are never read again.

    {state_uri}/forgotten/{pseudonym}    written first, empty: the patient's volumes are left out
                                         then with REMOVING, once no other run works on the state,
                                         or with TAKEN_BACK, where one does: nobody is forgotten
                                         and at the end with DONE

descendants.py says what is removed. The next run finds none of it and makes it anew; what a run that was
killed left of it, the next one removes.
"""

import time
from collections.abc import Iterable
from contextlib import suppress

from components.shared import storage
from components.shared.descendants import NOTES, read, remove, sessions
from components.shared.faults import ForgottenError, InputError
from components.shared.lease import LEASE, require_free
from components.shared.pseudonyms import is_pseudonym

ASKED, REMOVING, DONE, TAKEN_BACK = b"", b"removing", b"done", b"taken back"
_WAIT_S, _WAITS = 1.0, 120  # for a run that asks whether it may forget


def noted(state_uri: str) -> set[str]:
    """Return the patients whom somebody asked to forget, by pseudonym, whatever came of it."""
    return {found.name for found in storage.list_tree(storage.join(state_uri, NOTES))}


def forgotten(state_uri: str, among: Iterable[str] | None = None) -> set[str]:
    """Return the patients whose volumes are left out, by pseudonym; it waits while that is being asked."""
    asked = noted(state_uri) if among is None else noted(state_uri) & set(among)
    return {patient for patient in asked if _is_gone(state_uri, patient)}


def forget(state_uri: str, patient: str) -> list[str]:
    """Remove whatever descends from a patient; return what was removed, in the order of its names.

    Raises InputError for what is no patient's pseudonym, and while another run works on the state: it would
    bring the patient back. One that nothing descends from is noted all the same.
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
    except BaseException:
        if mine:
            with suppress(InputError, OSError):
                _turn(note, ASKED, TAKEN_BACK)
        raise
    _begin(note)
    return _finish(state_uri, patient)


def finish_forgetting(state_uri: str) -> list[str]:
    """Remove the rest of whom a run was killed over as it forgot them; return these patients.

    Nobody has to be asked again: since it began, no stage takes them up.
    """
    cut = [name for name in sorted(noted(state_uri)) if read(_note(state_uri, name)) == REMOVING]
    for patient in cut:
        _finish(state_uri, patient)
    return cut


def require_remembered(state_uri: str, patients: Iterable[str]) -> None:
    """Refuse patients who were forgotten meanwhile, and remove again what this run wrote of them.

    A stage that writes of patients where no lease is held asks this afterwards, one that holds a lease before
    it writes: either it sees the note that is left before anything is removed, or what it wrote was there to
    be removed. Raises ForgottenError.
    """
    gone = sorted(forgotten(state_uri, patients))
    for patient in gone:
        remove(state_uri, patient)
    if gone:
        raise ForgottenError(
            f"patients {', '.join(gone)}: forgotten while this run was under way, or before; valid: submit"
            " it again, which leaves them out, with no artifact that descends from them"
        )


def _finish(state_uri: str, patient: str) -> list[str]:
    removed = remove(state_uri, patient)
    storage.drop_unfinished(state_uri)  # parts of uploads that were killed name nobody, and may be of anybody
    _turn(_note(state_uri, patient), REMOVING, DONE)
    place = storage.join(state_uri, "")
    return sorted(uri.removeprefix(place) for uri in removed)


def _refuse_session(state_uri: str, patient: str) -> None:
    """Refuse the pseudonym of a session, which stands beside its patient's and looks alike."""
    for session, whose in sessions(state_uri):
        if session == patient:
            valid = f"its patient's, {whose}"
            raise InputError(f"forget_patient={patient}: a session's pseudonym; valid: {valid}")


def _note(state_uri: str, patient: str) -> str:
    return storage.join(state_uri, NOTES, patient)


def _ask(note: str) -> bool:
    """Leave a note, or renew one that was taken back; tell whether it is ours to take back."""
    if storage.create(note, ASKED):
        return True
    told, generation = storage.read_versioned(note)
    return told == TAKEN_BACK and storage.replace(note, ASKED, generation)


def _begin(note: str) -> None:
    """Say that what is the patient's is removed from now on."""
    if _turn(note, ASKED, REMOVING) == TAKEN_BACK:
        raise InputError(f"{note}: another run that asked was refused meanwhile; valid: submit it again")


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
        told = read(_note(state_uri, patient))
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
