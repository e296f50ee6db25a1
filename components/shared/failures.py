"""A part of a study that fails says why in the study's state, and lets the other parts go on."""

import json
from collections.abc import Callable

from components.shared import storage
from components.shared.faults import InputError
from components.shared.progress import emit

FAILED = "failed.json"
DONE_WORD, FAILED_WORD = "done", "failed"


def surviving(uri: str, name: str, work: Callable[[], object]) -> str:
    """Return `done`, or `failed` with the reason kept at {uri}/failed.json until an attempt succeeds."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is, what does not depend on this part goes on
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        emit(name, "warning", message=f"failed: {reason}")
        storage.delete(storage.join(uri, FAILED))
        storage.create(storage.join(uri, FAILED), (json.dumps({"reason": reason}, indent=2) + "\n").encode())
        return FAILED_WORD
    storage.delete(storage.join(uri, FAILED))
    return DONE_WORD


def reason_at(uri: str) -> str:
    """Return why the part at a place failed, or why nothing is known of it."""
    try:
        return str(json.loads(storage.read_bytes(storage.join(uri, FAILED)))["reason"])
    except FileNotFoundError:
        return "it was never run to its end"
