"""Turns a classifier's scores into the labels that the next round trains on, and seals the round."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.relabel_images.thresholds import capped, class_thresholds
from components.shared.expert_labels import NONE, by_image
from components.shared.history import accepted_of, changes
from components.shared.lease import lease
from components.shared.ledger import LabelRow, Ledger
from components.shared.metrics import PREDICTIONS
from components.shared.planes import GAN_CLASSES, digest_of
from components.shared.pool import kept_labels
from components.shared.progress import emit
from components.shared.rounds import (
    ACCEPTED,
    BELOW,
    CAPPED,
    GLOBAL,
    REJECTED,
    SCORED,
    Round,
    stop_reason,
    unsteady,
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """How images are accepted."""

    round: int
    confidence_threshold: float  # an image is accepted above it, 0..1
    relabel: str  # all: judge the whole pool each round; remaining: keep what was accepted (the notebook)
    threshold_rule: str = GLOBAL  # or adaptive: lower for classes that are less known
    max_class_ratio: float = 3.0  # of the accepted, largest to smallest class; the surest are kept
    shuffle_seed: int | None = None  # exchange the accepted labels at random: a control, see study.py


def relabel_images(
    config: Config, ledger: Ledger, predictions: Path, classifier: Mapping[str, Any], owner: str
) -> Round:
    """Seal the round and return its record.

    In the round after which the loop stops nothing is accepted: nobody would train on it.
    """
    number, sealed = config.round, ledger.rounds()[: config.round]
    before = ledger.labels(number - 1) if number else None
    carried = kept_labels(ledger, number, config.relabel)
    fresh, thresholds = _accept(config, read_predictions(predictions), carried)
    fresh = overruled(fresh, by_image(ledger.expert_labels()))
    if config.shuffle_seed is not None:  # an expert's labels too: it is a control of all that labels say
        fresh = shuffled(fresh, config.shuffle_seed + number)
    told = {"thresholds": thresholds, **changes(before, [*carried, *fresh])}
    summary = summarise(number, classifier, carried, fresh) | told
    if reason := stop_reason([*sealed, summary], ledger.rule()):
        fresh = [replace(row, status=SCORED) if row.status == ACCEPTED else row for row in fresh]
        summary = summarise(number, classifier, carried, fresh) | told | {"stop_reason": reason}
    if warning := unsteady(summary):
        emit("relabel_images", "warning", message=warning)
    with lease(ledger.uri, owner):
        ledger.seal(summary, [*carried, *fresh])
    return summary


def _accept(
    config: Config, rows: Sequence[LabelRow], carried: Sequence[LabelRow]
) -> tuple[list[LabelRow], dict[str, float]]:
    """Return the rows with their status, and the thresholds by class that gave it."""
    thresholds = class_thresholds(rows, config.confidence_threshold, config.threshold_rule)
    already = Counter(accepted_of(carried).values())
    return capped(judge(rows, thresholds), already, config.max_class_ratio), thresholds


def judge(rows: Sequence[LabelRow], thresholds: Mapping[str, float]) -> list[LabelRow]:
    """Accept what is predicted inside gan_classes with a confidence above its class's threshold."""
    return [replace(row, status=_status(row, thresholds)) for row in rows]


def overruled(rows: Sequence[LabelRow], experts: Mapping[str, str]) -> list[LabelRow]:
    """Return the rows with what an expert said of them, surely: accepted under that label, or rejected."""
    return [
        replace(row, label=said, confidence=1.0, status=REJECTED if said == NONE else ACCEPTED)
        if (said := experts.get(row.image))
        else row
        for row in rows
    ]


def shuffled(rows: Sequence[LabelRow], seed: int) -> list[LabelRow]:
    """Return the rows with the labels of the accepted ones exchanged; each class keeps its share."""
    accepted = [row for row in rows if row.status == ACCEPTED]
    order = np.random.default_rng(seed).permutation(len(accepted))
    labels = {row.image: accepted[place].label for row, place in zip(accepted, order, strict=True)}
    return [replace(row, label=labels.get(row.image, row.label)) for row in rows]


def _status(row: LabelRow, thresholds: Mapping[str, float]) -> str:
    if row.label not in GAN_CLASSES:
        return REJECTED
    return ACCEPTED if row.confidence > thresholds[row.label] else BELOW


def summarise(
    number: int, classifier: Mapping[str, Any], carried: Sequence[LabelRow], fresh: Sequence[LabelRow]
) -> dict[str, Any]:
    """Return the round's record: what it trained on, what it judged, what it accepted.

    What it changed of the round before is added by `relabel_images`.
    """
    rows = [*carried, *fresh]
    status = Counter(row.status for row in rows)
    by_class = Counter(row.label for row in rows if row.status == ACCEPTED)
    return {
        "round": number,
        "labelled": classifier["labelled"],
        "trained_on_pseudo": classifier["pseudo"],
        "pool": len(fresh),
        "accepted": {name: by_class[name] for name in GAN_CLASSES},
        "newly_accepted": sum(row.status == ACCEPTED for row in fresh),
        "below": status[BELOW],
        "capped": status[CAPPED],
        "rejected": status[REJECTED],
        "validation": classifier["validation"],
        "classifier_digest": classifier["digest"],
        "classifier_record": digest_of(classifier),
        "stop_reason": "",
    }


def read_predictions(folder: Path) -> list[LabelRow]:
    """Read what classify_images wrote; nothing is decided yet."""
    with (folder / PREDICTIONS).open(newline="") as file:
        return [
            LabelRow(
                image=line["image"], label=line["label"], confidence=float(line["confidence"]), status=SCORED
            )
            for line in csv.DictReader(file)
        ]
