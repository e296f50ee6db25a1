"""The page of the pipeline `apply`: what finished classifiers say of other scans."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report import charts, pictures
from components.report.language import ENGLISH
from components.report.page import render
from components.report.summary import read_json
from components.report.words import limits_of_scans, plural
from components.shared.files import write_whole
from components.shared.intervals import FEWEST_FOR_CLAIM
from components.shared.metrics import PREDICTIONS
from components.shared.planes import CLASSES, PlaneSet

_EXAMPLES = 14  # planes shown a class


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What one classifier made of all planes."""

    name: str
    predicted: Sequence[int]  # planes by class, in the order of CLASSES
    confidence: float  # mean of the predicted class


def apply_page(
    folder: Path,
    html: Path,
    planes: PlaneSet,
    notes: Sequence[str] = (),
    language: str = ENGLISH,
) -> None:
    """Write one page from what apply_classifiers left in its folder."""
    values = read_json(folder / "metrics.json")
    by_classifier: dict[str, list[Mapping[str, str]]] = {}
    with (folder / PREDICTIONS).open(newline="") as file:
        for line in csv.DictReader(file):
            by_classifier.setdefault(line["classifier"], []).append(line)
    known = {name: measured for name, measured in values["models"].items() if measured is not None}
    parts: dict[str, Any] = {
        "tallies": [_tally(name, lines) for name, lines in by_classifier.items()],
        "classes": CLASSES,
        "known": list(known),
        "headline": _headline(values, max(len(lines) for lines in by_classifier.values())),
        "few": len(values["patients"]) < FEWEST_FOR_CLAIM,
        "notes": notes,
        "limits": limits_of_scans(),
        "confusions": [
            (name, charts.confusion(name, **measured["confusion"])) for name, measured in known.items()
        ],
        "examples": _examples(planes, *next(iter(by_classifier.items()))),
    }
    write_whole(html, render("application.html.j2", values, language, **parts))


def _headline(values: Mapping[str, Any], planes: int) -> str:
    patients, models = plural(len(values["patients"]), "patient"), plural(len(values["models"]), "classifier")
    return f"{plural(planes, 'plane')} of {patients}, judged by {models}"


def _tally(name: str, lines: Sequence[Mapping[str, str]]) -> Tally:
    counts = Counter(line["predicted"] for line in lines)
    return Tally(
        name=name,
        predicted=[counts[label] for label in CLASSES],
        confidence=sum(float(line["confidence"]) for line in lines) / len(lines),
    )


def _examples(
    planes: PlaneSet, classifier: str, lines: Sequence[Mapping[str, str]]
) -> list[tuple[str, list[pictures.Tile]]]:
    """Return planes by predicted class, from the surest to the least sure of the first classifier."""
    examples = []
    for label in CLASSES:
        chosen = sorted(
            (line for line in lines if line["predicted"] == label),
            key=lambda line: (-float(line["confidence"]), line["image"]),
        )
        shown = pictures.spread(chosen, _EXAMPLES)
        examples.append(
            (f"Called {label} by {classifier}, from the surest to the least sure", _tiles(planes, shown))
        )
    return examples


def _tiles(planes: PlaneSet, lines: Sequence[Mapping[str, str]]) -> list[pictures.Tile]:
    rows = {row.image: row for row in planes.rows}
    images = planes.images(rows[line["image"]] for line in lines)
    return [
        pictures.Tile(
            uri=pictures.as_uri(pictures.fit(image_HW, pictures.TILE_PX)),
            lines=[pictures.short(line["patient"]), _caption(line)],
        )
        for line, image_HW in zip(lines, images, strict=True)
    ]


def _caption(line: Mapping[str, str]) -> str:
    wrong = line["label"] in CLASSES and line["label"] != line["predicted"]
    return f"{float(line['confidence']):.2f}" + (f", is {line['label']}" if wrong else "")
