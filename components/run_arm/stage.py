"""One cell of a study in one task: train, judge the pool, relabel, train again; then the test patients.

The rounds are those of the pipeline `augmentation`, done by the same functions in the same order. The cell's
ledger, {state_uri}/{run}/cells/{cell}/, is what a pod that is lost goes on from:

    run.json, rounds/...    as in components/shared/ledger.py
    predictions.csv         probabilities of every test plane
    result.json             written last, create-only: the cell is done
    failed.json             why the last attempt came to nothing (failures.py)
"""

import csv
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from components.classify_images.stage import Config as ClassifyConfig
from components.classify_images.stage import classify_images
from components.evaluate.stage import Config as EvaluateConfig
from components.evaluate.stage import measure_model
from components.make_synthetic.stage import fetch_synthetic
from components.relabel_images.stage import Config as RelabelConfig
from components.relabel_images.stage import relabel_images, summarise
from components.shared import classifier as classifiers
from components.shared import expert_labels, storage
from components.shared.expert_labels import ExpertRow
from components.shared.faults import InputError
from components.shared.labels import labelled_rows
from components.shared.lease import release
from components.shared.ledger import Ledger, round_name
from components.shared.planes import CLASSES, PlaneRow, PlaneSet
from components.shared.pool import pool_of
from components.shared.progress import Progress, silent
from components.shared.rounds import MAX_ROUNDS, RoundRule, best_round, stop_reason
from components.shared.splits import TEST, TRAIN, VALIDATION, Splits
from components.shared.study import ARMS, CELLS, PREDICTIONS, REAL_POOL, RESULT, Arm, Cell, Grid
from components.train_classifier.round import train_round
from components.train_classifier.stage import Config as TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """What all cells of a study share."""

    study_uri: str  # {state_uri}/{run}
    grid: Grid
    training: TrainConfig  # label fraction, seed and augmentation are the cell's
    relabelling: RelabelConfig  # its round is whichever comes
    max_rounds: int
    patience: int
    min_gain: float
    experts: Sequence[ExpertRow] = ()  # labels of some synthetic images

    @classmethod
    def of(cls, study_uri: str, parameters: Mapping[str, Any], experts: Sequence[ExpertRow] = ()) -> Self:
        """Return what the parameters of a study say."""
        seed = parameters["seed"]
        judged = ("confidence_threshold", "threshold_rule", "max_class_ratio", "relabel")
        return cls(
            study_uri=study_uri,
            grid=Grid.of(parameters),
            experts=experts,
            training=TrainConfig(
                architecture=parameters["classifier"],
                size_px=parameters["image_size_px"],
                label_seed=seed,
                seed=seed,
                **{name: parameters[name] for name in ("epochs", "pretrained_uri", "label_unit")},
            ),
            relabelling=RelabelConfig(round=0, **{name: parameters[name] for name in judged}),
            **{name: parameters[name] for name in ("max_rounds", "patience", "min_gain")},
        )


def run_arm(  # noqa: PLR0917 - inputs, then progress, as in every stage
    config: Config,
    cell: Cell,
    planes: PlaneSet,
    splits: Splits,
    owner: str,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Return the cell's result; one that is there already is not made again.

    Raises InputError where there is no classifier of arm C, in which the cell begins, or no synthetic images.
    """
    done = storage.join(cell.uri(config.study_uri), RESULT)
    if storage.exists(done):
        return dict(json.loads(storage.read_bytes(done)))
    arm, turned = ARMS[cell.arm], splits.turned(cell.fold)
    ledger = Ledger(state_uri=storage.join(config.study_uri, CELLS), run=cell.name)
    ledger.begin(_record(config, cell, turned))
    training = replace(
        config.training,
        label_fraction=cell.fraction,
        seed=config.training.seed + cell.seed,
        augment=arm.augment,
    )
    with tempfile.TemporaryDirectory() as scratch:
        pool = _pool(config, cell, training, planes, turned, Path(scratch) / "pool")
        if pool is not None and (told := expert_labels.of_images(config.experts, pool)):
            ledger.keep_expert_labels(expert_labels.write(told))
        if arm.pool:
            _begin_with(Ledger(state_uri=ledger.state_uri, run=cell.start.name), ledger, Path(scratch))
        for number in range(config.max_rounds + 1):
            _turn(config, training, arm, ledger, number, planes, turned, pool, owner, Path(scratch), progress)
        result = _conclude(cell, ledger, planes, turned, Path(scratch))
    release(ledger.uri, owner)
    return result


def _record(config: Config, cell: Cell, splits: Splits) -> dict[str, Any]:
    rule = RoundRule(
        max_rounds=config.max_rounds if ARMS[cell.arm].pool else 0,
        patience=config.patience,
        min_gain=config.min_gain,
        relabel=config.relabelling.relabel,
        validation_patients=len(splits.patients(VALIDATION)),
    )
    sides = {"folds": dict(splits.folds), "sides": dict(splits.sides)}
    return {"cell": asdict(cell), "rule": asdict(rule), **sides}


def _pool(  # noqa: PLR0917
    config: Config, cell: Cell, training: TrainConfig, planes: PlaneSet, splits: Splits, folder: Path
) -> PlaneSet | None:
    """Return the planes whose labels are guessed: synthetic ones, or the real ones that were not labelled."""
    arm = ARMS[cell.arm]
    if arm.pool != REAL_POOL:
        return fetch_synthetic(config.study_uri, config.grid.source_of(cell), folder) if arm.pool else None
    patients = splits.patients(TRAIN)
    rows = planes.rows_of(patients)
    told = labelled_rows(rows, training.label_fraction, training.label_unit, training.label_seed)
    known = {row.image for row in told}
    hidden = [replace(row, label="") for row in rows if row.image not in known]
    return replace(planes, rows=hidden, patients=patients)


def _begin_with(start: Ledger, ledger: Ledger, scratch: Path) -> None:
    """Make arm C's classifier round 0 of this cell: it is trained once."""
    if ledger.rounds():
        return
    if not (sealed := start.rounds()):
        raise InputError(f"cell {ledger.run}: {start.run} has no classifier; valid: that cell done first")
    start.fetch_sealed(sealed[0], scratch / "start")
    ledger.keep_classifier(round_name(0), scratch / "start")


def _turn(  # noqa: PLR0917
    config: Config,
    training: TrainConfig,
    arm: Arm,
    ledger: Ledger,
    number: int,
    planes: PlaneSet,
    splits: Splits,
    pool: PlaneSet | None,
    owner: str,
    scratch: Path,
    progress: Progress,
) -> None:
    """Do one round, unless it is done or not wanted."""
    sealed = ledger.rounds()
    if number < len(sealed) or stop_reason(sealed, ledger.rule()):
        return
    folder = scratch / f"{number:03}"
    about = train_round(
        training,
        planes=planes,
        pool=pool,
        splits=splits,
        ledger=ledger,
        number=number,
        owner=owner,
        out=folder / "classifier",
        progress=progress,
    )
    if pool is None:
        ledger.seal({**summarise(0, about, [], []), "stop_reason": MAX_ROUNDS}, [])
        return
    judged = pool_of(ledger, number, config.relabelling.relabel, [row.image for row in pool.rows])
    classify_images(ClassifyConfig(), folder / "classifier", pool, judged, folder)
    shuffle_seed = training.seed if arm.shuffled else None
    settings = replace(config.relabelling, round=number, shuffle_seed=shuffle_seed)
    relabel_images(settings, ledger, folder, about, owner)


def _conclude(
    cell: Cell, ledger: Ledger, planes: PlaneSet, splits: Splits, scratch: Path
) -> Mapping[str, Any]:
    """Measure the best round on the test patients and write the result; the other rounds' weights go."""
    rounds = ledger.rounds()
    best = best_round(rounds, ledger.rule())
    ledger.fetch_sealed(rounds[best], scratch / "best")
    rows = planes.rows_of(splits.patients(TEST))
    found_NC, measured = _tested(cell, scratch / "best", planes, rows, splits)
    table = storage.join(ledger.uri, PREDICTIONS)
    storage.delete(table)  # of an attempt that died before its result
    storage.create(table, _table(rows, found_NC))
    about, experts = classifiers.describe(scratch / "best"), len(ledger.expert_labels())
    result = _result(cell, rounds, best, about, experts) | {"test": measured}
    storage.create(storage.join(ledger.uri, RESULT), _as_json(result))
    for number in range(len(rounds)):
        if number != best:  # their JSON stays: it says whom they saw
            storage.delete(storage.join(ledger.round_uri(number), classifiers.WEIGHTS))
    return result


def _tested(
    cell: Cell, classifier: Path, planes: PlaneSet, rows: Sequence[PlaneRow], splits: Splits
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return probabilities and metrics on the test planes of a model that has seen none of their patients."""
    model = classifiers.load(classifier)
    splits.require_only((TRAIN,), model.patients_seen, f"cell {cell.name}")
    images_NHW = classifiers.load_pixels(planes, rows, model.size_px)
    return measure_model(model, images_NHW, rows, EvaluateConfig().batch)


def _result(
    cell: Cell, rounds: Sequence[Mapping[str, Any]], best: int, about: Mapping[str, Any], experts: int
) -> dict[str, Any]:
    return {
        "cell": asdict(cell),
        "best_round": best,
        "labelled": about["labelled"],
        "labelled_patients": len(set(about["labelled_patients"])),
        "pseudo": about["pseudo"],
        "expert_labels": experts,
        "rounds": list(rounds),
        "digest": about["digest"],
    }


def _table(rows: Sequence[PlaneRow], probabilities_NC: NDArray[np.float32]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", *CLASSES])
    for row, values_C in zip(rows, probabilities_NC, strict=True):
        writer.writerow([row.image, *(f"{value:.6f}" for value in values_C)])
    return buffer.getvalue().encode()


def _as_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
