"""Finished classifiers on the planes of other scans: the notebook Probar_Modelo."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared import stored_json
from components.shared.classifier import Classifier, load, load_sizes, probabilities
from components.shared.files import whole
from components.shared.metrics import PREDICTIONS, measure, predictions_of
from components.shared.planes import CLASSES, PlaneRow, PlaneSet
from components.shared.progress import Progress, silent
from components.shared.trained import refuse_seen

METRICS = "metrics.json"
_FROM_ROW = ("image", "patient", "session", "volume", "plane", "angle_deg", "offset_mm", "label")


@dataclass(frozen=True, kw_only=True)
class Config:
    """How planes are read and models measured."""

    batch: int = 256  # planes at a time: memory against speed


def apply_classifiers(
    config: Config,
    planes: PlaneSet,
    classifiers: Mapping[str, Path],
    out: Path,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Write every plane's class by every classifier, and metrics where the label is known."""
    refuse_seen(classifiers, planes.seen)
    models = {name: load(folder) for name, folder in classifiers.items()}
    found = _classify(config, models, planes, progress)
    known_N = np.array([row.label in CLASSES for row in planes.rows], bool)
    known = [row for row in planes.rows if row.label in CLASSES]
    measured = {
        name: measure(predictions_of(values_NC[known_N], known)) if known else None
        for name, values_NC in found.items()
    }
    counts = Counter(row.label for row in known)
    result = {
        "models": measured,
        "patients": sorted(planes.seen.patients),
        "planes": {label: counts[label] for label in CLASSES},
    }
    _write_predictions(out, planes.rows, found)
    stored_json.write(out / METRICS, result)
    return result


def _classify(
    config: Config, models: Mapping[str, Classifier], planes: PlaneSet, progress: Progress
) -> Mapping[str, NDArray[np.float32]]:
    """Return each model's probabilities, decoding the planes once for each size."""
    pixels = load_sizes(planes, planes.rows, models)
    found: dict[str, NDArray[np.float32]] = {}
    for name, model in models.items():
        found[name] = probabilities(model, pixels[model.size_px], config.batch)
        progress(len(planes.rows) * len(found), len(planes.rows) * len(models))
    return found


def _write_predictions(out: Path, rows: Sequence[PlaneRow], found: Mapping[str, NDArray[np.float32]]) -> None:
    with whole(out / PREDICTIONS) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["classifier", *_FROM_ROW, "predicted", "confidence", *CLASSES])
        for name, values_NC in found.items():
            for row, values_C in zip(rows, values_NC, strict=True):
                given = [getattr(row, column) for column in _FROM_ROW]
                scores = [f"{value:.6f}" for value in (values_C.max(), *values_C)]
                writer.writerow([name, *given, CLASSES[values_C.argmax()], *scores])
