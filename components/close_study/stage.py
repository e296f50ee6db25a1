"""From the cells of a study to its answer: arms, comparisons in their fixed order, one verdict.

The answer rests on patients: seeds are averaged within a patient before anything else. E - C is tested first
(did synthetic images help?), E - D only after it (more than the real planes the GAN was fed?), both at the
first label fraction. All other comparisons describe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.close_study.cells import Outcome, Table, measurable_patients, pooled, read_cells, table_of
from components.shared.breakdowns import Part, error_by_angle, error_by_class, error_by_offset, error_by_site
from components.shared.comparisons import FEWEST_FOR_CLAIM, Comparison, averaged, compare, patients_needed
from components.shared.intervals import mean_interval
from components.shared.metrics import confusion, plane_interval, recall
from components.shared.planes import PlaneSet
from components.shared.splits import Splits
from components.shared.spread import spread
from components.shared.study import ARMS, Grid
from components.shared.verdicts import headroom_verdict, is_shown, no_claim, verdict

HEADROOM, TESTED, DESCRIBED = "headroom", "tested", "described"
_TESTED = (("E", "C", "synthetic data"), ("E", "D", "synthetic data more than the hidden real planes"))
_DESCRIBED = (("C", "B"), ("D", "C"), ("E", "F"), ("E", "G"), ("A", "E"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where a study is, and how it is judged."""

    study_uri: str  # {state_uri}/{run}
    grid: Grid
    worthwhile_gain: float
    seed: int


def close_study(config: Config, planes: PlaneSet, splits: Splits) -> dict[str, Any]:
    """Return the study's arms, comparisons and verdict, ready for JSON."""
    done, failed = read_cells(config.study_uri, config.grid, planes, splits)
    patients, unmeasured = measurable_patients(planes, splits, config.grid)
    arms = {
        (letter, fraction): [o for o in done if (o.cell.arm, o.cell.fraction) == (letter, fraction)]
        for letter in sorted(config.grid.arms)
        for fraction in config.grid.fractions_of(ARMS[letter])
    }
    tables = {key: table_of(found, config.grid, patients) for key, found in arms.items()}
    compared = [each for fraction in config.grid.fractions for each in _compared(config, tables, fraction)]
    return {
        "verdict": _verdict(config, compared),
        "patients": len(patients),
        "patients_not_measured": unmeasured,
        "arms": [_arm(config.grid, key, found, tables[key]) for key, found in arms.items()],
        "comparisons": [asdict(each) for each in compared],
        "failed": [{"cell": each.cell.name, "reason": each.reason} for each in failed],
        "errors": _errors(config, arms),
        "cells": [_cell(outcome) for outcome in done],
    }


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One arm against another at one fraction."""

    role: str
    model: str
    other: str
    fraction: float
    found: Comparison
    differences: Sequence[float]  # by patient
    needed: Mapping[str, Any] | None  # how many patients would settle it


def _compared(
    config: Config, tables: Mapping[tuple[str, float], Table | None], fraction: float
) -> list[Compared]:
    first = fraction == config.grid.fractions[0]
    pairs = [(HEADROOM, "A", "B")]
    pairs += [(TESTED if first else DESCRIBED, model, other) for model, other, _ in _TESTED]
    pairs += [(DESCRIBED, model, other) for model, other in _DESCRIBED]
    found = [_pair(config, tables, role, model, other, fraction) for role, model, other in pairs]
    return [each for each in found if each is not None]


def _pair(  # noqa: PLR0917
    config: Config,
    tables: Mapping[tuple[str, float], Table | None],
    role: str,
    model: str,
    other: str,
    fraction: float,
) -> Compared | None:
    one, two = (_table(tables, letter, fraction) for letter in (model, other))
    if one is None or two is None or not one.patients:
        return None
    differences_P = averaged(one.values) - averaged(two.values)
    needed = patients_needed(differences_P, config.worthwhile_gain)
    return Compared(
        role=role,
        model=model,
        other=other,
        fraction=fraction,
        found=compare(one.values, two.values, config.seed),
        differences=[float(value) for value in differences_P],
        needed=None if needed is None else asdict(needed),
    )


def _table(tables: Mapping[tuple[str, float], Table | None], letter: str, fraction: float) -> Table | None:
    return tables.get((letter, 1.0 if ARMS[letter].all_labels else fraction))


def _verdict(config: Config, compared: Sequence[Compared]) -> list[str]:
    """Return the answer in its order: headroom, then E - C, then E - D where the first was shown."""
    first = [each for each in compared if each.fraction == config.grid.fractions[0]]
    found = {(each.model, each.other): each.found for each in first}
    headroom = found.get(("A", "B"))
    lines = [line] if headroom and (line := headroom_verdict(headroom)) else []
    for model, other, subject in _TESTED:
        tested = found.get((model, other))
        if tested is None:
            return lines or ["no arm with synthetic images came to its end: nothing is compared"]
        if tested.patients < FEWEST_FOR_CLAIM:
            return list(dict.fromkeys([*lines, no_claim(tested.patients)]))
        lines.append(verdict(subject, tested, config.grid.seeds))
        if not is_shown(tested, config.grid.seeds):
            break
    return lines


def _arm(grid: Grid, key: tuple[str, float], done: Sequence[Outcome], table: Table | None) -> dict[str, Any]:
    letter, fraction = key
    cells = grid.folds * grid.seeds
    about = {
        "letter": letter,
        "title": ARMS[letter].title,
        "fraction": fraction,
        "cells": cells,
        "failed": cells - len(done),
        "labelled": _mean(outcome.result["labelled"] for outcome in done),
        "labelled_patients": _mean(outcome.result["labelled_patients"] for outcome in done),
        "pseudo": _mean(sum(outcome.result["pseudo"].values()) for outcome in done),
    }
    return about | _measured(done, table)


def _measured(done: Sequence[Outcome], table: Table | None) -> dict[str, Any]:
    first = [outcome for outcome in done if outcome.cell.seed == 0]
    if table is None or not first or not table.patients:
        return dict.fromkeys(
            ("value", "interval", "naive", "patients", "seeds", "spread", "recall", "calibration")
        )
    values_P = averaged(table.values)
    interval, parts = mean_interval(values_P), spread(table.values)
    _, found = pooled(first)
    return {
        "value": float(values_P.mean()),
        "interval": None if interval is None else [float(end) for end in interval],
        "naive": plane_interval(found),
        "patients": {name: float(v) for name, v in zip(table.patients, values_P, strict=True)},
        "seeds": [float(value) for value in table.values.mean(axis=1)],
        "spread": None if parts is None else asdict(parts),
        "recall": recall(confusion(found.truth, found.predicted)),
        "calibration": _calibration(done),
    }


def _calibration(done: Sequence[Outcome]) -> dict[str, float]:
    """Return the mean over cells of loss and calibration error, as trained and as tempered on validation."""
    gauges = [outcome.result["test"]["calibration"] for outcome in done]
    return {name: float(np.mean([gauge[name] for gauge in gauges])) for name in gauges[0]}


def _errors(
    config: Config, arms: Mapping[tuple[str, float], Sequence[Outcome]]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return where arms C and E err at the first fraction: by class, angle, offset and site."""
    found = {}
    for letter in ("C", "E"):
        if done := arms.get((letter, config.grid.fractions[0])):
            rows, predictions = pooled(done)
            found[letter] = {
                "class": _parts(error_by_class(rows, predictions.predicted)),
                "angle": _parts(error_by_angle(rows, predictions.predicted)),
                "offset": _parts(error_by_offset(rows, predictions.predicted)),
                "site": _parts(error_by_site(rows, predictions.predicted)),
            }
    return found


def _parts(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [asdict(part) for part in parts]


def _cell(outcome: Outcome) -> dict[str, Any]:
    """Return the row of one cell: what it was trained on, and how its rounds went."""
    result = outcome.result
    rounds = [
        {
            "round": each["round"],
            "accepted": dict(each["accepted"]),
            "pool": each["pool"],
            "validation_loss": each["validation"]["mean_patient_loss"],
            "validation_balanced_accuracy": each["validation"]["balanced_accuracy"],
            "stop_reason": each["stop_reason"],
        }
        for each in result["rounds"]
    ]
    return {
        "cell": outcome.cell.name,
        "arm": outcome.cell.arm,
        "fold": outcome.cell.fold,
        "seed": outcome.cell.seed,
        "fraction": outcome.cell.fraction,
        "labelled": result["labelled"],
        "labelled_patients": result["labelled_patients"],
        "pseudo": dict(result["pseudo"]),
        "expert_labels": result["expert_labels"],
        "best_round": result["best_round"],
        "balanced_accuracy": result["test"]["balanced_accuracy"],
        "rounds": rounds,
        "digest": result["digest"],
    }


def _mean(values: Any) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None
