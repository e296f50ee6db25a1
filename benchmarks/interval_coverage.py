"""How often the intervals hold the truth, and the test finds what is not there, on simulated patients.

python benchmarks/interval_coverage.py prints the tables of docs/statistics.md, in a quarter of an hour;
that of the best of several rounds is made by best_of_rounds.py.

Shapes: S data sets, P patients, two classes, counts as `shares_of_patients` takes them.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import bootstrap, t

from components.shared.comparisons import FEWEST_FOR_CLAIM, SIGNIFICANCE, sign_flip_p, training_noise
from components.shared.intervals import difference_interval, mean_interval, naive_interval
from components.shared.metrics import shares_of_patients

PATIENTS = (3, 4, 5, 6, 8, 15, 40)
DESIGNS = ((8, 1), (8, 3), (15, 5), (40, 5))  # patients, folds
_BLOCKS, _NEIGHBOURS = 12, 10  # planes of a class and patient: blocks of near-copies that err together
_BLOCK_SD, _CLASS_SD, _SEED_SD = 1.0, 0.5, 0.3  # on the scale of log-odds
_SEEDS = 3
_TRAINING_SD = 0.02  # between seeds on the images of one GAN
_RESAMPLES = 999

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Population:
    """Patients on whom a model is right with probability expit(middle + normal), or of two kinds."""

    name: str
    middle: float  # log-odds
    patient_sd: float  # log-odds
    poor: float = 0.0  # share of patients on whom the model is much worse
    poorer: float = 0.0  # by so much, log-odds


# Mean accuracy and the patients' standard deviation are printed with the table. 7.6 points at 95 % is what
# leaving real volumes out one by one gave.
POPULATIONS = (
    Population(name="middle", middle=1.6, patient_sd=1.0),
    Population(name="high", middle=2.97, patient_sd=1.0),
    Population(name="ceiling", middle=3.87, patient_sd=1.0),
    Population(name="ceiling, patients differ", middle=4.26, patient_sd=1.5),
    Population(name="two kinds", middle=5.0, patient_sd=0.3, poor=0.2, poorer=3.3),
)


def log_odds(population: Population, sets: int, patients: int, rng: np.random.Generator) -> Floats:
    """Draw S x P x 2 classes x blocks."""
    of_patient = rng.normal(population.middle, population.patient_sd, (sets, patients, 1, 1))
    of_patient -= population.poorer * (rng.random(of_patient.shape) < population.poor)
    of_class = rng.normal(0, _CLASS_SD, (sets, patients, 2, 1))
    return of_patient + of_class + rng.normal(0, _BLOCK_SD, (sets, patients, 2, _BLOCKS))


def planes_right(odds: Floats, neighbours: int | Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Draw how many planes are right, and how many there are: S x P x 2 both."""
    planes = np.broadcast_to(neighbours, odds.shape)
    return rng.binomial(planes, expit(odds)).sum(axis=-1), planes.sum(axis=-1)


def one_model(population: Population, sets: int, patients: int, seed: int, even: bool = True) -> Counts:
    """Draw the counts of one model: S x P x 4; uneven patients have 48 to 456 planes."""
    rng = np.random.default_rng([seed, patients])
    neighbours = _NEIGHBOURS if even else rng.integers(2, 2 * _NEIGHBOURS, (sets, patients, 1, 1))
    right, planes = planes_right(log_odds(population, sets, patients, rng), neighbours, rng)
    return np.stack([right[..., 0], planes[..., 0], right[..., 1], planes[..., 1]], axis=-1)


def two_models(population: Population, effect: float, sets: int, patients: int, seed: int) -> Floats:
    """Draw the paired differences of two models, S x P: `effect` log-odds apart, more in some patients."""
    rng = np.random.default_rng([seed, patients, 2])
    odds = log_odds(population, sets, patients, rng)
    apart = effect + rng.normal(0, _CLASS_SD, (sets, patients, 1, 1))
    values = []
    for side in (-0.5, 0.5):
        total = np.zeros((sets, patients))
        for _ in range(_SEEDS):
            chance = rng.normal(0, _SEED_SD, (sets, patients, 2, 1))
            right, planes = planes_right(odds + chance + side * apart, _NEIGHBOURS, rng)
            total += (right / planes).mean(axis=-1)
        values.append(total / _SEEDS)
    return values[1] - values[0]


@cache
def true_accuracy(population: Population) -> float:
    """Return the balanced accuracy over all patients there could be."""
    odds = log_odds(population, 1000, 100, np.random.default_rng(0))
    return float(expit(odds).mean())


@cache
def true_difference(population: Population, effect: float) -> float:
    """Return the mean difference over all patients there could be."""
    rng = np.random.default_rng(0)
    odds = log_odds(population, 1000, 100, rng) + rng.normal(0, _SEED_SD, (1000, 100, 2, 1))
    apart = effect + rng.normal(0, _CLASS_SD, (1000, 100, 1, 1))
    return float((expit(odds + apart / 2) - expit(odds - apart / 2)).mean()) if effect else 0.0


def covered(interval_S2: Any, truth: float) -> float:
    """Return the share of intervals that hold the truth."""
    return float(((interval_S2[:, 0] <= truth) & (truth <= interval_S2[:, 1])).mean())


def student_interval(values_SP: Floats) -> Floats:
    """Return Student's interval of the mean."""
    patients = values_SP.shape[1]
    half = t.ppf(0.975, patients - 1) * values_SP.std(axis=1, ddof=1) / patients**0.5
    return np.stack([values_SP.mean(axis=1) - half, values_SP.mean(axis=1) + half], axis=1)


def bootstrap_interval(values_SP: Floats, method: str) -> Floats:
    """Return scipy's bootstrap over patients; equal patients give their value."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = bootstrap(
            (values_SP,), np.mean, n_resamples=_RESAMPLES, batch=50, axis=1, method=method,
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
    ends = np.stack([found.low, found.high], axis=1)
    return np.where(np.isnan(ends), values_SP.mean(axis=1, keepdims=True), ends)


def bootstrap_t_interval(values_SP: Floats) -> Floats:
    """Return the bootstrap-t interval: the best of the bootstraps by coverage, by far the widest."""
    patients = values_SP.shape[1]
    mean, error = values_SP.mean(axis=1), values_SP.std(axis=1, ddof=1) / patients**0.5
    weights_RP = np.random.default_rng(0).multinomial(patients, [1 / patients] * patients, size=_RESAMPLES)
    means = values_SP @ weights_RP.T / patients
    squares = (values_SP**2) @ weights_RP.T / patients - means**2
    errors = np.sqrt(np.maximum(squares, 1e-12) / (patients - 1))
    ends = np.quantile((means - mean[:, None]) / errors, [0.975, 0.025], axis=1)
    return np.clip(np.stack([mean - ends[0] * error, mean - ends[1] * error], axis=1), 0, 1)


METHODS: dict[str, Callable[[Floats], Any]] = {
    "ours": mean_interval,
    "Student's t": student_interval,
    "percentile": lambda values: bootstrap_interval(values, "percentile"),
    "BCa": lambda values: bootstrap_interval(values, "BCa"),
    "bootstrap-t": bootstrap_t_interval,
}


def accuracy_rows(sets: int, seed: int = 0) -> Iterator[str]:
    """Yield the table of one model: coverage in %, and width in points of ours and of bootstrap-t."""
    yield "| population | mean, sd of patients | patients | naive | " + " | ".join(METHODS) + " | width |"
    yield "|---" * (len(METHODS) + 5) + "|"
    for population in POPULATIONS:
        truth = true_accuracy(population)
        for patients in PATIENTS:
            counts = one_model(population, sets, patients, seed)
            values = shares_of_patients(counts)
            pooled = counts.sum(axis=1)
            naive = covered(naive_interval(pooled[:, [0, 2]], pooled[:, [1, 3]]), truth)
            intervals = {name: method(values) for name, method in METHODS.items()}
            told = [f"{100 * covered(interval, truth):.1f}" for interval in intervals.values()]
            widths = [100 * float(np.diff(intervals[name]).mean()) for name in ("ours", "bootstrap-t")]
            yield (
                f"| {population.name} | {100 * truth:.1f}, {100 * values.std():.1f} | {patients} |"
                f" {100 * naive:.1f} | {' | '.join(told)} | {widths[0]:.0f} against {widths[1]:.0f} |"
            )


def difference_rows(sets: int, seed: int = 0) -> Iterator[str]:
    """Yield the table of two models: coverage and rejections in %, without an effect and with one."""
    yield "| population | true difference (pt) | patients | ours | percentile | BCa | test rejects |"
    yield "|---" * 7 + "|"
    for population in POPULATIONS[:4]:
        for effect in (0.0, 0.5):
            truth = true_difference(population, effect)
            for patients in PATIENTS:
                differences = two_models(population, effect, sets, patients, seed)
                told = [
                    f"{100 * covered(interval, truth):.1f}"
                    for interval in (
                        difference_interval(differences),
                        bootstrap_interval(differences, "percentile"),
                        bootstrap_interval(differences, "BCa"),
                    )
                ]
                yield (
                    f"| {population.name} | {100 * truth:.1f} | {patients} | {' | '.join(told)} |"
                    f" {rejections(differences)} |"
                )


def training_rows(sets: int, seed: int = 0) -> Iterator[str]:
    """Yield the table of folds whose patients share trainings: coverage in %, without an effect."""
    yield "| patients, folds | seeds | sd of trainings (pt) | by patients alone | ours | width |"
    yield "|---" * 6 + "|"
    for patients, folds in DESIGNS:
        for seeds in (2, 3, 5):
            for training_sd in (0.0, 0.02, 0.05):
                folds_P, differences = retrained(patients, folds, seeds, training_sd, sets=sets, seed=seed)
                alone = difference_interval(differences.mean(axis=1))
                ours = np.array(
                    [difference_interval(d.mean(axis=0), training_noise(d, folds_P)) for d in differences]
                )
                width = np.median(np.diff(ours)) / np.median(np.diff(alone))
                yield (
                    f"| {patients}, {folds} | {seeds} | {100 * training_sd:.1f} |"
                    f" {100 * covered(alone, 0.0):.1f} | {100 * covered(ours, 0.0):.1f} | x {width:.2f} |"
                )


def retrained(
    patients: int, folds: int, seeds: int, training_sd: float, *, sets: int, seed: int
) -> tuple[NDArray[np.int64], Floats]:
    """Draw paired differences S x K x P without an effect: a training's share is one for a fold's patients.

    Patients differ by 5 points, and each by 3 from seed to seed.
    """
    rng = np.random.default_rng([seed, patients, folds, seeds])
    folds_P = np.arange(patients) % folds
    shared = rng.normal(0, training_sd, (sets, seeds, folds))[:, :, folds_P]
    of_patient = rng.normal(0, 0.05, (sets, 1, patients))
    return folds_P, shared + of_patient + rng.normal(0, 0.03, (sets, seeds, patients))


def gan_rows(sets: int, seed: int = 0) -> Iterator[str]:
    """Yield the table of seeds that share a fold's GANs: coverage in %, without an effect."""
    yield "| patients, folds | seeds | GANs | sd of GANs (pt) | by seeds | ours |"
    yield "|---" * 6 + "|"
    for patients, folds in DESIGNS:
        for seeds, gans in ((3, 1), (3, 2), (3, 3), (6, 2), (6, 3)):
            for gan_sd in (0.0, 0.02, 0.05):
                folds_P, differences = retrained(patients, folds, seeds, _TRAINING_SD, sets=sets, seed=seed)
                gans_K = [place % gans for place in range(seeds)]
                rng = np.random.default_rng([seed, patients, folds, seeds, gans])
                differences += rng.normal(0, gan_sd, (sets, gans, folds))[:, gans_K][:, :, folds_P]
                told = [_covered_by(differences, folds_P, grouped) for grouped in ([], gans_K)]
                yield (
                    f"| {patients}, {folds} | {seeds} | {gans} | {100 * gan_sd:.1f} |"
                    f" {told[0]} | {told[1] if gans > 1 else 'not shown'} |"
                )


def _covered_by(differences_SKP: Floats, folds_P: Counts, gans_K: Sequence[int]) -> str:
    noises = [training_noise(each_KP, folds_P, gans_K) for each_KP in differences_SKP]
    pairs = zip(differences_SKP, noises, strict=True)
    intervals = [difference_interval(each_KP.mean(axis=0), noise) for each_KP, noise in pairs]
    return f"{100 * covered(np.array(intervals), 0.0):.1f}"


def rejections(differences_SP: Floats) -> str:
    """Return the share of data sets, in %, whose p-value is 0.05 or less; a dash where there is no test."""
    if differences_SP.shape[1] < FEWEST_FOR_CLAIM:
        return "–"
    return f"{100 * (sign_flip_p(differences_SP, seed=0, flips=_RESAMPLES) <= SIGNIFICANCE).mean():.1f}"


TABLES: dict[str, Callable[[int, int], Iterator[str]]] = {
    "accuracies": accuracy_rows,
    "differences": difference_rows,
    "trainings": training_rows,
    "gans": gan_rows,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=10_000, help="simulated data sets a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", choices=TABLES, help="one table alone")
    options = parser.parse_args()
    for rows in [TABLES[options.table]] if options.table else TABLES.values():
        for row in rows(options.sets, options.seed):
            print(row, flush=True)
        print()


if __name__ == "__main__":
    main()
