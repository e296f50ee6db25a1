"""From the cells of a study to its answer: arms, comparisons in their fixed order, one verdict.

The answer rests on patients: seeds are averaged within a patient before anything else. E - C is tested first
(did synthetic images help?), E - D only after it (more than the real planes the GAN was fed?), both at the
first label fraction. All other comparisons describe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from components.close_study.answer import TESTED as TESTED_PAIRS
from components.close_study.answer import answer, tests_made
from components.close_study.cells import (
    Failure,
    Outcome,
    Table,
    measurable_patients,
    pooled,
    read_cells,
    table_of,
    whole_seeds,
)
from components.shared.breakdowns import Part, error_by_angle, error_by_class, error_by_offset, error_by_site
from components.shared.comparisons import (
    FEWEST_TRAININGS,
    Comparison,
    averaged,
    compare,
    patients_needed,
    training_noise,
)
from components.shared.intervals import mean_interval
from components.shared.metrics import confusion, plane_interval, recall
from components.shared.planes import PlaneSet
from components.shared.splits import Splits
from components.shared.spread import spread
from components.shared.study import ARMS, SYNTHETIC_POOL, Grid

HEADROOM, TESTED, DESCRIBED = "headroom", "tested", "described"
UNTESTED = "not tested"  # as what comes before it in the fixed order leads no further
_ERRORS = {
    "class": error_by_class,
    "angle": error_by_angle,
    "offset": error_by_offset,
    "site": error_by_site,
}
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
        (letter, fraction): whole_seeds(
            [o for o in done if (o.cell.arm, o.cell.fraction) == (letter, fraction)], config.grid
        )
        for letter in sorted(config.grid.arms)
        for fraction in config.grid.fractions_of(ARMS[letter])
    }
    tables = {key: table_of(found, patients) for key, found in arms.items()}
    compared = [each for fraction in config.grid.fractions for each in _compared(config, tables, fraction)]
    return {
        "verdict": _verdict(config.grid, arms, compared, len(patients)),
        "patients": len(patients),
        "patients_not_measured": unmeasured,
        "arms": [_arm(config.grid, key, found, tables[key], failed) for key, found in arms.items()],
        "comparisons": [asdict(each) for each in _as_tested(compared, config.grid.fractions[0])],
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
    pairs += [(TESTED if first else DESCRIBED, model, other) for model, other, _ in TESTED_PAIRS]
    pairs += [(DESCRIBED, model, other) for model, other in _DESCRIBED]
    found = [_pair(config, tables, role, model, other, fraction) for role, model, other in pairs]
    return [each for each in found if each is not None]


def _as_tested(compared: Sequence[Compared], first: float) -> list[Compared]:
    """Leave a p-value to those comparisons alone that are tests, as the first label fraction decides."""
    made = tests_made({(each.model, each.other): each.found for each in compared if each.fraction == first})
    return [
        each
        if each.role == TESTED and (each.model, each.other) in made
        else replace(
            each,
            role=UNTESTED if each.role == TESTED else each.role,
            found=replace(each.found, p_value=None),
        )
        for each in compared
    ]


def _pair(  # noqa: PLR0917
    config: Config,
    tables: Mapping[tuple[str, float], Table | None],
    role: str,
    model: str,
    other: str,
    fraction: float,
) -> Compared | None:
    one, two = (_table(tables, letter, fraction) for letter in (model, other))
    seeds = [seed for seed in one.seeds if seed in two.seeds] if one and two else []
    if one is None or two is None or not seeds:
        return None
    values = one.of(seeds), two.of(seeds)  # the same seeds: they are paired
    gans = _gans(config.grid, seeds, model, other)
    differences_P = averaged(values[0]) - averaged(values[1])
    found = compare(*values, one.folds, config.seed, gans)
    noise = training_noise(values[0] - values[1], one.folds, gans)
    needed = patients_needed(differences_P, config.worthwhile_gain, noise)
    if needed and found.trainings < FEWEST_TRAININGS:  # nothing is known of what another would change
        needed = replace(needed, patients=None, interval=(None, None))
    return Compared(
        role=role,
        model=model,
        other=other,
        fraction=fraction,
        found=found,
        differences=[float(value) for value in differences_P],
        needed=None if needed is None else asdict(needed),
    )


def _table(tables: Mapping[tuple[str, float], Table | None], letter: str, fraction: float) -> Table | None:
    return tables.get((letter, 1.0 if ARMS[letter].all_labels else fraction))


def _verdict(
    grid: Grid,
    arms: Mapping[tuple[str, float], Sequence[Outcome]],
    compared: Sequence[Compared],
    patients: int,
) -> list[str]:
    first = [each for each in compared if each.fraction == grid.fractions[0]]
    wanted = (grid.fractions[0], 1.0)
    outcomes = {letter: done for (letter, fraction), done in arms.items() if fraction in wanted}
    return answer(grid, outcomes, {(each.model, each.other): each.found for each in first}, patients)


def _arm(
    grid: Grid,
    key: tuple[str, float],
    done: Sequence[Outcome],
    table: Table | None,
    failed: Sequence[Failure],
) -> dict[str, Any]:
    letter, fraction = key
    about = {
        "letter": letter,
        "title": ARMS[letter].title,
        "fraction": fraction,
        "cells": grid.folds * grid.seeds,
        "failed": sum((each.cell.arm, each.cell.fraction) == key for each in failed),
        "labelled": _mean(outcome.result["labelled"] for outcome in done),
        "labelled_patients": _mean(outcome.result["labelled_patients"] for outcome in done),
        "pseudo": _mean(sum(outcome.result["pseudo"].values()) for outcome in done),
    }
    return about | _measured(done, table, _gans(grid, table.seeds, letter) if table else [])


def _gans(grid: Grid, seeds: Sequence[int], *letters: str) -> list[int]:
    """Return the GAN of a fold behind each seed; none where no arm learns from images."""
    images = any(ARMS[letter].pool == SYNTHETIC_POOL for letter in letters)
    return [grid.gan_of(seed) for seed in seeds] if images else []


def _measured(done: Sequence[Outcome], table: Table | None, gans: Sequence[int]) -> dict[str, Any]:
    if table is None:
        return dict.fromkeys(
            ("value", "interval", "naive", "patients", "seeds", "spread", "recall", "calibration")
        )
    values_P = averaged(table.values)
    interval, parts = mean_interval(values_P), spread(table.values, table.folds, gans)
    (_, all_found), (_, found) = pooled(done), pooled([o for o in done if o.cell.seed == table.seeds[0]])
    return {
        "value": float(values_P.mean()),
        "interval": None if interval is None else [float(end) for end in interval],
        "naive": plane_interval(found),
        "patients": {name: float(v) for name, v in zip(table.patients, values_P, strict=True)},
        "seeds": [float(value) for value in table.values.mean(axis=1)],
        "spread": None if parts is None else asdict(parts),
        "recall": recall(confusion(all_found.truth, all_found.predicted)),
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
            seeds = len({outcome.cell.seed for outcome in done})
            found[letter] = {
                kind: _parts(error_by(rows, predictions.predicted), seeds)
                for kind, error_by in _ERRORS.items()
            }
    return found


def _parts(parts: Sequence[Part], seeds: int) -> list[dict[str, Any]]:
    """Return the parts; every seed was tested on the same planes, which are counted once."""
    return [asdict(part) | {"planes": part.planes // seeds} for part in parts]


def _cell(outcome: Outcome) -> dict[str, Any]:
    """Return the row of one cell: what it was trained on, and how its rounds went."""
    result = outcome.result
    rounds = [
        {
            "round": each["round"],
            "accepted": dict(each["accepted"]),
            "pool": each["pool"],
            "taught": each["taught"],
            "taught_flips": each["taught_flips"],
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
