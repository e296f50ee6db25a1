"""What a classifier makes of planes whose label it is not told."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from components.shared import classifier as classifiers
from components.shared.files import whole
from components.shared.metrics import PREDICTIONS
from components.shared.planes import CLASSES, PlaneSet
from components.shared.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class Config:
    """How planes are read."""

    batch: int = 256  # planes at a time: memory against speed


def classify_images(  # noqa: PLR0917 - inputs, then out, then progress, as in every stage
    config: Config,
    classifier: Path,
    images: PlaneSet,
    only: Collection[str] | None,
    out: Path,
    progress: Progress = silent,
) -> int:
    """Write the probabilities of the planes (of those in `only`) to predictions.csv; return their count."""
    model = classifiers.load(classifier)
    wanted = None if only is None else set(only)
    rows = [row for row in images.rows if wanted is None or row.image in wanted]
    images_NHW = classifiers.load_pixels(images, rows, model.size_px)
    probabilities_NC = classifiers.probabilities(model, images_NHW, config.batch, progress)
    with whole(out / PREDICTIONS) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *CLASSES, "label", "confidence"])
        for row, values_C in zip(rows, probabilities_NC, strict=True):
            values = [f"{value:.6f}" for value in values_C]
            writer.writerow([row.image, *values, CLASSES[values_C.argmax()], f"{values_C.max():.6f}"])
    return len(rows)
