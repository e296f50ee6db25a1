"""The one temperature of a classifier, fitted on planes of validation patients.

Apart from what applies it: who only classifies need not load scipy's optimisers.
Shapes: N planes, C classes.
"""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from components.shared.arrays import Floats
from components.shared.calibration import Gauge, gauged, logs_of, mean_loss, tempered
from components.shared.faults import InputError
from components.shared.intervals import Integers

_TEMPERATURES = (1 / 4, 16.0)  # few wrong planes must not make a model as sure as it likes


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature of a classifier and what it did to the validation planes."""

    temperature: float
    planes: int  # of the validation patients, of a class that the classifier knows
    wrong: int  # of them, by the most probable class
    gauge: Gauge | None  # None without a plane
    note: str = ""  # why the temperature was left at 1

    def as_json(self) -> dict[str, float | int | str | None]:
        """Return everything in one level, ready for JSON."""
        empty = dict.fromkeys(Gauge.__dataclass_fields__)
        values = {"temperature": self.temperature, "planes": self.planes, "wrong": self.wrong}
        return {**values, **(asdict(self.gauge) if self.gauge else empty), "note": self.note}


def calibrate(shares_NC: Floats, truth_N: Integers) -> Calibration:
    """Fit the temperature of probabilities on planes of validation patients.

    Where no plane is wrong the least loss is at no temperature at all: nothing says how sure is too sure, so
    it stays 1.
    """
    wrong = int((shares_NC.argmax(axis=1) != truth_N).sum())
    note = ""
    if not len(truth_N):
        return Calibration(temperature=1.0, planes=0, wrong=0, gauge=None, note="no validation plane")
    if not wrong:
        note = "no validation plane is wrong"
    temperature = fit_temperature(logs_of(shares_NC), truth_N) if wrong else 1.0
    gauge = gauged(shares_NC, tempered(logs_of(shares_NC), temperature), truth_N)
    return Calibration(temperature=temperature, planes=len(truth_N), wrong=wrong, gauge=gauge, note=note)


def fit_temperature(scores_NC: Floats, truth_N: Integers) -> float:
    """Return the temperature of least mean loss on planes of validation patients (Guo et al. 2017, s. 4.2).

    Raises InputError where there is no plane. The loss is convex in 1 / temperature, so it has one minimum.
    """
    if not len(truth_N):
        raise InputError("scores: no plane to calibrate on; valid: planes of at least one patient")
    ends = [-np.log(temperature) for temperature in _TEMPERATURES]
    found = minimize_scalar(
        lambda log_inverse: mean_loss(scores_NC, truth_N, float(np.exp(-log_inverse))),
        bounds=sorted(ends),
        method="bounded",
    )
    return float(np.exp(-found.x))
