"""Two models on the same patients: the mean difference, its interval, and a test of no effect.

Shapes: P patients, K repeats (seeds), F folds, G GANs a fold that repeats take in turn. Values are balanced
accuracies, 0..1. Repeats are averaged within a patient before anything else: they are not more patients. How
far they differ, fold by fold, widens the interval: the patients of a fold share two trainings, and repeats
that share a GAN share what it draws, which no exchange of names by patient can see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, permutation_test, t

from components.shared.arrays import Floats
from components.shared.faults import InputError
from components.shared.intervals import (
    FEWEST_FOR_CLAIM,
    UNSEEN_VARIANCE,
    Integers,
    Noise,
    difference_interval,
    mean_interval,
    welch,
)

FEWEST_TRAININGS = 2
SIGNIFICANCE = 0.05
POWER = 0.8
_MOST_PATIENTS = 1_000_000
_FLIPS = 9999  # every one of the 2**P up to 13 patients, as many drawn above


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is known of the difference of one model to another."""

    patients: int
    repeats: int  # trainings of both classifiers
    gans: int | None  # behind the repeats, a fold; None where neither model learnt from images of one
    difference: float  # mean over patients
    other_low: float | None  # least lower end of the other model's own intervals, of a repeat each; a share
    interval: tuple[float, float] | None  # 95 %
    p_value: float | None  # two-sided; None with fewer than six patients

    @property
    def differs(self) -> bool:
        """Whether test and interval both exclude that there is no difference."""
        if self.interval is None or self.p_value is None:
            return False
        return self.p_value <= SIGNIFICANCE and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def trainings(self) -> int:
        """How often all that was trained was trained anew: repeats on the images of one GAN are one."""
        return self.repeats if self.gans is None else self.gans

    @property
    def shown(self) -> bool:
        """Whether it differs over more than one training: else it may be the two trainings that differ."""
        return self.differs and self.trainings >= FEWEST_TRAININGS


def compare(
    model_KP: Floats, other_KP: Floats, folds_P: Integers, seed: int, gans_K: Sequence[int] = ()
) -> Comparison:
    """Compare two models on the same patients and repeats in the same order; folds say who shares trainings.

    `gans_K` names the GAN of a fold behind each repeat, where a model learnt from images. Raises InputError
    where the two differ in repeats or patients, or a value is missing.
    """
    if model_KP.shape != other_KP.shape:
        raise InputError(
            f"values: {model_KP.shape} repeats and patients against {other_KP.shape}; valid: the same"
        )
    differences_P = averaged(model_KP) - averaged(other_KP)
    interval = difference_interval(differences_P, training_noise(model_KP - other_KP, folds_P, gans_K))
    others = [mean_interval(each_P) for each_P in other_KP]
    return Comparison(
        patients=len(differences_P),
        repeats=len(model_KP),
        gans=len(set(gans_K)) or None,
        difference=float(differences_P.mean()),
        other_low=min((float(ends[0]) for ends in others if ends is not None), default=None),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        p_value=None if len(differences_P) < FEWEST_FOR_CLAIM else float(sign_flip_p(differences_P, seed)),
    )


def averaged(values_KP: Floats) -> Floats:
    """Return each patient's mean over repeats, P; InputError where a repeat lacks a patient."""
    if not np.isfinite(values_KP).all():
        raise InputError("values: a repeat lacks a patient; valid: a number for each patient in each repeat")
    averaged_P: Floats = values_KP.mean(axis=0)
    return averaged_P


def training_noise(differences_KP: Floats, folds_P: Integers, gans_K: Sequence[int] = ()) -> Noise:
    """Return what the folds' trainings add to the variance of the mean; one training tells nothing of it.

    It is estimated by leaving out each of a fold's GANs in turn, with the repeats on its images (each repeat,
    where there are no GANs, or only one): the jackknife of Tukey (1958). A patient's own scatter from repeat
    to repeat is in it as well, which errs on the wide side: by 2 to 5 % where trainings do not differ.
    """
    repeats, patients = differences_KP.shape
    groups_K = np.array(gans_K if len(set(gans_K)) > 1 else range(repeats))
    groups = np.unique(groups_K).size
    if groups < FEWEST_TRAININGS:
        return Noise()
    folds_F, sizes_F = np.unique(folds_P, return_counts=True)
    means_FK = np.stack([differences_KP[:, folds_P == fold].mean(axis=1) for fold in folds_F])
    rests = [means_FK[:, groups_K != group].mean(axis=1) for group in np.unique(groups_K)]
    without_FG = np.stack(rests, axis=1)
    scatter_F = (groups - 1) / groups * ((without_FG - means_FK.mean(axis=1)[:, None]) ** 2).sum(axis=1)
    weight = float(((sizes_F / patients) ** 2).sum())
    return Noise(variance=weight * float(scatter_F.mean()), freedom=len(folds_F) * (groups - 1))


def sign_flip_p(differences_P: Floats, seed: int, flips: int = _FLIPS) -> NDArray[np.float64]:
    """Return the two-sided p-value of no effect: the two models' names are exchanged, patient by patient.

    The last axis is patients. scipy.stats.permutation_test tries every exchange where there are no more than
    `flips`, and else draws so many and counts the one that was seen among them.
    """

    def mean_difference(one: Floats, other: Floats, axis: int) -> Floats:
        return np.asarray((one - other).mean(axis=axis))

    found = permutation_test(
        (differences_P, np.zeros_like(differences_P)),
        mean_difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        batch=100,
        axis=-1,
        rng=np.random.default_rng(seed),
    )
    return np.asarray(found.pvalue)


@dataclass(frozen=True, kw_only=True)
class PatientsNeeded:
    """How many patients would show a difference of `worth` with power 80 % at 5 %, two-sided.

    None: no number of patients would, since the folds' trainings scatter too much; more seeds come first.
    """

    worth: float
    patients: int | None
    interval: tuple[int | None, int | None]  # from the 95 % interval of the differences' spread


def patients_needed(
    differences_P: Floats,
    worth: float,
    noise: Noise = Noise(),  # noqa: B008 (it is frozen)
) -> PatientsNeeded | None:
    """Return how many patients such differences need; None where so few or equal ones cannot tell.

    `worth` (above 0, on the scale of the differences) is chosen before the run. The difference that was seen
    is no substitute: the smaller it happens to be, the more patients it would ask for. What training anew
    adds to the mean (`noise`) is as large with more patients in the same folds and seeds.
    """
    if not worth > 0:
        raise InputError(f"worth={worth}: no difference to look for; valid: above 0")
    free = len(differences_P) - 1
    variance = float(differences_P.var(ddof=1)) if free else 0.0
    if free + 1 < FEWEST_FOR_CLAIM or variance == 0:
        return None
    low, high = (variance * free / chi2.ppf(q, free) for q in (0.975, 0.025))
    found = [_needed(float(each), worth, noise) for each in (low, variance, high)]
    known = [each for each in found if each is not None]
    return PatientsNeeded(
        worth=worth,
        patients=found[1],
        interval=(min(known, default=None), None if None in found else max(known)),
    )


def _needed(variance: float, worth: float, noise: Noise) -> int | None:
    """Return the least number of patients whose t test has that power; None where a million have not.

    More patients do not always help: what is left is then the trainings' noise alone, of few degrees of
    freedom. So the number is looked for from below, and not by bisection.
    """
    row_N = np.geomspace(FEWEST_FOR_CLAIM, _MOST_PATIENTS, 2000).round().astype(int)
    enough_N = _suffice(row_N, variance, worth, noise)
    if not enough_N.any():
        return None
    place = int(enough_N.argmax())
    tried_N = np.arange(row_N[max(place - 1, 0)], row_N[place] + 1)  # those between two of the row as well
    return int(tried_N[_suffice(tried_N, variance, worth, noise).argmax()])


def _suffice(patients_N: Integers, variance: float, worth: float, noise: Noise) -> NDArray[np.bool_]:
    """Tell of each number of patients whether they would show the difference."""
    total_N, freedom_N = welch((variance + UNSEEN_VARIANCE) / patients_N, patients_N - 1, noise)
    quantiles_N = t.ppf(1 - SIGNIFICANCE / 2, freedom_N) + t.ppf(POWER, freedom_N)
    enough_N: NDArray[np.bool_] = quantiles_N**2 * total_N <= worth**2
    return enough_N
