"""Finished classifiers by where they were published; no network is loaded here."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from components.shared import storage
from components.shared.faults import InputError
from components.shared.pseudonyms import require_same_key


def find_classifiers(uri: str, folder: Path) -> dict[str, Path]:
    """Copy every classifier under a URI to a local folder; return their folders by name."""
    try:
        storage.download(uri, folder)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise _none_at(uri) from error
    places = [*folder.glob("classifier.json"), *folder.glob("*/classifier.json")]
    found = {_name(path.parent, folder): path.parent for path in sorted(places)}
    if not found:
        raise _none_at(uri)
    return found


def refuse_seen_patients(classifiers: Mapping[str, Path], patients: Collection[str]) -> None:
    """Refuse patients that a classifier, or the generator behind its images, was trained or validated on.

    Who validated a round has chosen it: its accuracy on them is no accuracy on the unseen.
    """
    for name, folder in classifiers.items():
        about = json.loads((folder / "classifier.json").read_text())
        known = {*about["patients_seen"], *about["patients_validated_on"]}
        require_same_key(patients, known, f"classifier {name}")
        seen = known & set(patients)
        if seen:
            raise InputError(
                f"classifier {name}: has seen patients {', '.join(sorted(seen))} of these volumes;"
                " valid: volumes of patients it was not trained on"
            )


def refuse_other_window(classifiers: Mapping[str, Path], field_of_view_mm: float) -> None:
    """Refuse planes of another scale than those that a classifier learnt from."""
    for name, folder in classifiers.items():
        learnt = json.loads((folder / "classifier.json").read_text())["field_of_view_mm"]
        if learnt not in (None, field_of_view_mm):
            raise InputError(
                f"field_of_view_mm={field_of_view_mm:g}: classifier {name} learnt from planes of another"
                f" scale; valid: {learnt:g}"
            )


def _name(folder: Path, top: Path) -> str:
    return folder.relative_to(top).as_posix() if folder != top else "classifier"


def _none_at(uri: str) -> InputError:
    return InputError(
        f"classifiers_uri={uri}: holds no classifier.json; valid: the folder `published` of a finished run,"
        " or one classifier's folder"
    )
