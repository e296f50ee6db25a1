"""Train one classifier on labelled real planes and, from round 1 on, on accepted synthetic ones.

An epoch is as many images as there are real training planes with a class, labelled or hidden (uncertain
planes have none). So every arm of a study (all labels, a fraction, a fraction and synthetic planes) takes
equally many optimiser steps, and arms differ in what they were shown alone.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.shared import classifier as classifiers
from components.shared.classifier import Classifier
from components.shared.faults import InputError
from components.shared.labels import PLANE, known_classes, labelled_rows
from components.shared.metrics import measure, predictions_of
from components.shared.planes import CLASSES, PlaneRow, PlaneSet, Seen, digest_of
from components.shared.progress import Progress, silent
from components.shared.splits import TRAIN, VALIDATION, Splits
from components.shared.trained import looks_of
from components.shared.weights import seen_behind
from components.train_classifier.fit import Examples, Plan, fit
from components.train_classifier.pretrained import start_from
from components.train_classifier.temperature import Calibration, calibrate


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a classifier is and how it is trained; the defaults are the notebooks'."""

    architecture: str = "convnext_tiny"
    epochs: int = 7
    frozen_epochs: int = 1  # in which only the head learns; none without pretrained weights
    size_px: int = 192
    batch: int = 64
    learning_rate: float = 1e-3  # at its highest
    pretrained_uri: str = ""  # "": from scratch
    label_fraction: float = 0.2
    label_unit: str = PLANE
    label_seed: int = 0  # which planes or patients the fraction is
    augment: bool = True  # classical augmentation of every batch
    seed: int = 0  # of initial weights, order and augmentation


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """Planes whose truth is not told, synthetic or real, and the labels of those that were accepted."""

    images: PlaneSet
    labels: Mapping[str, str]  # by image


def train_classifier(  # noqa: PLR0917 - inputs, then out, then progress, as in every stage
    config: Config,
    planes: PlaneSet,
    splits: Splits,
    pseudo: PseudoLabels | None,
    out: Path,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Write a classifier into out and return its JSON."""
    splits.require_apart(planes)
    training = planes.rows_of(splits.patients(TRAIN))
    labelled = labelled_rows(training, config.label_fraction, config.label_unit, config.label_seed)
    classes, left_out = known_classes(labelled)
    labelled = [row for row in labelled if row.label in classes]
    synthetic = _accepted(pseudo, planes, splits, classes)
    before, chosen_by = _inherited(config, planes, splits)
    seen = Seen.of(labelled) | before | (pseudo.images.seen if pseudo else Seen())
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # every round starts anew, from the same random weights
        network = classifiers.build(config.architecture, len(classes))
        pretrained = _pretrained(config, network)
        model = Classifier(
            network=network,
            architecture=config.architecture,
            classes=classes,
            size_px=config.size_px,
            seen=seen,
            chosen_by=chosen_by | _validated(planes, splits),
        )
        images_NHW = _pixels(config, planes, labelled, pseudo, synthetic)
        examples = _examples(images_NHW, labelled, synthetic, classes)
        history = fit(model, examples, _plan(config, len(training)), progress)
    model, calibration, validation = _calibrated(config, model, planes, splits)
    notes = {
        "config": asdict(config) | {"pretrained_uri": Path(config.pretrained_uri).name},
        "pretrained": pretrained,
        "labelled": len(labelled),
        "labelled_by_class": _count(labelled),
        "labelled_patients": sorted({row.patient for row in labelled}),
        "left_out": left_out,
        "looks": looks_of(planes.settings),
        "pseudo": _count(synthetic),
        "history": history,
        "calibration": calibration.as_json(),
        "validation": validation,
        "digests": _digests(planes, splits, pseudo),
    }
    return classifiers.save(model, notes, out)


def _accepted(
    pseudo: PseudoLabels | None, planes: PlaneSet, splits: Splits, classes: Sequence[str]
) -> list[PlaneRow]:
    """Return the accepted synthetic rows with their pseudo-labels."""
    if pseudo is None:
        return []
    what = f"synthetic planes {pseudo.images.digest[:12]}"
    splits.require_only((TRAIN,), pseudo.images.seen, what, planes)
    foreign = sorted(set(pseudo.labels.values()) - set(classes))
    if foreign:
        raise InputError(f"pseudo-labels: {', '.join(foreign)}; valid: {', '.join(classes)}")
    labels = pseudo.labels
    return [replace(row, label=labels[row.image]) for row in pseudo.images.rows if row.image in labels]


def _validated(planes: PlaneSet, splits: Splits) -> Seen:
    patients = splits.patients(VALIDATION)
    return Seen.of(planes.rows_of(patients)) | Seen(patients=frozenset(patients))


def _inherited(config: Config, planes: PlaneSet, splits: Splits) -> tuple[Seen, Seen]:
    """Return what the weights to start from have seen, and were chosen by.

    Nothing of the first is measured on here, and nothing of the second tested: it would have been chosen for.
    """
    if not config.pretrained_uri:
        return Seen(), Seen()
    seen, chosen_by = seen_behind(config.pretrained_uri)
    splits.require_unseen(seen, chosen_by, f"pretrained_uri={config.pretrained_uri}", planes)
    return seen, chosen_by


def _pretrained(config: Config, network: nn.Module) -> Mapping[str, Any] | None:
    return start_from(config.pretrained_uri, network, config.architecture) if config.pretrained_uri else None


def _pixels(
    config: Config,
    planes: PlaneSet,
    labelled: Sequence[PlaneRow],
    pseudo: PseudoLabels | None,
    synthetic: Sequence[PlaneRow],
) -> Tensor:
    real_NHW = classifiers.load_pixels(planes, labelled, config.size_px)
    if pseudo is None:
        return real_NHW
    return torch.cat([real_NHW, classifiers.load_pixels(pseudo.images, synthetic, config.size_px)])


def _examples(
    images_NHW: Tensor, labelled: Sequence[PlaneRow], pseudo: Sequence[PlaneRow], classes: Sequence[str]
) -> Examples:
    return Examples(
        images=images_NHW,
        targets=torch.tensor([classes.index(row.label) for row in (*labelled, *pseudo)]),
        pseudo=torch.tensor([False] * len(labelled) + [True] * len(pseudo)),
    )


def _plan(config: Config, epoch_images: int) -> Plan:
    return Plan(
        epochs=config.epochs,
        frozen_epochs=config.frozen_epochs if config.pretrained_uri else 0,
        steps=math.ceil(epoch_images / config.batch),
        batch=config.batch,
        learning_rate=config.learning_rate,
        augment=config.augment,
        seed=config.seed,
    )


def _calibrated(
    config: Config, model: Classifier, planes: PlaneSet, splits: Splits
) -> tuple[Classifier, Calibration, Mapping[str, Any] | None]:
    """Give the model its temperature, and measure it on every validation patient, whatever the fraction."""
    rows = planes.rows_of(splits.patients(VALIDATION))
    images_NHW = classifiers.load_pixels(planes, rows, config.size_px)
    shares_NC = classifiers.uncalibrated(model, images_NHW, config.batch)
    truth_N = np.array([model.classes.index(row.label) for row in rows if row.label in model.classes], int)
    known_N = np.array([row.label in model.classes for row in rows], bool)
    calibration = calibrate(shares_NC[known_N][:, classifiers.known_columns(model)], truth_N)
    model = replace(model, temperature=calibration.temperature)
    if not rows:
        return model, calibration, None
    return model, calibration, measure(predictions_of(classifiers.calibrated(model, shares_NC), rows))


def _count(rows: Sequence[PlaneRow]) -> Mapping[str, int]:
    counts = Counter(row.label for row in rows)
    return {label: counts[label] for label in CLASSES}


def _digests(planes: PlaneSet, splits: Splits, pseudo: PseudoLabels | None) -> Mapping[str, str | None]:
    return {
        "planes": planes.digest,
        "splits": splits.digest,
        "synthetic": pseudo.images.digest if pseudo else None,
        "pseudo_labels": digest_of(pseudo.labels) if pseudo else None,
    }
