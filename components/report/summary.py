"""metrics.json: every number of a run, with no time and no machine path, so that equal runs are equal bytes.

Its shape is metrics.schema.json beside this module.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from components.report.words import FIRST_ROUND, LABELLED_ONLY
from components.shared.planes import CLASSES, UNCERTAIN, PlaneSet
from components.shared.splits import SPLITS, TEST, Splits

MODEL_KEYS = (
    "accuracy",
    "balanced_accuracy",
    "balanced_accuracy_interval",
    "calibration",
    "confusion",
    "error_rate",
    "loss",
    "macro_f1",
    "mean_patient_loss",
    "noise_by_grey",
    "per_patient",
    "recall",
)
PATIENT_KEYS = ("accuracy", "balanced_accuracy", "loss", "planes")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text())


def portable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without the places where files lay: of an address its last part alone is told."""
    return {name: _last_part(value) if name.endswith("_uri") else value for name, value in parameters.items()}


def _last_part(uri: str) -> str:
    """Return what follows an address's last slash, of any system: folders may have a person's name."""
    return re.split(r"[/\\]", uri.rstrip("/\\"))[-1]


def count_patients(splits: Splits, seen: Sequence[str]) -> dict[str, Any]:
    """Return the patients of each split, and whether no test patient reached a model's weights."""
    sides = {split: list(splits.patients(split)) for split in SPLITS}
    crossing = any(set(sides[a]) & set(sides[b]) for a, b in combinations(SPLITS, 2))
    return {**sides, "disjoint": not crossing and not set(sides[TEST]) & set(seen)}


def count_planes(planes: PlaneSet, splits: Splits) -> dict[str, dict[str, int]]:
    """Return the number of planes by class and split."""
    counts = Counter((row.label, splits.sides.get(row.patient, "")) for row in planes.rows)
    return {label: {split: counts[label, split] for split in SPLITS} for label in (*CLASSES, UNCERTAIN)}


def count_synthetic(synthetic: PlaneSet) -> dict[str, Any]:
    """Return the number of synthetic images by truncation, and in all."""
    counts = Counter(str(row.truncation) for row in synthetic.rows)
    return {"by_truncation": dict(sorted(counts.items())), "total": len(synthetic.rows)}


def describe_gan(generator: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader needs to know of a generator; the digest names its weights."""
    history = generator["history"]
    return {
        "begun_from": generator["begun_from"],
        "augment_p": history[-1]["augment_p"] if history else None,
        "channels": generator["channels"],
        "classes": list(generator["classes"]),
        "kimg": generator["kimg"],
        "kimg_before": generator["kimg_before"],
        "resolution": generator["resolution"],
        "seed": generator["seed"],
        "snapshot": generator["digest"],
    }


def describe_round(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one round; its validation planes are real and of patients it did not train on."""
    validation = record["validation"]
    return {
        "accepted": dict(record["accepted"]),
        "below": record["below"],
        "capped": record["capped"],
        "changed": record["changed"],
        "evicted": record["evicted"],
        "flips": record["flips"],
        "labelled": record["labelled"],
        "newly_accepted": record["newly_accepted"],
        "pool": record["pool"],
        "rejected": record["rejected"],
        "round": record["round"],
        "stop_reason": record["stop_reason"],
        "taught": record["taught"],
        "taught_flips": record["taught_flips"],
        "thresholds": dict(record["thresholds"]),
        "trained_on_pseudo": dict(record["trained_on_pseudo"]),
        "validation_accuracy": validation["accuracy"],
        "validation_balanced_accuracy": validation["balanced_accuracy"],
        "validation_loss": validation["loss"],
        "validation_patient_loss": validation["mean_patient_loss"],
    }


def describe_model(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of one model on the test patients."""
    chosen = {key: measured[key] for key in MODEL_KEYS}
    chosen["per_patient"] = {
        patient: {key: values[key] for key in PATIENT_KEYS}
        for patient, values in measured["per_patient"].items()
    }
    return chosen


def describe_models(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metrics of all models; labelled_only is another name of round 0."""
    models = {name: describe_model(values) for name, values in measured.items()}
    return {**models, LABELLED_ONLY: models[FIRST_ROUND]}
