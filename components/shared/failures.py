"""A part of a study that fails says why in the study's state, and lets the other parts go on.

{uri}/failed.json       why the last attempt came to nothing
{uri}/attempts.json     how many attempts began and ended without a word, as a killed one does
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from components.shared import storage, stored_json
from components.shared.faults import AwayError, ForgottenError, InputError
from components.shared.lease import waiting_lease
from components.shared.progress import Progress, emit, stage

FAILED, ATTEMPTS = "failed.json", "attempts.json"
DONE_WORD, FAILED_WORD = "done", "failed"
# Folders whose names differ from attempt to attempt.
_SCRATCH = re.compile(rf"{re.escape(tempfile.gettempdir())}/{tempfile.gettempprefix()}\w+/")
# Who is forgotten later is named in no reason that is kept; the log has the names.
_PATIENT = re.compile(r"\b[0-9a-f]{4}-[0-9a-f]{10}\b")
MOST_KILLED = 5  # as often as a cluster retries a pod: the last try says what became of the others


def each_surviving(parts: Mapping[str, str], owner: str, work: Callable[[str, Progress], object]) -> str:
    """Do the parts of a pod, each a stage at its place, and return what `surviving` said of each.

    Those come first that killed the pod least, so that one which kills it keeps no other from its turn.
    """
    order, killed = _in_turn(parts, owner)
    said = []
    for name in order:
        with stage(name) as progress:
            said.append(surviving(parts[name], name, owner, partial(work, name, progress), killed))
    return " ".join(said)


def _in_turn(parts: Mapping[str, str], owner: str) -> tuple[list[str], int]:
    """Return the names of the parts, those first that killed their pod least, and how often it was killed."""
    killed = dict.fromkeys(parts, 0)
    for name, uri in parts.items():
        with suppress(InputError):  # of a damaged count, which the part itself will name
            killed[name] = _killed(uri, owner)
    return sorted(killed, key=killed.__getitem__), sum(killed.values())


def surviving(uri: str, name: str, owner: str, work: Callable[[], object], killed_in_pod: int = 0) -> str:
    """Return `done`, or `failed` with the reason kept at {uri}/failed.json until an attempt succeeds.

    A part that another run works at is waited for. A killed process (out of memory, a lost node) leaves no
    reason, so the attempts of a run (`owner`) are counted: after five, of its own or of its pod, a part that
    was killed is given up. One that was interrupted by hand does not count, and a store that is away is no
    reason of this part's: that is raised.
    """
    with waiting_lease(uri, name, owner):
        return _try(uri, name, owner, work, killed_in_pod)


def _try(uri: str, name: str, owner: str, work: Callable[[], object], killed_in_pod: int) -> str:
    try:
        _begin(uri, owner, killed_in_pod)
        work()
    except (AwayError, ForgottenError):
        raise  # the one says nothing of this part, the other names who must not be named in the state
    except Exception as error:  # noqa: BLE001 - whatever it is, what does not depend on this part goes on
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        reason = _SCRATCH.sub("", reason)
        emit(name, "warning", message=f"failed: {reason}")
        _keep(storage.join(uri, FAILED), {"reason": _PATIENT.sub("a patient", reason)})
        return FAILED_WORD
    finally:  # whatever ends it but a kill, a request to stop among it
        storage.delete(storage.join(uri, ATTEMPTS))
    storage.delete(storage.join(uri, FAILED))
    return DONE_WORD


def _begin(uri: str, owner: str, killed_in_pod: int) -> None:
    """Count this attempt, or raise where too many of this run were killed before it."""
    killed = _killed(uri, owner)
    if killed and max(killed, killed_in_pod) >= MOST_KILLED:
        pod = f" ({killed_in_pod} with others of its pod)" if killed_in_pod > killed else ""
        raise InputError(
            f"killed {killed} times without a word{pod}, as for memory or with its node; valid: a larger"
            " gpu_memory, or nodes that last"
        )
    _keep(storage.join(uri, ATTEMPTS), {"owner": owner, "begun": killed + 1})


def _killed(uri: str, owner: str) -> int:
    """Return how many attempts of a run at a part began and did not end."""
    try:
        known = stored_json.read(storage.join(uri, ATTEMPTS), {"owner": str, "begun": int})
    except FileNotFoundError:
        return 0
    return int(known["begun"]) if known["owner"] == owner else 0


def _keep(place: str, value: dict[str, object]) -> None:
    storage.delete(place)
    storage.create(place, stored_json.text(value).encode())


def reason_at(uri: str) -> str:
    """Return why the part at a place failed, or why nothing is known of it."""
    try:
        return str(stored_json.read(storage.join(uri, FAILED), {"reason": str})["reason"])
    except FileNotFoundError:
        return "it was never run to its end"
