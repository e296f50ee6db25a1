"""How much of a result's spread is between patients, how much between GANs, and how much between trainings.

Shapes: K repeats (seeds), P patients, each repeat with every patient, G GANs that a fold's repeats share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.shared.arrays import Floats
from components.shared.faults import InputError
from components.shared.intervals import Integers


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations, on the scale of the values; a variance that comes out negative is told as 0."""

    patients: float  # between patients, whatever the repeat
    gans: float | None  # between GANs, likewise; None where repeats do not tell them apart
    repeats: float  # between repeats (of one GAN, where GANs are told apart), alike for a fold's patients
    rest: float  # of a patient from repeat to repeat, beyond all these


def spread(values_KP: Floats, folds_P: Integers, gans_K: Sequence[int] = ()) -> Spread | None:
    """Return the variance components, estimated within folds; None with one repeat, or one patient per fold.

    A fold has trainings and GANs of its own: averaged over folds first, theirs would hide in the rest.
    `gans_K` names the GAN behind each repeat. With two GANs or more, one of them behind two repeats, what
    differs between GANs is told apart from what differs between trainings on the images of one.
    The moment estimates of crossed and nested random effects (Searle, Casella and McCulloch 1992). They
    describe: no interval and no test rests on them.
    """
    if values_KP.ndim != 2:
        raise InputError(f"values: {values_KP.ndim} axes; valid: repeats x patients")
    folds = [values_KP[:, folds_P == fold] for fold in np.unique(folds_P)]
    repeats, free = len(values_KP), sum(fold_KP.shape[1] - 1 for fold_KP in folds)
    if repeats < 2 or not free:
        return None
    rest = sum(map(_interaction, folds)) / ((repeats - 1) * free)
    patients = sum(_scatter(fold_KP.mean(axis=0)) for fold_KP in folds) / free
    between, within = zip(*(_nested(fold_KP.mean(axis=1), gans_K) for fold_KP in folds), strict=True)
    shared = float(np.mean([1 / fold_KP.shape[1] for fold_KP in folds]))
    return Spread(
        patients=_deviation(patients - rest / repeats),
        gans=None if None in between else _deviation(float(np.mean(between))),
        repeats=_deviation(float(np.mean(within)) - rest * shared),
        rest=_deviation(rest),
    )


def _scatter(values: Floats) -> float:
    return float(((values - values.mean()) ** 2).sum())


def _interaction(values_KP: Floats) -> float:
    """Return the sum of squares that neither patients nor repeats explain."""
    alike_KP = values_KP.mean(axis=1, keepdims=True) + values_KP.mean(axis=0) - values_KP.mean()
    return float(((values_KP - alike_KP) ** 2).sum())


def _nested(mean_K: Floats, gans_K: Sequence[int]) -> tuple[float | None, float]:
    """Return the variances between GANs, and of the repeats within one; None where they are one figure."""
    repeats_G = np.array([gans_K.count(gan) for gan in set(gans_K)])
    gans, repeats = len(repeats_G), len(mean_K)
    if gans < 2 or gans == repeats:
        return None, float(mean_K.var(ddof=1))
    own_K = np.array([mean_K[[other == gan for other in gans_K]].mean() for gan in gans_K])
    within = float(((mean_K - own_K) ** 2).sum()) / (repeats - gans)
    among = float(((own_K - mean_K.mean()) ** 2).sum()) / (gans - 1)
    share = (repeats - float((repeats_G**2).sum()) / repeats) / (gans - 1)  # repeats a GAN, if unequal
    return (among - within) / share, within


def _deviation(variance: float) -> float:
    return float(max(variance, 0.0) ** 0.5)
