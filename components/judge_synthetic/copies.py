"""Which synthetic images are copies of training planes, and which training patients a GAN has memorised.

A synthetic image is a *copy* of the training plane it is likest to if it is liker to it than
 - any other training plane is: the next plane of its own volume, as a rule; and
 - 199 of 200 training planes are to any plane of another patient.
The first alone is an empty demand where planes are cut far apart, and the second where patients are few and
alike; together they leave real planes of unseen patients alone.

A *patient* is memorised if the synthetic images are as near to its planes as a second scan of one infant is:
the median over its planes of the likest image's likeness is above the median over planes of the likest plane
in another session of the same patient. Without such sessions that cannot be judged.

Shapes: N synthetic images, M training planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.judge_synthetic.likeness import Nearest, nearest
from components.shared.planes import PlaneRow

STRANGERS = 0.995  # share of training planes that are less alike to any other patient's than the limit
_NEVER = -1.0  # what `nearest` says where there was nothing to compare with

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What likeness means among the training planes: to what a copy is held."""

    neighbours_M: Floats  # noqa: N815  to the likest other plane
    strangers: float | None  # the likeness that STRANGERS of them stay under with other patients' planes
    by_patient: dict[str, float]  # median likeness to the likest plane of another patient
    sessions: float | None  # median likeness to the likest plane of another session of the same patient

    @property
    def limits_M(self) -> Floats:  # noqa: N802
        """What a synthetic image must exceed to be a copy of each plane."""
        floor = _NEVER if self.strangers is None else self.strangers
        return np.maximum(self.neighbours_M, np.float32(floor))


def reference_of(views_MHW: Tensor, rows: Sequence[PlaneRow]) -> Reference:
    """Compare the training planes with one another."""
    patients_M = _codes([row.patient for row in rows])
    sessions_M = _codes([(row.patient, row.session or row.volume) for row in rows])
    each_M = torch.arange(len(rows))

    def differing(start: int, end: int) -> Tensor:
        return each_M[start:end, None] != each_M

    def strangers(start: int, end: int) -> Tensor:
        return patients_M[start:end, None] != patients_M

    def again(start: int, end: int) -> Tensor:
        return ~strangers(start, end) & (sessions_M[start:end, None] != sessions_M)

    stranger = nearest(views_MHW, views_MHW, strangers).likeness_N
    second = nearest(views_MHW, views_MHW, again).likeness_N
    names = np.array([row.patient for row in rows])
    met = stranger[stranger > _NEVER]
    return Reference(
        neighbours_M=nearest(views_MHW, views_MHW, differing).likeness_N,
        strangers=float(np.quantile(met, STRANGERS)) if met.size else None,
        by_patient={name: float(np.median(stranger[names == name])) for name in sorted(set(names.tolist()))},
        sessions=float(np.median(second[second > _NEVER])) if (second > _NEVER).any() else None,
    )


def are_copies(found: Nearest, reference: Reference) -> NDArray[np.bool_]:
    """Tell of every synthetic image whether it is a copy of the plane it is likest to, N."""
    copies: NDArray[np.bool_] = found.likeness_N > reference.limits_M[found.index_N]
    return copies


def by_patient(
    rows: Sequence[PlaneRow], found: Nearest, copies_N: NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """Return of every training patient how many images are likest to one of its planes, and how many copy it.

    `rate` is the share of all synthetic images.
    """
    owners_N = np.array([row.patient for row in rows])[found.index_N]
    counted = {}
    for name in sorted({row.patient for row in rows}):
        theirs = owners_N == name
        copied = int((theirs & copies_N).sum())
        counted[name] = {"nearest": int(theirs.sum()), "copies": copied, "rate": copied / len(owners_N)}
    return counted


def memorised(rows: Sequence[PlaneRow], reached_M: Floats, reference: Reference) -> dict[str, Any]:
    """Return which patients the images are as near to as a second session is; or why nobody can tell.

    `reached_M` is the likeness of each training plane to the synthetic image it is likest to.
    """
    names = np.array([row.patient for row in rows])
    reached = {name: float(np.median(reached_M[names == name])) for name in sorted(set(names.tolist()))}
    reason = _why_not(reference)
    limit = None if reason else reference.sessions
    named = [] if limit is None else [name for name, value in reached.items() if value > limit]
    return {
        "judged": not reason,
        "reason": reason,
        "sessions": reference.sessions,
        "patients": named,
        "reached": reached,
        "strangers": reference.by_patient,
    }


def _why_not(reference: Reference) -> str:
    if reference.sessions is None:
        return "no training patient has two sessions"
    if any(value >= reference.sessions for value in reference.by_patient.values()):
        return "two sessions of one patient are no liker than planes of two patients"
    return ""


def _codes(keys: Sequence[object]) -> Tensor:
    """Return a number for each key, equal exactly where the keys are."""
    numbers: dict[object, int] = {}
    return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys])
