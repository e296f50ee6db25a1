"""Finished classifiers by where they were published; no network is loaded here."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from components.shared import storage
from components.shared.faults import InputError
from components.shared.planes import Seen
from components.shared.pseudonyms import require_same_key
from components.shared.stored_json import described
from components.shared.weights import ABOUT, behind

_LOOKS = (
    *("field_of_view_mm", "field_of_view", "noise_rule"),
    *("noise_max_content", "anatomy_min_content", "noise_index_planes"),
)


def find_classifiers(uri: str, folder: Path) -> dict[str, Path]:
    """Copy every classifier under a URI to a local folder; return their folders by name."""
    try:
        storage.download(uri, folder)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise _none_at(uri) from error
    places = [*folder.glob(ABOUT), *folder.glob(f"*/{ABOUT}")]
    found = {_name(path.parent, folder): path.parent for path in sorted(places)}
    if not found:
        raise _none_at(uri)
    return found


def refuse_seen(classifiers: Mapping[str, Path], shown: Seen) -> None:
    """Refuse patients and scans from which a classifier, or a generator behind it, learnt or was chosen.

    Who validated a round has chosen it, which is no accuracy on the unseen. A scan is known by the hash of
    its content, whatever its patient is called here.
    """
    for name, folder in classifiers.items():
        known = behind(_about(folder), f"classifier {name}")
        require_same_key(shown.patients, known.patients, f"classifier {name}")
        _refuse(name, "has seen patients", known.patients & shown.patients)
        _refuse(name, "has seen scans", known.scans & shown.scans)


def _refuse(name: str, what: str, seen: Collection[str]) -> None:
    if seen:
        raise InputError(
            f"classifier {name}: {what} {', '.join(sorted(seen))} of these volumes;"
            " valid: volumes of patients that it neither learnt from nor was chosen by"
        )


def _about(folder: Path) -> dict[str, Any]:
    return described((folder / ABOUT).read_bytes())


def _learnt_looks(name: str, folder: Path) -> Mapping[str, Any]:
    """Return how the planes looked that a classifier learnt from; InputError where it does not say it."""
    looks = _about(folder).get("looks")
    if not isinstance(looks, dict):
        raise InputError(
            f"classifier {name}: its classifier.json does not say how its planes looked;"
            " valid: the one that train_classifier wrote"
        )
    return looks


def looks_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the settings of a PlaneSet decides how a plane looks and what it is called.

    Which angles and offsets are cut is not among it: they choose planes and change none.
    """
    return {name: settings[name] for name in _LOOKS if name in settings}


def refuse_other_looks(classifiers: Mapping[str, Path], settings: Mapping[str, Any]) -> None:
    """Refuse planes that are drawn or labelled in another way than those that a classifier learnt from."""
    now = looks_of(settings)
    for name, folder in classifiers.items():
        learnt = _learnt_looks(name, folder)
        other = [dial for dial in _LOOKS if dial in learnt and learnt[dial] != now.get(dial)]
        if other:
            given, valid = _shown(now.get(other[0])), _shown(learnt[other[0]])
            raise InputError(
                f"{other[0]}={given}: classifier {name} learnt from planes of another; valid: {valid}"
            )


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(folder: Path, top: Path) -> str:
    return folder.relative_to(top).as_posix() if folder != top else "classifier"


def _none_at(uri: str) -> InputError:
    return InputError(
        f"classifiers_uri={uri}: holds no classifier.json; valid: the folder `published` of a finished run,"
        " or one classifier's folder"
    )
