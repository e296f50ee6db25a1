"""What a classifier's probabilities are worth, on planes whose truth and patient are known.

Shapes: N planes, C classes (`CLASSES`), P patients. A class that is not in the truth has no
recall: None. The primary metric is the balanced accuracy of coronal against sagittal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.arrays import Floats
from components.shared.intervals import FEWEST_FOR_INTERVAL, Integers, mean_interval, naive_interval
from components.shared.planes import CLASSES, CORONAL, NOISE, SAGITTAL, PlaneRow

PREDICTIONS = "predictions.csv"  # plane by plane
EVALUATION = "evaluation.json"  # of every model of a run
_LEAST_PROBABILITY = 1e-7  # keeps the loss of a class that the model does not know finite


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The probabilities of one model, beside truth and patient."""

    probabilities: Floats  # N x C
    truth: Integers  # N, position in CLASSES
    patients: NDArray[np.str_]  # N

    def of(self, chosen_N: NDArray[np.bool_]) -> "Predictions":
        """Return the chosen planes alone."""
        return Predictions(
            probabilities=self.probabilities[chosen_N],
            truth=self.truth[chosen_N],
            patients=self.patients[chosen_N],
        )

    @property
    def predicted(self) -> Integers:
        """The class of highest probability, N."""
        predicted_N: Integers = self.probabilities.argmax(axis=1)
        return predicted_N


def predictions_of(probabilities_NC: Floats, rows: Sequence[PlaneRow]) -> Predictions:
    """Join probabilities with the truth of their rows."""
    return Predictions(
        probabilities=probabilities_NC,
        truth=np.array([CLASSES.index(row.label) for row in rows], dtype=np.int64),
        patients=np.array([row.patient for row in rows], dtype=np.str_),
    )


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return every metric of one model, ready for JSON."""
    confusion_CC = confusion(predictions.truth, predictions.predicted)
    right = accuracy(confusion_CC)
    return {
        "accuracy": right,
        "error_rate": 1 - right,
        "loss": float(log_losses(predictions).mean()),
        "mean_patient_loss": mean_patient_loss(predictions),
        "macro_f1": macro_f1(confusion_CC),
        "balanced_accuracy": balanced_accuracy(predictions),
        "balanced_accuracy_interval": patient_interval(predictions),
        "recall": recall(confusion_CC),
        "confusion": {"classes": list(CLASSES), "matrix": confusion_CC.tolist()},
        "per_patient": per_patient(predictions),
    }


def confusion(truth_N: Integers, predicted_N: Integers) -> Integers:
    """Count the planes of each true class (rows) by predicted class (columns)."""
    classes = len(CLASSES)
    return np.bincount(truth_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def accuracy(confusion_CC: Integers) -> float:
    """Return the share of planes on the diagonal."""
    return float(confusion_CC.trace() / confusion_CC.sum())


def recall(confusion_CC: Integers) -> dict[str, float | None]:
    """Return the share of each true class that was found."""
    return {
        label: float(row[place] / row.sum()) if row.sum() else None
        for place, (label, row) in enumerate(zip(CLASSES, confusion_CC, strict=True))
    }


def macro_f1(confusion_CC: Integers) -> float:
    """Return the mean F1 of the classes that occur in truth or prediction."""
    sizes_C = confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1)
    f1_C = 2 * confusion_CC.diagonal() / np.maximum(sizes_C, 1)
    return float(f1_C[sizes_C > 0].mean())


def log_losses(predictions: Predictions) -> Floats:
    """Return the cross-entropy of each plane, in nats."""
    of_truth_N = predictions.probabilities[np.arange(len(predictions.truth)), predictions.truth]
    losses_N: Floats = -np.log(np.clip(of_truth_N.astype(np.float64), _LEAST_PROBABILITY, 1.0))
    return losses_N


def mean_patient_loss(predictions: Predictions) -> float:
    """Return the mean over patients of each one's mean loss, so that a long scan counts once."""
    losses_N = log_losses(predictions)
    patients = _in_order(predictions)
    return float(np.mean([losses_N[predictions.patients == patient].mean() for patient in patients]))


def balanced_accuracy(predictions: Predictions) -> float | None:
    """Return the mean recall of coronal and sagittal, each plane given to the likelier of the two."""
    counts_4 = _pair_counts(predictions)
    if not counts_4[[1, 3]].all():
        return None
    return float((counts_4[[0, 2]] / counts_4[[1, 3]]).mean())


def patient_interval(predictions: Predictions) -> list[float] | None:
    """Return the 95 % interval of balanced accuracy over patients; None with under three of a class."""
    counts_P4 = _patient_counts(predictions)
    if ((counts_P4[:, [1, 3]] > 0).sum(axis=0) < FEWEST_FOR_INTERVAL).any():
        return None
    interval = mean_interval(shares_of_patients(counts_P4))
    return None if interval is None else [float(end) for end in interval]


def plane_interval(predictions: Predictions) -> list[float] | None:
    """Return the interval of balanced accuracy that calls planes independent, to be shown crossed out."""
    counts_4 = _pair_counts(predictions)
    if not counts_4[[1, 3]].all():
        return None
    return [float(end) for end in naive_interval(counts_4[[0, 2]], counts_4[[1, 3]])]


def shares_of_patients(counts_P4: Integers) -> Floats:
    """Return what each patient adds to the balanced accuracy of all planes, P: its mean is that accuracy.

    These are the jackknife's pseudo-values (Tukey 1958) about the pooled value: long scans count more, as
    they do in it, and a patient may lack a class. The last axis of counts is found and all coronal, found and
    all sagittal planes; axes before the patients' are data sets of their own.
    """
    found_P2, planes_P2 = counts_P4[..., [0, 2]], counts_P4[..., [1, 3]]
    found_2, planes_2 = (each.sum(axis=-2, keepdims=True) for each in (found_P2, planes_P2))
    without_P = ((found_2 - found_P2) / (planes_2 - planes_P2)).mean(axis=-1)
    accuracy = (found_2 / planes_2).mean(axis=-1)
    apart_P = (counts_P4.shape[-2] - 1) * (without_P.mean(axis=-1, keepdims=True) - without_P)
    shares_P: Floats = accuracy + apart_P
    return shares_P


def per_patient(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Return planes, accuracy, balanced accuracy and loss of every patient."""
    return {
        str(patient): _summary(predictions.of(predictions.patients == patient))
        for patient in _in_order(predictions)
    }


def grey_threshold(grey_N: Floats, noise_N: NDArray[np.bool_]) -> float | None:
    """Return the mean grey at or below which a plane is best called noise; None without both kinds."""
    if noise_N.all() or not noise_N.any():
        return None
    order = np.argsort(grey_N, kind="stable")
    below_N = np.cumsum(noise_N[order]) / noise_N.sum()
    above_N = 1 - np.cumsum(~noise_N[order]) / (~noise_N).sum()
    # A cut between equal values does not exist: only the last of each run of equals may be the threshold.
    last_N = np.append(np.diff(grey_N[order]) > 0, True)
    return float(grey_N[order][np.where(last_N, below_N + above_N, -1).argmax()])


def noise_by_grey(grey_N: Floats, truth_N: Integers, threshold: float | None) -> float | None:
    """Return the recall of noise that the threshold alone reaches; None where it cannot be told."""
    of_noise = grey_N[truth_N == CLASSES.index(NOISE)]
    return None if threshold is None or not len(of_noise) else float((of_noise <= threshold).mean())


def _in_order(predictions: Predictions) -> NDArray[np.str_]:
    """Return the patients as they come: names depend on a secret key, results must not."""
    _, first = np.unique(predictions.patients, return_index=True)
    return predictions.patients[np.sort(first)]


def _patient_counts(predictions: Predictions) -> Integers:
    return np.array([_pair_counts(predictions.of(predictions.patients == p)) for p in _in_order(predictions)])


def _summary(predictions: Predictions) -> dict[str, Any]:
    return {
        "planes": len(predictions.truth),
        "accuracy": float((predictions.predicted == predictions.truth).mean()),
        "balanced_accuracy": balanced_accuracy(predictions),
        "loss": float(log_losses(predictions).mean()),
    }


def _pair_counts(predictions: Predictions) -> Integers:
    """Count coronal planes found, coronal planes, sagittal planes found, sagittal planes."""
    first, second = CLASSES.index(CORONAL), CLASSES.index(SAGITTAL)
    coronal_N, sagittal_N = predictions.truth == first, predictions.truth == second
    likelier_N = predictions.probabilities[:, first] >= predictions.probabilities[:, second]
    return np.array(
        [(coronal_N & likelier_N).sum(), coronal_N.sum(), (sagittal_N & ~likelier_N).sum(), sagittal_N.sum()]
    )
