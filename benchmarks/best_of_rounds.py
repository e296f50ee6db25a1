"""How often a study without an effect shows one, as arm E publishes the best of its rounds and C has one.

python benchmarks/best_of_rounds.py prints the table of docs/statistics.md, in about ten minutes.

Arm E ends its rounds and publishes one by the validation patients of its fold (components/shared/rounds.py);
round 0 of it is arm C. Here no round is better than another but by chance: each training has a quality of its
own, one for all patients of its fold, and its validation loss knows that quality with a correlation of 0.7.

Shapes: K seeds, P patients.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from components.shared.comparisons import Comparison, compare
from components.shared.rounds import ALL, RoundRule, best_round, stop_reason

PATIENTS = (20, 40, 80)  # in five folds, of which one validates
TRAINING_SDS = (0.02, 0.05)  # between trainings
PATIENCES = (1, 2, 5)
FOLDS, SEEDS, GANS = 5, 3, 3
MAX_ROUNDS = 5
_CORRELATION = 0.7  # of what the validation patients and the test patients say of a training
_PATIENT_SD, _SEED_SD = 0.05, 0.03  # between patients' true differences, and of each from seed to seed

Floats = NDArray[np.float64]


def rule_of(patience: int, patients: int = PATIENTS[0]) -> RoundRule:
    """Return the study's rule with the validation patients that a fold of so many has."""
    return RoundRule(
        max_rounds=MAX_ROUNDS, patience=patience, min_gain=0.0, relabel=ALL,
        validation_patients=patients // FOLDS,
    )  # fmt: skip


def published(rule: RoundRule, losses: Floats) -> int:
    """Return the round that a cell publishes whose rounds have these validation losses."""
    rounds: list[dict[str, object]] = []
    while not stop_reason(rounds, rule):
        loss = float(losses[len(rounds)])
        rounds.append(
            {"round": len(rounds), "stop_reason": "", "below": 1, "capped": 0, "accepted": {"coronal": 100},
             "changed": 1.0, "validation": {"mean_patient_loss": loss}}
        )  # fmt: skip
    return best_round(rounds, rule)


def cell(rule: RoundRule, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the qualities, in standard deviations, of what E publishes and of C, in one fold and seed."""
    qualities = rng.normal(0, 1, MAX_ROUNDS + 1)
    unknown = rng.normal(0, 1, MAX_ROUNDS + 1)
    losses = -(_CORRELATION * qualities + (1 - _CORRELATION**2) ** 0.5 * unknown)
    return float(qualities[published(rule, losses)]), float(qualities[0])


def study(patients: int, training_sd: float, rule: RoundRule, rng: np.random.Generator) -> Comparison:
    """Draw E - C of a study in which images change nothing."""
    folds_P = np.arange(patients) % FOLDS
    drawn = np.array([[cell(rule, rng) for _ in range(FOLDS)] for _ in range(SEEDS)])
    with_images_KP, without_KP = (training_sd * drawn[:, folds_P, side] for side in (0, 1))
    of_patient_P = rng.normal(0, _PATIENT_SD, patients)
    chance_KP = rng.normal(0, _SEED_SD, (SEEDS, patients))
    gans = [seed % GANS for seed in range(SEEDS)]
    return compare(with_images_KP + of_patient_P + chance_KP, without_KP, folds_P, 0, gans)


def rows(sets: int, seed: int) -> Iterator[str]:
    """Yield the table: mean of E - C in points, and studies in % that show it above and below 0."""
    yield "| patients | sd of trainings (pt) | patience | mean E − C (pt) | shown above 0 | below 0 |"
    yield "|---" * 6 + "|"
    for patients in PATIENTS:
        for training_sd in TRAINING_SDS:
            for patience in PATIENCES:
                rng, rule = np.random.default_rng([seed, patients]), rule_of(patience, patients)
                found = [study(patients, training_sd, rule, rng) for _ in range(sets)]
                mean = float(np.mean([each.difference for each in found]))
                above, below = (
                    np.mean([each.shown and sign * each.difference > 0 for each in found]) for sign in (1, -1)
                )
                yield (
                    f"| {patients} | {100 * training_sd:.0f} | {patience} | {100 * mean:+.1f} |"
                    f" {100 * above:.1f} | {100 * below:.1f} |"
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000, help="simulated studies a row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for row in rows(options.sets, options.seed):
        print(row, flush=True)


if __name__ == "__main__":
    main()
