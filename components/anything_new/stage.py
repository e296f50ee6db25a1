"""Whether a run has anything to do that a finished one has not done.

    {state_uri}/finished/{digest}.json    written once, when a whole run has ended green

The digest is of all that a result depends on: volumes, parameters, code, and the pipeline.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from components.shared import storage
from components.shared.progress import emit

GO, DONE = "go", "nothing is new"


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
        """Where a run of this leaves its mark."""
        about = {name: value for name, value in asdict(self).items() if name != "state_uri"}
        content = json.dumps(about, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:24]
        return storage.join(self.state_uri, "finished", f"{digest}.json")


def anything_new(config: Config) -> str:
    """Return GO, or say when a run of the same volumes, parameters and code ended green and return DONE."""
    if not storage.exists(config.mark):
        return GO
    ended = json.loads(storage.read_bytes(config.mark))["ended"]
    same = f"a run of the same volumes, parameters and code ended on {ended}"
    emit("anything_new", "warning", message=f"{DONE}: {same}; its results are kept")
    return DONE


def keep_finished(config: Config) -> None:
    """Leave the mark of a run that has ended green; the first one stays."""
    mark: Mapping[str, Any] = asdict(config) | {"ended": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    storage.create(config.mark, json.dumps(mark, indent=2, sort_keys=True).encode())
