"""Every model of a run on the test patients, whom none of them has seen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from components.shared import classifier as classifiers
from components.shared import stored_json
from components.shared.calibration import gauged
from components.shared.classifier import Classifier
from components.shared.faults import InputError
from components.shared.labels import MINIMUM
from components.shared.metrics import EVALUATION, grey_threshold, measure, noise_by_grey, predictions_of
from components.shared.planes import CLASSES, NOISE, PlaneRow, PlaneSet
from components.shared.progress import Progress, silent
from components.shared.splits import TEST, TRAIN, VALIDATION, Splits

_GREY_SIDE = 16  # pixels; shrinking keeps a plane's mean


@dataclass(frozen=True, kw_only=True)
class Config:
    """How models are measured."""

    batch: int = 256  # planes at a time: memory against speed


def evaluate(  # noqa: PLR0917 - inputs, then out, then progress, as in every stage
    config: Config,
    planes: PlaneSet,
    splits: Splits,
    models: Mapping[str, Path],
    out: Path,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Write evaluation.json: every metric of every model, on the same test planes."""
    rows = planes.rows_of(splits.patients(TEST))
    if not rows:
        raise InputError(
            f"planes: {planes.folder} holds none of a test patient; valid: planes of at least one"
        )
    splits.require_apart(planes)
    opened = {name: _unseen(name, folder, planes, splits) for name, folder in models.items()}
    results = _measure_all(config, opened, planes, rows, progress)
    counts = Counter(row.label for row in rows)
    noise = _noise_by_grey(planes, splits, rows) if counts[NOISE] >= MINIMUM else None
    result = {
        "models": {
            name: metrics | {"noise_by_grey": noise, "recall": _told(metrics["recall"], counts)}
            for name, metrics in results.items()
        },
        "patients": sorted({row.patient for row in rows}),
        "planes": {label: counts[label] for label in CLASSES},
    }
    stored_json.write(out / EVALUATION, result)
    return result


def _told(recall: Mapping[str, float | None], counts: Mapping[str, int]) -> Mapping[str, float | None]:
    """Leave out the classes of which there are too few planes to say anything."""
    return {label: value if counts[label] >= MINIMUM else None for label, value in recall.items()}


def _unseen(name: str, folder: Path, planes: PlaneSet, splits: Splits) -> Classifier:
    model = classifiers.load(folder)
    digest = classifiers.describe(folder)["digest"]
    splits.require_unseen(model.seen, model.chosen_by, f"model {name} ({digest[:12]})", planes)
    return model


def calibration_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what tempering did on the test patients, a line a model, whichever way it went."""
    return [
        f"{name}: temperature {found['temperature']:.2f}: loss {found['loss_before']:.3f} to"
        f" {found['loss_after']:.3f} nats, expected calibration error {100 * found['ece_before']:.1f} to"
        f" {100 * found['ece_after']:.1f} %"
        for name, found in ((name, metrics["calibration"]) for name, metrics in result["models"].items())
    ]


def _measure_all(
    config: Config,
    models: Mapping[str, Classifier],
    planes: PlaneSet,
    rows: Sequence[PlaneRow],
    progress: Progress,
) -> Mapping[str, dict[str, Any]]:
    """Measure the models, decoding the planes once for each size."""
    pixels = classifiers.load_sizes(planes, rows, models)
    total = len(rows) * len(models)
    results: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        _, results[name] = measure_model(model, pixels[model.size_px], rows, config.batch)
        progress(len(rows) * len(results), total)
    return results


def measure_model(
    model: Classifier, images_NHW: Tensor, rows: Sequence[PlaneRow], batch: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return one model's probabilities of planes, N x CLASSES, and every metric, calibration among them."""
    shares_NC = classifiers.uncalibrated(model, images_NHW, batch)
    found_NC = classifiers.calibrated(model, shares_NC)
    predictions = predictions_of(found_NC, rows)
    gauge = asdict(gauged(shares_NC, found_NC, predictions.truth))
    return found_NC, measure(predictions) | {"calibration": {"temperature": model.temperature, **gauge}}


def _noise_by_grey(planes: PlaneSet, splits: Splits, tested: Sequence[PlaneRow]) -> float | None:
    """Return the recall of noise by a mean grey level that was chosen on the patients not tested."""
    others = planes.rows_of([*splits.patients(TRAIN), *splits.patients(VALIDATION)])
    threshold = grey_threshold(
        _mean_grey(planes, others), np.array([row.label == NOISE for row in others], bool)
    )
    truth_N = np.array([CLASSES.index(row.label) for row in tested])
    return noise_by_grey(_mean_grey(planes, tested), truth_N, threshold)


def _mean_grey(planes: PlaneSet, rows: Sequence[PlaneRow]) -> NDArray[np.float32]:
    return classifiers.load_pixels(planes, rows, _GREY_SIDE).float().mean(dim=(1, 2)).numpy()
