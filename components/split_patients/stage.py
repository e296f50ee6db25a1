"""Give every patient a side for ever: known ones keep theirs, new ones are dealt evenly over the folds."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.planes import CLASSES, PlaneSet
from components.shared.splits import FOLDS, SIDES, SPLITS, Splits

_DRAWS = 256  # deals that are tried; the one with the most even classes is kept


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the sides are remembered."""

    state_uri: str


def split_patients(config: Config, planes: PlaneSet, out: Path) -> Splits:
    """Write splits.csv, to the path `out`, for everyone who has a plane of a class."""
    patients = holdings(planes)
    known = _in_a_version(config.state_uri, lambda known: assign(known, patients))
    # Also those whom the version that was written names beside these.
    require_remembered(config.state_uri, known, planes.seen.scans)
    folds = {patient: known[patient] for patient in sorted(patients)}
    splits = Splits(folds, {patient: SIDES[fold] for patient, fold in folds.items()})
    splits.require_apart(planes)
    for side in SPLITS:
        if not splits.patients(side):
            raise InputError(
                f"state_uri={config.state_uri}: none of {len(patients)} patients is in {side}, by the sides"
                " of earlier runs; valid: volumes of more patients, or a state_uri of their own"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    splits.write(out)
    return splits


def remember(state_uri: str, splits: Splits) -> None:
    """Hold sides to those that the state remembers, and have it remember whom it does not know.

    KFP's cache may have given them, which does not see the state: it may have been emptied since. Raises
    InputError where a patient has another side there.
    """

    def added(known: Mapping[str, int]) -> dict[str, int]:
        if moved := sorted(name for name, fold in splits.folds.items() if known.get(name, fold) != fold):
            raise InputError(
                f"state_uri={state_uri}: {', '.join(moved)} have other sides there than in the cache; valid:"
                " the run again without its cache (submit --no-cache; on a laptop without ROOT/.cache)"
            )
        return {**known, **splits.folds}

    _in_a_version(state_uri, added)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a patient brings into a fold."""

    site: str = ""
    planes: tuple[int, ...] = (0,) * len(CLASSES)  # of each class


def holdings(planes: PlaneSet) -> dict[str, Holding]:
    """Return what every patient with a plane of a class brings, in the order they come in."""
    counts: dict[str, Counter[str]] = {}
    sites: dict[str, str] = {}
    for row in planes.rows:
        if row.label in CLASSES:
            counts.setdefault(row.patient, Counter())[row.label] += 1
            sites.setdefault(row.patient, row.site)
    return {
        patient: Holding(site=sites[patient], planes=tuple(found[label] for label in CLASSES))
        for patient, found in counts.items()
    }


def assign(known: Mapping[str, int], patients: Mapping[str, Holding]) -> dict[str, int]:
    """Return the folds with new patients added: each site's evenly, and classes as evenly as patients allow.

    The draw knows the order they come in and what they bring, and no names, which depend on a secret key: the
    same scans have the same sides under every key.
    """
    by_site: dict[str, list[str]] = {}
    for patient, holding in patients.items():
        if patient not in known:
            by_site.setdefault(holding.site, []).append(patient)
    new = [patient for members in by_site.values() for patient in members]
    slots = _slots(known, patients, new)
    order = _most_even(known, patients, list(by_site.values()), slots)
    return {**known, **dict(zip(order, slots, strict=True))}


def _slots(known: Mapping[str, int], patients: Mapping[str, Holding], new: Sequence[str]) -> list[int]:
    """Return the fold of each place: the one with the fewest of its site, then the fewest of all.

    A known patient who has no planes now is of a site that nobody remembers, and counts for each.
    """
    totals = Counter(known.values())
    absent = Counter(fold for name, fold in known.items() if name not in patients)
    of_site = Counter((patients[name].site, fold) for name, fold in known.items() if name in patients)
    slots = []
    for patient in new:
        site = patients[patient].site
        fold = min(range(FOLDS), key=lambda f: (of_site[site, f] + absent[f], totals[f], f))
        totals[fold] += 1
        of_site[site, fold] += 1
        slots.append(fold)
    return slots


def _most_even(
    known: Mapping[str, int],
    patients: Mapping[str, Holding],
    by_site: Sequence[Sequence[str]],
    slots: Sequence[int],
) -> list[str]:
    """Return the patients in the order, of many drawn within sites, that spreads the classes best."""
    rng = np.random.default_rng(len(known))
    before_FC = np.zeros((FOLDS, len(CLASSES)))
    for name, fold in known.items():
        before_FC[fold] += patients[name].planes if name in patients else 0
    best, least = [name for members in by_site for name in members], np.inf
    for _ in range(_DRAWS if best else 0):
        order = [members[place] for members in by_site for place in rng.permutation(len(members))]
        planes_FC = before_FC.copy()
        np.add.at(planes_FC, slots, np.array([patients[name].planes for name in order]))
        uneven = round(float((planes_FC / np.maximum(planes_FC.sum(axis=0), 1)).var(axis=0).sum()), 12)
        if uneven < least:
            best, least = order, uneven
    return best


def _in_a_version(state_uri: str, added: Callable[[Mapping[str, int]], dict[str, int]]) -> dict[str, int]:
    """Return every known patient's fold, new ones added in a version that only one run writes."""
    while True:
        versions = _versions(state_uri)
        known = _folds(versions[-1]) if versions else {}
        folds = added(known)
        text = Splits(folds, {patient: SIDES[fold] for patient, fold in folds.items()}).text()
        if folds == known or storage.create(_version(state_uri, len(versions) + 1), text.encode()):
            return folds


def _versions(state_uri: str) -> list[str]:
    """Return where the sides' versions are, the last of which counts; InputError where one is missing.

    Where one is, others may be: who was given a side by the last ones would be given another.
    """
    names = [found.name for found in storage.list_tree(storage.join(state_uri, "splits"))]
    numbers = [int(name.removesuffix(".csv")) for name in names if name.removesuffix(".csv").isdecimal()]
    uris: list[str] = []
    while len(uris) < max(numbers, default=0):
        uris.append(uri := _version(state_uri, len(uris) + 1))
        if not storage.exists(uri):
            valid = "a copy of what it was, or a new state_uri"
            raise InputError(f"{uri}: missing, and yet later versions are there; valid: {valid}")
    return uris


def _folds(uri: str) -> dict[str, int]:
    return dict(Splits.stored(uri, storage.read_bytes(uri)).folds)


def _version(state_uri: str, number: int) -> str:
    return storage.join(state_uri, "splits", f"{number:04}.csv")
