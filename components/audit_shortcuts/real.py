"""What tells the classes of the real planes apart besides their anatomy: reported, and judged by nobody.

Real heads are longer than they are wide, so that their outline tells the class and is anatomy. These figures
say how much of a classifier's success would not need a look at the brain.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from components.audit_shortcuts.blanks import Scan
from components.audit_shortcuts.judges import JUDGES, Floats, Sheet, judge, nearest_neighbour, regression
from components.shared.planes import GAN_CLASSES, NOISE, SAGITTAL, PlaneRow, PlaneSet
from components.shared.png import decode_png

_LEVEL = 0.025  # of a bound that nothing hangs on
_ONE_NUMBER = {"1-nearest-neighbour": nearest_neighbour, "logistic regression": regression}


def describe_real(planes: PlaneSet, scans: Sequence[Scan], per_class: int, seed: int) -> dict[str, Any]:
    """Return how well silhouettes, file sizes and mean grey tell the class, and disc size tells noise."""
    rows = _balanced(planes.rows, {scan.volume for scan in scans}, per_class)
    found: dict[str, Any] = {"disc_radius_tells_noise": disc_radius_tells_noise(planes.rows, scans)}
    if len({row.patient for row in rows}) < 2:
        return found | {"planes": 0, "cases": []}
    sizes, images = _read(planes, rows)
    silhouettes = np.where(images > 0, np.uint8(255), np.uint8(0))
    means = images.reshape(len(images), -1).mean(axis=1)
    cases = [
        *((name, "silhouette", features(silhouettes), how) for name, features, how in JUDGES),
        *((name, "file size", sizes[:, None], how) for name, how in _ONE_NUMBER.items()),
        *((name, "mean grey", means[:, None], how) for name, how in _ONE_NUMBER.items()),
    ]
    judged = [
        {"judge": name, "what": what} | _judged(rows, np.asarray(features_NF, float), how, seed)
        for name, what, features_NF, how in cases
    ]
    return found | {"planes": len(rows), "cases": judged}


def disc_radius_tells_noise(rows: Sequence[PlaneRow], scans: Sequence[Scan]) -> float | None:
    """Return how often a noise plane's disc is smaller than an anatomical one's, ties half; 0.5 is chance.

    None where one of the two is absent. Content is a share of the disc, so no disc is noise for its size;
    but heads end where the sphere does, and that shows here.
    """
    radius = {scan.volume: scan.radius_mm for scan in scans}
    judged = [row for row in rows if row.volume in radius and row.label in (*GAN_CLASSES, NOISE)]
    noise = [row.label == NOISE for row in judged]
    if len(set(noise)) < 2:
        return None
    discs = [np.sqrt(max(radius[row.volume] ** 2 - row.offset_mm**2, 0)) for row in judged]
    return float(roc_auc_score(noise, -np.array(discs)))


def _balanced(rows: Sequence[PlaneRow], volumes: set[str], per_class: int) -> list[PlaneRow]:
    """Return as many coronal as sagittal planes of each volume, spread over its angles and offsets."""
    known: defaultdict[str, dict[str, list[PlaneRow]]] = defaultdict(
        lambda: {name: [] for name in GAN_CLASSES}
    )
    for row in rows:
        if row.volume in volumes and row.label in GAN_CLASSES:
            known[row.volume][row.label].append(row)
    chosen = []
    for by_class in known.values():
        wanted = min(per_class, *(len(each) for each in by_class.values()))
        for each in by_class.values():
            ordered = sorted(each, key=lambda row: (row.offset_mm, row.angle_deg, row.image))
            places: Sequence[float] = np.linspace(0, len(ordered) - 1, wanted).tolist()
            chosen += [ordered[round(place)] for place in places]
    return chosen


def _read(planes: PlaneSet, rows: Sequence[PlaneRow]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return bytes of each PNG, N, and its pixels, N x H x W."""
    with zipfile.ZipFile(planes.archive) as archive:
        files = [archive.read(row.image) for row in rows]
    return np.array([len(file) for file in files], float), np.stack([decode_png(file) for file in files])


def _judged(
    rows: Sequence[PlaneRow], features_NF: Floats, how: Callable[[Sheet], Floats], seed: int
) -> dict[str, Any]:
    sheet = Sheet(
        features_NF=features_NF,
        sagittal_N=np.array([row.label == SAGITTAL for row in rows]),
        groups_N=np.unique([row.patient for row in rows], return_inverse=True)[1],
        volumes_N=np.unique([row.volume for row in rows], return_inverse=True)[1],
    )
    found = asdict(judge(sheet, how, _LEVEL, seed))
    return {key: found[key] for key in ("accuracy", "interval", "planes", "volumes")}
