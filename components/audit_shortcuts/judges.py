"""Two judges that are asked to tell coronal from sagittal, and how sure one can be of their answers.

A judge never sees other planes of the patient that it judges. Its answer about a plane scores 1 when right,
0 when wrong and one half when it cannot choose. Every volume gives as many coronal as sagittal planes.
Shapes: N planes, H = W = side pixels, F features, V volumes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.shared.arrays import Floats

Bytes = NDArray[np.uint8]

PIXELS, SPECTRA = "1-nearest-neighbour on pixels", "logistic regression on log power spectra"
BLOCKS = 32  # a picture is judged as 32 x 32 means
BANDS = 16  # its power spectrum as 16 x 16 bands of frequency, vertical by horizontal
_RESAMPLES = 4000
# The bootstrap takes volumes for independent, yet each is judged by models that the others made. Over 24 sets
# of 14 blanks of speckle the regression's accuracy spread 1.9 times as far as the bootstrap says.
_SHARED = 1.9
_RIDGE = 0.01  # inverse strength of the regression's penalty: planes are fewer than bands


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Planes to be judged, one a row."""

    features_NF: Floats  # noqa: N815
    sagittal_N: NDArray[np.bool_]  # noqa: N815  the truth
    groups_N: NDArray[np.int64]  # noqa: N815  planes of one group are never a model for each other
    volumes_N: NDArray[np.int64]  # noqa: N815  what the interval is over


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How often a judge was right; 0.5 is chance."""

    accuracy: float
    interval: tuple[float, float]  # 95 %, bootstrapped over volumes
    surely_above: float  # one-sided lower bound at the level that was asked for
    planes: int
    volumes: int


def pixels(images_NHW: Bytes) -> Floats:
    """Return each picture's block sums, N x F; whole numbers, so that equal pictures tie exactly."""
    side = images_NHW.shape[1]
    edges = np.unique(np.linspace(0, side, min(BLOCKS, side) + 1).astype(int))[:-1]
    rows = np.add.reduceat(images_NHW.astype(np.float64), edges, axis=1)
    return np.add.reduceat(rows, edges, axis=2).reshape(len(images_NHW), -1)


def spectra(images_NHW: Bytes) -> Floats:
    """Return each picture's log power by bands of frequency, N x F, against its own mean over the bands.

    So overall power, which is contrast and disc size, does not count.
    """
    bands_NF = np.stack([_bands(image_HW) for image_HW in images_NHW])
    against_NF: Floats = bands_NF - bands_NF.mean(axis=1, keepdims=True)
    return against_NF


def log_power(image_HW: Bytes) -> Floats:
    """Return the log power spectrum of what a picture shows, less its mean, H x W."""
    shown = image_HW > 0
    levels_HW = np.where(shown, image_HW - (image_HW[shown].mean() if shown.any() else 0.0), 0.0)
    power_HW: Floats = np.log(np.abs(np.fft.fft2(levels_HW)) ** 2 + 1.0)
    return power_HW


def _bands(image_HW: Bytes) -> Floats:
    """Return the mean power by size of vertical and horizontal frequency, BANDS x BANDS, flat."""
    power_HW = np.exp(log_power(image_HW))
    band = np.minimum((np.abs(np.fft.fftfreq(len(image_HW))) * 2 * BANDS).astype(int), BANDS - 1)
    cell = (band[:, None] * BANDS + band[None, :]).ravel()
    count = np.bincount(cell, minlength=BANDS * BANDS)
    means: Floats = np.bincount(cell, power_HW.ravel(), BANDS * BANDS) / np.maximum(count, 1)
    return np.log(np.maximum(means, 1.0))


def nearest_neighbour(sheet: Sheet) -> Floats:
    """Return each plane's score by its nearest neighbours in other groups, N; ties count by their share."""
    squares_N = (sheet.features_NF**2).sum(axis=1)
    distances = squares_N[:, None] + squares_N[None, :] - 2 * sheet.features_NF @ sheet.features_NF.T
    distances[sheet.groups_N[:, None] == sheet.groups_N[None, :]] = np.inf
    nearest = distances == distances.min(axis=1, keepdims=True)
    sagittal = (nearest & sheet.sagittal_N).any(axis=1)
    coronal = (nearest & ~sheet.sagittal_N).any(axis=1)
    return np.where(sagittal & coronal, 0.5, sagittal == sheet.sagittal_N)


def regression(sheet: Sheet) -> Floats:
    """Return each plane's score by a logistic regression that was fitted without its group, N."""
    scores_N = np.full(len(sheet.sagittal_N), 0.5)
    for group in np.unique(sheet.groups_N):
        held = sheet.groups_N == group
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_RIDGE, max_iter=1000))
        model.fit(sheet.features_NF[~held], sheet.sagittal_N[~held])
        margin = model.decision_function(sheet.features_NF[held])
        undecided = np.abs(margin) < 1e-9
        scores_N[held] = np.where(undecided, 0.5, (margin > 0) == sheet.sagittal_N[held])
    return scores_N


def judge(sheet: Sheet, how: Callable[[Sheet], Floats], level: float, seed: int) -> Finding:
    """Return how often a judge was right, with a bootstrap over volumes."""
    scores_N = how(sheet)
    by_volume_V = np.array([scores_N[sheet.volumes_N == v].mean() for v in np.unique(sheet.volumes_N)])
    rng = np.random.default_rng(seed)
    means = rng.choice(by_volume_V, (_RESAMPLES, len(by_volume_V))).mean(axis=1)
    middle = by_volume_V.mean()
    low, high, sure = np.clip(middle + _SHARED * (np.quantile(means, [0.025, 0.975, level]) - middle), 0, 1)
    return Finding(
        accuracy=float(scores_N.mean()),
        interval=(float(low), float(high)),
        surely_above=float(sure),
        planes=len(scores_N),
        volumes=len(by_volume_V),
    )


JUDGES: Sequence[tuple[str, Callable[[Bytes], Floats], Callable[[Sheet], Floats]]] = (
    (PIXELS, pixels, nearest_neighbour),
    (SPECTRA, spectra, regression),
)
