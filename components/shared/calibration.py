"""Whether a classifier's confidence is what it says: measured, and mended by a given temperature.

Shapes: N planes, C classes, B bins. Scores are logits or log-probabilities: they differ by a constant a
plane, which no temperature sees.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from components.shared.arrays import Floats
from components.shared.intervals import Integers

BINS = 15  # as Guo et al. 2017
_LEAST_LOG = float(np.log(1e-7))  # as the loss in metrics.py: a class the model does not know stays finite


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """How far confidences are from what they say, on the same planes before and after tempering."""

    loss_before: float  # mean negative log-likelihood, nats
    loss_after: float
    ece_before: float  # expected calibration error, 0..1
    ece_after: float


def gauged(before_NC: Floats, after_NC: Floats, truth_N: Integers) -> Gauge:
    """Measure probabilities before and after tempering."""
    return Gauge(
        loss_before=mean_loss(logs_of(before_NC), truth_N),
        loss_after=mean_loss(logs_of(after_NC), truth_N),
        ece_before=calibration_error(before_NC, truth_N),
        ece_after=calibration_error(after_NC, truth_N),
    )


def logs_of(shares_NC: Floats) -> Floats:
    """Return log-probabilities; one of nought is as finite as the loss takes it."""
    logs_NC: Floats = np.log(np.maximum(shares_NC.astype(np.float64), np.exp(_LEAST_LOG)))
    return logs_NC


def tempered(scores_NC: Floats, temperature: float) -> Floats:
    """Return the probabilities of scores divided by a temperature; the class of highest probability stays."""
    probabilities_NC: Floats = np.exp(_tempered_logs(scores_NC, temperature))
    return probabilities_NC


def mean_loss(scores_NC: Floats, truth_N: Integers, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood at a temperature, in nats."""
    logs_NC = _tempered_logs(scores_NC, temperature)
    return float(-logs_NC[np.arange(len(truth_N)), truth_N].mean())


def calibration_error(probabilities_NC: Floats, truth_N: Integers) -> float:
    """Return the expected calibration error of the predicted class's confidence, 0..1.

    Bins hold equally many planes: most confidences lie near 1, and of equally wide bins the last would hold
    nearly all. The error of a perfect model is not 0 but about the noise of a bin, so compare it on equal
    numbers of planes.
    """
    confidence_N = probabilities_NC.max(axis=1)
    right_N = probabilities_NC.argmax(axis=1) == truth_N
    edges = np.quantile(confidence_N, np.linspace(0, 1, BINS + 1)[1:-1])
    # Equal confidences share a bin, so that the order of planes does not count.
    bin_N = np.searchsorted(edges, confidence_N, side="left")
    gap_B = np.bincount(bin_N, weights=confidence_N - right_N, minlength=BINS)
    return float(np.abs(gap_B).sum() / len(truth_N))


def _tempered_logs(scores_NC: Floats, temperature: float) -> Floats:
    logs_NC = np.maximum(log_softmax(scores_NC.astype(np.float64), axis=1), _LEAST_LOG)
    again_NC: Floats = log_softmax(logs_NC / temperature, axis=1)
    return again_NC
