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
from components.audit_shortcuts.judges import JUDGES, Sheet, judge, nearest_neighbour, regression
from components.shared.arrays import Floats
from components.shared.geometry import disc_mm
from components.shared.planes import CLASSES, GAN_CLASSES, NOISE, SAGITTAL, PlaneRow, PlaneSet
from components.shared.png import decode_png

_LEVEL = 0.025  # of a bound that nothing hangs on
_ONE_NUMBER = {"1-nearest-neighbour": nearest_neighbour, "logistic regression": regression}


def describe_real(planes: PlaneSet, scans: Sequence[Scan], per_class: int, seed: int) -> dict[str, Any]:
    """Return how well silhouettes, file sizes and grey tell the class; and disc sizes and grey, noise."""
    volumes = {scan.volume for scan in scans}
    rows = _balanced(planes.rows, volumes, per_class)
    found: dict[str, Any] = _noise_told(planes, scans, _spread(planes.rows, volumes, per_class))
    if len({row.patient for row in rows}) < 2:
        return found | {"planes": 0, "cases": []}
    sizes, images = _read(planes, rows)
    silhouettes = np.where(images > 0, np.uint8(255), np.uint8(0))
    means = _means(images)
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


def tells_noise(rows: Sequence[PlaneRow], values_N: Floats) -> float | None:
    """Return how often a noise plane has the smaller value of it and an anatomical one of its volume.

    Ties count half, 0.5 is chance, and None says that no volume has both.
    """
    known: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    for row, value in zip(rows, values_N, strict=True):
        if row.label in CLASSES:
            known[row.volume].append((row.label == NOISE, -float(value)))
    won = pairs = 0
    for noise, less in (zip(*each, strict=True) for each in known.values()):
        here = sum(noise) * (len(noise) - sum(noise))
        won += here * roc_auc_score(noise, less) if here else 0
        pairs += here
    return float(won / pairs) if pairs else None


def _noise_told(planes: PlaneSet, scans: Sequence[Scan], rows: Sequence[PlaneRow]) -> dict[str, float | None]:
    """Return what one number says of noise: the size of the disc, for all planes, and grey, for some.

    Content is a share of the disc, so no disc is noise for its size; but heads end where the sphere does.
    """
    radius = {scan.volume: scan.radius_mm for scan in scans}
    field = planes.settings["field_of_view"]
    known = [row for row in planes.rows if row.volume in radius]
    discs = np.array([disc_mm(field, radius[row.volume], row.offset_mm) for row in known])
    return {
        "disc_radius_tells_noise": tells_noise(known, discs),
        "mean_grey_tells_noise": tells_noise(rows, _means(_read(planes, rows)[1])) if rows else None,
    }


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
            chosen += _evenly(each, wanted)
    return chosen


def _spread(rows: Sequence[PlaneRow], volumes: set[str], per_class: int) -> list[PlaneRow]:
    """Return at most so many planes of each class and volume."""
    known: defaultdict[tuple[str, str], list[PlaneRow]] = defaultdict(list)
    for row in rows:
        if row.volume in volumes and row.label in CLASSES:
            known[row.volume, row.label].append(row)
    return [row for each in known.values() for row in _evenly(each, min(per_class, len(each)))]


def _evenly(rows: Sequence[PlaneRow], wanted: int) -> list[PlaneRow]:
    ordered = sorted(rows, key=lambda row: (row.offset_mm, row.angle_deg, row.image))
    places: Sequence[float] = np.linspace(0, len(ordered) - 1, wanted).tolist()
    return [ordered[round(place)] for place in places]


def _read(planes: PlaneSet, rows: Sequence[PlaneRow]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return bytes of each PNG, N, and its pixels, N x H x W."""
    with zipfile.ZipFile(planes.archive) as archive:
        files = [archive.read(row.image) for row in rows]
    return np.array([len(file) for file in files], float), np.stack([decode_png(file) for file in files])


def _means(images_NHW: NDArray[np.uint8]) -> NDArray[np.float64]:
    means_N: NDArray[np.float64] = images_NHW.reshape(len(images_NHW), -1).mean(axis=1)
    return means_N


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
