"""How much of a result's spread is between patients, and how much comes from training anew.

Shapes: K repeats (seeds, or GANs with their seeds averaged), P patients, each repeat with every patient.
"""

from dataclasses import dataclass

from components.shared.arrays import Floats
from components.shared.faults import InputError


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations, on the scale of the values; a variance that comes out negative is told as 0."""

    patients: float  # between patients, whatever the repeat
    repeats: float  # between repeats, alike for all patients
    rest: float  # of a patient from repeat to repeat, beyond both


def spread(values_KP: Floats) -> Spread | None:
    """Return the variance components of a two-way table; None with one repeat or one patient.

    The moment estimates of two crossed random effects without replication (Searle, Casella and McCulloch
    1992). They describe: no interval and no test rests on them.
    """
    if values_KP.ndim != 2:
        raise InputError(f"values: {values_KP.ndim} axes; valid: repeats x patients")
    repeats, patients = values_KP.shape
    if repeats < 2 or patients < 2:
        return None
    mean_K1, mean_P = values_KP.mean(axis=1, keepdims=True), values_KP.mean(axis=0)
    rest_KP = values_KP - mean_K1 - mean_P + values_KP.mean()
    rest = float((rest_KP**2).sum()) / ((repeats - 1) * (patients - 1))
    return Spread(
        patients=_deviation(float(mean_P.var(ddof=1)) - rest / repeats),
        repeats=_deviation(float(mean_K1.var(ddof=1)) - rest / patients),
        rest=_deviation(rest),
    )


def _deviation(variance: float) -> float:
    return float(max(variance, 0.0) ** 0.5)
