"""The run before this one on the same state, compared on the test patients that both have.

{state_uri}/runs/0001.json    what a finished run measured, patient by patient; create-only
"""

from collections.abc import Mapping
from typing import Any

from components.report.words import FIRST_ROUND, SUPERVISED
from components.shared import numbered, storage, stored_json
from components.shared.forgotten import require_remembered
from components.shared.splits import SPLITS

PUBLISHED = "published"  # whichever round that was
_SHAPE: stored_json.Shape = {
    "run": str,
    "snapshot": str,
    "models": {SUPERVISED: dict, FIRST_ROUND: dict, PUBLISHED: dict},
}


def run_before(state_uri: str, run: str) -> Mapping[str, Any] | None:
    """Return what the run before `run` left; a repeated run has the one before its first time."""
    known = numbered.entries(_place(state_uri), _SHAPE)
    own = [place for place, each in enumerate(known) if each["run"] == run]
    earlier = known[: own[0]] if own else known
    return earlier[-1] if earlier else None


def remember(state_uri: str, values: Mapping[str, Any]) -> None:
    """Keep what a run measured for the run after it, and of whom it is."""
    patients = sorted(name for side in SPLITS for name in values["patients"][side])
    entry = {"run": values["run"], "snapshot": values["snapshot"], "patients": patients}
    entry["models"] = _by_patient(values)
    numbered.append(_place(state_uri), entry, "run")
    require_remembered(state_uri, patients)


def compare(values: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return each model's mean balanced accuracy on the common test patients, then and now."""
    if before is None:
        return None
    now, then = _by_patient(values), before["models"]
    common = sorted(set(now[FIRST_ROUND]) & set(then[FIRST_ROUND]))
    return {
        "run": before["run"],
        "same_volumes": before["snapshot"] == values["snapshot"],
        "common_patients": len(common),
        "models": {
            name: {"before": _mean(then[name], common), "now": _mean(now[name], common)} for name in now
        },
    }


def _by_patient(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the balanced accuracy of each test patient by model; those who lack a cut have none."""
    chosen = {SUPERVISED: SUPERVISED, FIRST_ROUND: FIRST_ROUND, PUBLISHED: values["best_round"]}
    return {
        name: {
            patient: measured["balanced_accuracy"]
            for patient, measured in values["models"][key]["per_patient"].items()
            if measured["balanced_accuracy"] is not None
        }
        for name, key in chosen.items()
    }


def _mean(measured: Mapping[str, float], patients: list[str]) -> float | None:
    found = [measured[patient] for patient in patients if patient in measured]
    return sum(found) / len(found) if found else None


def _place(state_uri: str) -> str:
    return storage.join(state_uri, "runs")
