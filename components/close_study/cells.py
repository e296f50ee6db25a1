"""What the cells of a study left behind, read back: results, predictions, and reasons for failure.

Shapes: K seeds, P patients, N planes, C classes.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared import storage, stored_json
from components.shared.arrays import Floats
from components.shared.failures import reason_at
from components.shared.faults import InputError
from components.shared.metrics import Predictions, per_patient, predictions_of
from components.shared.planes import CLASSES, GAN_CLASSES, PlaneRow, PlaneSet
from components.shared.splits import TEST, Splits
from components.shared.study import RESULT, RESULT_SHAPE, Cell, Grid


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a cell that came to its end left: its result and its test predictions."""

    cell: Cell
    result: Mapping[str, Any]
    rows: Sequence[PlaneRow]  # N, of the fold's test patients
    predictions: Predictions


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell without a result, and why."""

    cell: Cell
    reason: str


def read_cells(
    study_uri: str, grid: Grid, planes: PlaneSet, splits: Splits
) -> tuple[list[Outcome], list[Failure]]:
    """Return what the cells of the study left, and which of them failed."""
    tested = {fold: planes.rows_of(splits.testing(fold).patients(TEST)) for fold in range(grid.folds)}
    done, failed = [], []
    for cell in grid.all_cells():
        uri = cell.uri(study_uri)
        if storage.exists(storage.join(uri, RESULT)):
            done.append(_read(uri, cell, tested[cell.fold]))
        else:
            failed.append(Failure(cell=cell, reason=reason_at(uri)))
    return done, failed


def _read(uri: str, cell: Cell, rows: Sequence[PlaneRow]) -> Outcome:
    result = stored_json.read(storage.join(uri, RESULT), RESULT_SHAPE)
    found_NC = _probabilities(storage.join(uri, result["predictions"]), rows)
    return Outcome(cell=cell, result=result, rows=rows, predictions=predictions_of(found_NC, rows))


def _probabilities(uri: str, rows: Sequence[PlaneRow]) -> Floats:
    lines = list(csv.DictReader(io.StringIO(storage.read_bytes(uri).decode())))
    if [line["image"] for line in lines] != [row.image for row in rows]:
        raise InputError(f"{uri}: predictions of other planes; valid: a run_name of its own")
    found_NC = np.array([[float(line[label]) for label in CLASSES] for line in lines])
    if not np.isfinite(found_NC).all():
        raise InputError(f"{uri}: a probability is no number; valid: a run_name of its own")
    return found_NC


@dataclass(frozen=True, kw_only=True)
class Table:
    """The balanced accuracies of one arm at one fraction, by seed and patient."""

    patients: Sequence[str]  # P, in the order of the planes: names depend on a secret key
    folds: NDArray[np.int64]  # P: the fold in which each was tested, with its others by the same trainings
    seeds: Sequence[int]  # K, those that came to their end in every fold
    values: Floats  # K x P

    def of(self, seeds: Sequence[int]) -> Floats:
        """Return the values of some seeds."""
        return self.values[[self.seeds.index(seed) for seed in seeds]]


def whole_seeds(outcomes: Sequence[Outcome], grid: Grid) -> list[Outcome]:
    """Return an arm's cells of those seeds that came to their end in every fold.

    A seed that failed in a fold lacks that fold's patients, so it is left out in all of them.
    """
    folds = Counter(outcome.cell.seed for outcome in outcomes)
    return [outcome for outcome in outcomes if folds[outcome.cell.seed] == grid.folds]


def table_of(outcomes: Sequence[Outcome], measurable: Sequence[str]) -> Table | None:
    """Return the values of one arm's whole seeds; None where there is none, or nobody to measure."""
    seeds = sorted({outcome.cell.seed for outcome in outcomes})
    if not seeds or not measurable:
        return None
    values = [_by_patient([each for each in outcomes if each.cell.seed == seed]) for seed in seeds]
    fold_of = {row.patient: outcome.cell.fold for outcome in outcomes for row in outcome.rows}
    return Table(
        patients=list(measurable),
        folds=np.array([fold_of[patient] for patient in measurable]),
        seeds=seeds,
        values=np.array([[each[patient] for patient in measurable] for each in values]),
    )


def _by_patient(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        patient: measured["balanced_accuracy"]
        for outcome in outcomes
        for patient, measured in per_patient(outcome.predictions).items()
    }


def measurable_patients(planes: PlaneSet, splits: Splits, grid: Grid) -> tuple[list[str], list[str]]:
    """Return the tested patients with planes of both cuts, and those that lack one, in the planes' order."""
    tested = {patient for fold in range(grid.folds) for patient in splits.testing(fold).patients(TEST)}
    cuts: dict[str, set[str]] = {}
    for row in planes.rows_of(tested):
        cuts.setdefault(row.patient, set()).add(row.label)
    whole = [patient for patient, labels in cuts.items() if labels.issuperset(GAN_CLASSES)]
    return whole, [patient for patient in cuts if patient not in whole]


def pooled(outcomes: Sequence[Outcome]) -> tuple[list[PlaneRow], Predictions]:
    """Return the test planes of several cells as one, each as often as it was tested."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    found = [outcome.predictions.probabilities for outcome in outcomes]
    return rows, predictions_of(np.concatenate(found), rows)
