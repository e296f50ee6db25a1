"""Turns a classifier's scores into the labels that the next round trains on, and seals the round."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.lease import lease
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import GAN_CLASSES
from components.shared.pool import kept_labels
from components.shared.rounds import ACCEPTED, BELOW, REJECTED, SCORED, Round, stop_reason


@dataclass(frozen=True, kw_only=True)
class Config:
    """How images are accepted."""

    round: int
    confidence_threshold: float  # an image is accepted above it, 0..1
    relabel: (
        str  # all: judge the whole pool anew each round; remaining: keep what was accepted (the notebook)
    )
    shuffle_seed: int | None = None  # exchange the accepted labels at random: a control, see study.py


def relabel_images(
    config: Config, ledger: Ledger, predictions: Path, classifier: Mapping[str, Any], owner: str
) -> Round:
    """Seal the round and return its record.

    In the round after which the loop stops nothing is accepted: nobody would train on it.
    """
    before = ledger.rounds()[: config.round]
    carried = kept_labels(ledger, config.round, config.relabel)
    fresh = judge(read_predictions(predictions), config.confidence_threshold)
    if config.shuffle_seed is not None:
        fresh = shuffled(fresh, config.shuffle_seed + config.round)
    summary = summarise(config.round, classifier, carried, fresh)
    if reason := stop_reason([*before, summary], ledger.rule()):
        fresh = [LabelRow(**{**vars(row), "status": SCORED}) for row in fresh]
        summary = {**summarise(config.round, classifier, carried, fresh), "stop_reason": reason}
    with lease(ledger.uri, owner):
        ledger.seal(summary, [*carried, *fresh])
    return summary


def judge(scores: Sequence[Mapping[str, str]], threshold: float) -> list[LabelRow]:
    """Accept what is predicted inside gan_classes with a confidence above the threshold."""
    return [
        LabelRow(
            image=row["image"],
            label=row["label"],
            confidence=float(row["confidence"]),
            status=_status(row["label"], float(row["confidence"]), threshold),
        )
        for row in scores
    ]


def shuffled(rows: Sequence[LabelRow], seed: int) -> list[LabelRow]:
    """Return the rows with the labels of the accepted ones exchanged; each class keeps its share."""
    accepted = [row for row in rows if row.status == ACCEPTED]
    order = np.random.default_rng(seed).permutation(len(accepted))
    labels = {row.image: accepted[place].label for row, place in zip(accepted, order, strict=True)}
    return [replace(row, label=labels.get(row.image, row.label)) for row in rows]


def _status(label: str, confidence: float, threshold: float) -> str:
    if label not in GAN_CLASSES:
        return REJECTED
    return ACCEPTED if confidence > threshold else BELOW


def summarise(
    number: int, classifier: Mapping[str, Any], carried: Sequence[LabelRow], fresh: Sequence[LabelRow]
) -> dict[str, Any]:
    """Return the round's record: what it trained on, what it judged, what it accepted."""
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
        "rejected": status[REJECTED],
        "validation": classifier["validation"],
        "classifier_digest": classifier["digest"],
        "stop_reason": "",
    }


def read_predictions(folder: Path) -> list[dict[str, str]]:
    """Read what classify_images wrote."""
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))
