"""Where a classifier errs: by class, by angle, by offset, by site.

Shapes: N planes. The error of a group is the mean over its patients of each one's share of wrong planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.intervals import Integers, mean_interval
from components.shared.planes import CLASSES, PlaneRow

OFFSET_BIN_MM = 10.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """The error of one group of planes."""

    group: str | float  # class, site, degrees, or the middle of a bin in mm
    planes: int
    patients: int
    error: float  # 0..1
    interval: tuple[float, float] | None  # 95 %, over patients


def error_by_class(rows: Sequence[PlaneRow], predicted_N: Integers) -> list[Part]:
    """Return the error (1 - recall) of each class that occurs, in the order of `CLASSES`."""
    parts = _parts([row.label for row in rows], rows, predicted_N)
    return sorted(parts, key=lambda part: CLASSES.index(str(part.group)))


def error_by_site(rows: Sequence[PlaneRow], predicted_N: Integers) -> list[Part]:
    """Return the error at each site, by name; "" is a site that is not known."""
    return _parts([row.site for row in rows], rows, predicted_N)


def error_by_angle(rows: Sequence[PlaneRow], predicted_N: Integers) -> list[Part]:
    """Return the error at each angle that was cut, in degrees."""
    return _parts([row.angle_deg for row in rows], rows, predicted_N)


def error_by_offset(rows: Sequence[PlaneRow], predicted_N: Integers) -> list[Part]:
    """Return the error by signed distance from the middle, in bins of OFFSET_BIN_MM whose one is about 0."""
    # + 0.0: a plane just left of the middle is not in a bin of its own at minus nought.
    middles = [float(np.floor(row.offset_mm / OFFSET_BIN_MM + 0.5) * OFFSET_BIN_MM + 0.0) for row in rows]
    return _parts(middles, rows, predicted_N)


def _parts(
    groups: Sequence[str] | Sequence[float], rows: Sequence[PlaneRow], predicted_N: Integers
) -> list[Part]:
    groups_N = np.array(groups)
    patients_N = np.array([row.patient for row in rows])
    right_N = predicted_N == np.array([CLASSES.index(row.label) for row in rows], dtype=np.int64)
    return [
        _part(group, patients_N[groups_N == group], right_N[groups_N == group])
        for group in np.unique(groups_N).tolist()
    ]


def _part(group: str | float, patients_N: NDArray[np.str_], right_N: NDArray[np.bool_]) -> Part:
    names = dict.fromkeys(patients_N.tolist())
    accuracy_P = np.array([right_N[patients_N == name].mean() for name in names])
    interval = mean_interval(accuracy_P)
    return Part(
        group=group,
        planes=len(right_N),
        patients=len(names),
        error=float(1 - accuracy_P.mean()),
        interval=None if interval is None else (float(1 - interval[1]), float(1 - interval[0])),
    )
