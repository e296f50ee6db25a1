"""One cell of a study in one pod: train, judge the pool, relabel, train again; then the test patients.

The rounds are those of the pipeline `augmentation`, done by the same functions in the same order. The cell's
ledger, {state_uri}/{run}/cells/{cell}/, is what a pod that is lost goes on from:

    run.json, rounds/...    as in components/shared/ledger.py
    predictions-HASH.csv    probabilities of every test plane
    history.csv             every image of its pool in every round
    result.json             written last, create-only: the cell is done
    failed.json             why the last attempt came to nothing (failures.py)
"""

import csv
import hashlib
import io
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
from components.shared import expert_labels, storage, stored_json
from components.shared.expert_labels import ExpertRow
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.history import HISTORY, changes, history_table
from components.shared.labels import labelled_rows
from components.shared.lease import waiting_lease
from components.shared.ledger import Ledger
from components.shared.planes import CLASSES, PlaneRow, PlaneSet, Seen
from components.shared.pool import pool_of
from components.shared.progress import Progress, silent
from components.shared.rounds import MAX_ROUNDS, RoundRule, best_round, stop_reason
from components.shared.splits import TEST, TRAIN, VALIDATION, Splits
from components.shared.study import ARMS, REAL_POOL, RESULT, RESULT_SHAPE, Arm, Cell, Grid
from components.shared.weights import behind
from components.train_classifier.round import train_round
from components.train_classifier.stage import Config as TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """What all cells of a study share."""

    state_uri: str
    study_uri: str  # {state_uri}/{run}
    grid: Grid
    training: TrainConfig  # label fraction, seed and augmentation are the cell's
    relabelling: RelabelConfig  # its round is whichever comes
    max_rounds: int
    patience: int
    min_gain: float
    experts: Sequence[ExpertRow] = ()  # labels of some synthetic images

    @classmethod
    def of(
        cls, state_uri: str, study_uri: str, parameters: Mapping[str, Any], experts: Sequence[ExpertRow] = ()
    ) -> Self:
        """Return what the parameters of a study say."""
        seed = parameters["seed"]
        judged = ("confidence_threshold", "threshold_rule", "max_class_ratio", "relabel")
        return cls(
            state_uri=state_uri,
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


@dataclass(frozen=True, kw_only=True)
class Work:
    """A cell at work: what its rounds share."""

    config: Config
    cell: Cell
    training: TrainConfig  # with the cell's label fraction, seed and augmentation
    ledger: Ledger
    planes: PlaneSet
    splits: Splits  # those that test the cell's fold
    owner: str
    scratch: Path
    progress: Progress

    @property
    def arm(self) -> Arm:
        """What the cell's classifiers are shown."""
        return ARMS[self.cell.arm]


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
    ledger = Ledger.at(cell.uri(config.study_uri))
    if (done := _done(ledger)) is not None:
        return done
    sides = splits.testing(cell.fold)
    with waiting_lease(ledger.uri, f"cell {cell.name}", owner), tempfile.TemporaryDirectory() as scratch:
        if (done := _done(ledger)) is not None:  # by whom this one waited for
            return done
        # Who is known now stays so while this lasts.
        require_remembered(config.state_uri, splits.folds, planes.seen.scans)
        ledger.begin(_record(config, cell, sides))
        work = Work(
            config=config,
            cell=cell,
            training=_training(config, cell),
            ledger=ledger,
            planes=planes,
            splits=sides,
            owner=owner,
            scratch=Path(scratch),
            progress=progress,
        )
        _do_rounds(work)
        result = _conclude(work)
    require_remembered(config.state_uri, splits.folds, planes.seen.scans)
    return result


def _done(ledger: Ledger) -> Mapping[str, Any] | None:
    uri = storage.join(ledger.uri, RESULT)
    return dict(stored_json.read(uri, RESULT_SHAPE)) if storage.exists(uri) else None


def _training(config: Config, cell: Cell) -> TrainConfig:
    return replace(
        config.training,
        label_fraction=cell.fraction,
        seed=config.training.seed + cell.seed,
        augment=ARMS[cell.arm].augment,
    )


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


def _do_rounds(work: Work) -> None:
    """Do the rounds that are not done; the first one of an arm with a pool is arm C's."""
    pool = _pool(work)
    if pool is not None and (told := expert_labels.of_images(work.config.experts, pool)):
        work.ledger.keep_expert_labels(expert_labels.write(told))
    if work.arm.pool:
        _begin_with(work.cell.start, work)
    for number in range(work.config.max_rounds + 1):
        _do_round(work, number, pool)


def _pool(work: Work) -> PlaneSet | None:
    """Return the planes whose labels are guessed: synthetic ones, or the real ones that were not labelled."""
    if not work.arm.pool:
        return None
    if work.arm.pool != REAL_POOL:
        source = work.config.grid.source_of(work.cell)
        pool = fetch_synthetic(work.config.study_uri, source, work.scratch / "pool")
        what = f"cell {work.cell.name}: images {source.name}"
        work.splits.require_only((TRAIN,), pool.seen, what, work.planes)
        return pool
    patients, training = work.splits.patients(TRAIN), work.training
    rows = work.planes.rows_of(patients)
    told = labelled_rows(rows, training.label_fraction, training.label_unit, training.label_seed)
    known = {row.image for row in told}
    hidden = [replace(row, label="") for row in rows if row.image not in known]
    return replace(work.planes, rows=hidden, seen=Seen.of(rows) | Seen(patients=frozenset(patients)))


def _begin_with(cell: Cell, work: Work) -> None:
    """Make arm C's classifier round 0 of this cell: it is trained once."""
    if work.ledger.rounds():
        return
    start = Ledger.at(cell.uri(work.config.study_uri))
    if not (sealed := start.rounds()):
        raise InputError(f"cell {work.cell.name}: {cell.name} has no classifier; valid: that cell done first")
    start.fetch_sealed(sealed[0], work.scratch / "start")
    work.ledger.keep_classifier(0, work.scratch / "start")
    if classifiers.describe(work.scratch / "start")["digest"] != sealed[0]["classifier_digest"]:
        raise InputError(
            f"cell {work.cell.name}: began with another classifier than that of {cell.name}; valid: a"
            " run_name of its own"
        )


def _do_round(work: Work, number: int, pool: PlaneSet | None) -> None:
    """Do one round, unless it is done or not wanted."""
    ledger, folder = work.ledger, work.scratch / f"{number:03}"
    sealed = ledger.rounds()
    if number < len(sealed) or stop_reason(sealed, ledger.rule()):
        return
    about = train_round(
        work.training,
        planes=work.planes,
        pool=pool,
        splits=work.splits,
        ledger=ledger,
        number=number,
        owner=work.owner,
        out=folder / "classifier",
        progress=work.progress,
    )
    if pool is None:
        ledger.seal({**summarise(0, about, [], []), **changes(None, []), "stop_reason": MAX_ROUNDS}, [])
        return
    settings = replace(
        work.config.relabelling,
        round=number,
        shuffle_seed=work.training.seed if work.arm.shuffled else None,
    )
    judged = pool_of(ledger, number, settings.relabel, [row.image for row in pool.rows])
    classify_images(ClassifyConfig(), folder / "classifier", pool, judged, folder)
    relabel_images(settings, ledger, folder, about, work.owner)


def _conclude(work: Work) -> Mapping[str, Any]:
    """Measure the best round on the test patients and write the result."""
    ledger, folder = work.ledger, work.scratch / "best"
    rounds = ledger.rounds()
    best = best_round(rounds, ledger.rule())
    ledger.fetch_sealed(rounds[best], folder)
    rows = work.planes.rows_of(work.splits.patients(TEST))
    found_NC, measured = _tested(work, folder, rows)
    table = _table(rows, found_NC)
    predictions = f"predictions-{hashlib.sha256(table).hexdigest()[:16]}.csv"  # no attempt undoes another's
    storage.create(storage.join(ledger.uri, predictions), table)
    history = history_table([ledger.labels(each["round"]) for each in rounds])
    storage.create(storage.join(ledger.uri, HISTORY), history)  # the sealed rounds alone decide it
    about, experts = classifiers.describe(folder), len(ledger.expert_labels())
    # Some of them no splits of this run know.
    known = behind(about, f"cell {work.cell.name}")
    require_remembered(work.config.state_uri, known.patients, known.scans)
    result = _result(work.cell, rounds, best, about, experts) | {"test": measured, "predictions": predictions}
    storage.create(storage.join(ledger.uri, RESULT), stored_json.text(result).encode())
    return dict(stored_json.read(storage.join(ledger.uri, RESULT), RESULT_SHAPE))  # the first one's


def _tested(
    work: Work, classifier: Path, rows: Sequence[PlaneRow]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return probabilities and metrics on the test planes of a model that has seen none of their patients."""
    model = classifiers.load(classifier)
    work.splits.require_unseen(model.seen, model.chosen_by, f"cell {work.cell.name}", work.planes)
    images_NHW = classifiers.load_pixels(work.planes, rows, model.size_px)
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
