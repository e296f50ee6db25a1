"""How much of a result's spread is between patients, how much between GANs, and how much between trainings.

Shapes: K repeats (seeds), P patients, each repeat with every patient, G GANs that the repeats share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.shared.arrays import Floats
from components.shared.faults import InputError


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations, on the scale of the values; a variance that comes out negative is told as 0."""

    patients: float  # between patients, whatever the repeat
    gans: float | None  # between GANs, alike for all patients; None where repeats do not tell them apart
    repeats: float  # between repeats (of one GAN, where GANs are told apart), alike for all patients
    rest: float  # of a patient from repeat to repeat, beyond all these


def spread(values_KP: Floats, gans_K: Sequence[int] = ()) -> Spread | None:
    """Return the variance components of a two-way table; None with one repeat or one patient.

    `gans_K` names the GAN behind each repeat. With two GANs or more, one of them behind two repeats, what
    differs between GANs is told apart from what differs between trainings on the images of one.
    The moment estimates of crossed and nested random effects (Searle, Casella and McCulloch 1992). They
    describe: no interval and no test rests on them.
    """
    if values_KP.ndim != 2:
        raise InputError(f"values: {values_KP.ndim} axes; valid: repeats x patients")
    repeats, patients = values_KP.shape
    if repeats < 2 or patients < 2:
        return None
    mean_K, mean_P = values_KP.mean(axis=1), values_KP.mean(axis=0)
    rest_KP = values_KP - mean_K[:, None] - mean_P + values_KP.mean()
    rest = float((rest_KP**2).sum()) / ((repeats - 1) * (patients - 1))
    between, within = _nested(mean_K, gans_K)
    return Spread(
        patients=_deviation(float(mean_P.var(ddof=1)) - rest / repeats),
        gans=None if between is None else _deviation(between),
        repeats=_deviation(within - rest / patients),
        rest=_deviation(rest),
    )


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
