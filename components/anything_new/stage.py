"""Whether a run has anything to do that the last one of its kind has not done.

    {state_uri}/finished/{digest}.json    on which volumes the last whole run ended green, and when

The digest is of all that a result depends on besides the volumes: parameters, code, and the pipeline. Volumes
that a run before the last one saw are new again: the report and the generator that are kept are of others.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from components.shared import storage, stored_json
from components.shared.faults import InputError
from components.shared.progress import emit

GO, DONE = "go", "nothing is new"
_VOLUMES = ("state_uri", "snapshot_digest")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run is of."""

    state_uri: str
    pipeline: str
    run_name: str
    fingerprint: str  # hash of every parameter that changes a result, and of the code
    snapshot_digest: str
    audit: str  # it and the language change no result, and yet what a reader is shown
    language: str

    @property
    def mark(self) -> str:
        """Where runs of this kind leave their mark."""
        about = {name: value for name, value in asdict(self).items() if name not in _VOLUMES}
        content = json.dumps(about, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:24]
        return storage.join(self.state_uri, "finished", f"{digest}.json")


def anything_new(config: Config) -> str:
    """Return GO, or DONE where the last run of the same parameters and code was of the same volumes."""
    last = _said(config.mark, storage.read_bytes(config.mark)) if storage.exists(config.mark) else {}
    if last.get("snapshot_digest") != config.snapshot_digest:
        return GO
    same = f"a run of the same volumes, parameters and code ended on {last['ended']}"
    emit("anything_new", "warning", message=f"{DONE}: {same}; its results are kept")
    return DONE


def keep_finished(config: Config) -> None:
    """Leave the mark of a run that has ended green, in the place of one on other volumes."""
    mark: Mapping[str, Any] = asdict(config) | {"ended": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    text = stored_json.text(mark).encode()
    while not storage.create(config.mark, text):
        known, generation = storage.read_versioned(config.mark)
        same = _said(config.mark, known).get("snapshot_digest") == config.snapshot_digest
        if same or storage.replace(config.mark, text, generation):
            return


def _said(uri: str, mark: bytes) -> Mapping[str, Any]:
    """Return what a mark says; a damaged one says nothing, and is replaced when the run has ended."""
    try:
        shape = {"snapshot_digest": str, "ended": str}
        return dict(stored_json.parse(uri, mark, shape, "the mark that this run will leave"))
    except InputError as error:
        emit("anything_new", "warning", message=str(error))
        return {}
