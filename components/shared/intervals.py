"""95 % intervals over patients, who are few, differ much, and are often near 100 %.

Shapes: the last axis is P patients, axes before it are data sets of their own; an interval's is low, high.
Planes of one patient err together, so the patient is the unit throughout. What each method covers is measured
by benchmarks/interval_coverage.py and stands in docs/statistics.md.

The normal's quantiles (ndtri) and Student's (stdtrit) are scipy.special's: every stage that measures loads
them, and scipy.stats takes longer to load than some stages to run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from components.shared.arrays import Floats

CHANCE = 0.5  # the balanced accuracy of two classes by tossing a coin
FEWEST_FOR_INTERVAL = 3  # two patients leave an interval of 80 points
_LEVEL = 0.95
FEWEST_FOR_CLAIM = 6  # test patients: the signs of five differences cannot be rarer than 2 in 32
# Eight good patients do not prove that there are no bad ones. So a little of a patient whom nobody saw
# counts: one at chance beside every 700 seen, and none beside the first two, who have a wide interval anyway;
# of differences, one in 2000, who gains or loses half the scale. The two numbers are what coverage asks for.
_UNSEEN = 1.4e-3
UNSEEN_VARIANCE = 5e-4 / 4

Integers = NDArray[np.integer[Any]]


def mean_interval(values_P: Floats) -> Floats | None:
    """Return the interval of the mean of patients' accuracies (0..1); None with fewer than three patients.

    Wilson's score interval (1927) with the variance between patients in the place of the binomial one
    (an effective sample size, as Korn and Graubard 1998) and Student's t in the place of the normal quantile.
    """
    patients = values_P.shape[-1]
    if patients < FEWEST_FOR_INTERVAL:
        return None
    centre, variance = _with_the_unseen(values_P)
    spread = _student(patients) ** 2 * variance / (patients * centre * (1 - centre))
    middle = (centre + spread / 2) / (1 + spread)
    half = np.sqrt(spread * centre * (1 - centre) + spread**2 / 4) / (1 + spread)
    mean = values_P.mean(axis=-1)
    return np.stack([np.minimum(middle - half, mean), np.maximum(middle + half, mean)], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What training anew adds to the variance of a mean over patients, on so many degrees of freedom."""

    variance: float = 0.0
    freedom: float = np.inf


def difference_interval(differences_P: Floats, noise: Noise = Noise()) -> Floats | None:
    """Return Student's interval of a mean paired difference (-1..1); None with fewer than three patients.

    Its degrees of freedom are Welch's and Satterthwaite's.
    """
    patients = differences_P.shape[-1]
    if patients < FEWEST_FOR_INTERVAL:
        return None
    of_patients = (differences_P.var(axis=-1, ddof=1) + UNSEEN_VARIANCE) / patients
    variance, freedom = welch(of_patients, patients - 1, noise)
    half = stdtrit(freedom, (1 + _LEVEL) / 2) * np.sqrt(variance)
    mean = differences_P.mean(axis=-1)
    interval: Floats = np.clip(np.stack([mean - half, mean + half], axis=-1), -1, 1)
    return interval


def welch(variance: Any, freedom: Any, noise: Noise) -> tuple[Any, Any]:
    """Return the sum of two independent variances of a mean, and its degrees of freedom.

    Satterthwaite (1946), equation 17; Welch (1947).
    """
    both = variance + noise.variance
    return both, both**2 / (variance**2 / freedom + noise.variance**2 / noise.freedom)


def naive_interval(right_C: Integers, planes_C: Integers) -> Floats:
    """Return the interval of a mean recall as if planes were independent, which they are not.

    It is shown crossed out beside the one over patients. The last axis is C classes, each with planes.
    """
    recall_C = right_C / planes_C
    mean = recall_C.mean(axis=-1)
    half = ndtri((1 + _LEVEL) / 2) * np.sqrt((recall_C * (1 - recall_C) / planes_C).sum(axis=-1))
    half = half / recall_C.shape[-1]
    interval: Floats = np.clip(np.stack([mean - half, mean + half], axis=-1), 0, 1)
    return interval


def _with_the_unseen(values_P: Floats) -> tuple[Floats, Floats]:
    """Return mean and variance of the patients and of a little of one at chance."""
    patients = values_P.shape[-1]
    weight = _UNSEEN * (patients - 2)
    centre = (values_P.sum(axis=-1) + weight * CHANCE) / (patients + weight)
    squares = ((values_P - centre[..., None]) ** 2).sum(axis=-1) + weight * (CHANCE - centre) ** 2
    return centre, squares / (patients + weight - 1)


def _student(patients: int) -> float:
    return float(stdtrit(patients - 1, (1 + _LEVEL) / 2))
