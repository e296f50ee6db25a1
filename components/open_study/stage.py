"""Names a study, checks that every fold can be run, and says which cells there are, before any GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.open_ledger.stage import Config, check_labels
from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.labels import labelled_rows
from components.shared.ledger import Ledger
from components.shared.planes import PlaneSet
from components.shared.splits import SPLITS, TRAIN, Splits
from components.shared.study import Grid


def open_study(config: Config, parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits) -> str:
    """Return the study's name; its record exists and is of this very study.

    Raises InputError when a fold has an empty side, or a label fraction leaves too few planes in one.
    """
    grid = Grid.of(parameters)
    _check_fractions(grid, parameters, planes, splits)
    for fold in range(grid.folds):
        _check_fold(fold, grid.fractions, parameters, planes, splits.testing(fold))
    run = config.name("study/")
    record = {
        "parameters": dict(parameters),
        "snapshot_digest": config.snapshot_digest,
        "fingerprint": config.fingerprint,
        "folds": dict(splits.folds),
    }
    study = Ledger(state_uri=config.state_uri, run=run)
    study.begin(record)
    require_remembered(config.state_uri, splits.sides, planes.seen.scans)
    if uri := parameters["expert_labels_uri"]:
        study.keep_expert_labels(storage.read_bytes(uri).decode())
    return run


def _check_fractions(grid: Grid, parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits) -> None:
    """Refuse label fractions that label the same in every fold: they would be printed as different ones."""
    labelled: dict[tuple[frozenset[str], ...], float] = {}
    for fraction in sorted({*grid.fractions, 1.0}):
        told = [_labelled(fraction, parameters, planes, splits.testing(fold)) for fold in range(grid.folds)]
        other = labelled.setdefault(tuple(told), fraction)
        if other != fraction:
            like = "all labels" if fraction == 1 else f"{fraction:g}"
            raise InputError(
                f"label_fractions={list(grid.fractions)}: {other:g} labels the same"
                f" {parameters['label_unit']}s as {like}; valid: fractions that label different ones"
            )


def _labelled(
    fraction: float, parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits
) -> frozenset[str]:
    rows = planes.rows_of(splits.patients(TRAIN))
    told = labelled_rows(rows, fraction, parameters["label_unit"], parameters["seed"])
    return frozenset(row.image for row in told)


def _check_fold(
    fold: int, fractions: Sequence[float], parameters: Mapping[str, Any], planes: PlaneSet, splits: Splits
) -> None:
    empty = [side for side in SPLITS if not splits.patients(side)]
    if empty:
        raise InputError(
            f"folds={parameters['folds']}: with fold {fold} tested, no patient is in {' or '.join(empty)};"
            " valid: volumes of at least 5 patients, or fewer folds"
        )
    for fraction in fractions:
        check_labels({**parameters, "label_fraction": fraction}, planes, splits, "open_study")
