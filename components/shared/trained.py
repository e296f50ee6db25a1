"""Finished classifiers by where they were published; no network is loaded here."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from components.shared import storage
from components.shared.faults import InputError


def find_classifiers(uri: str, folder: Path) -> dict[str, Path]:
    """Copy every classifier under a URI to a local folder; return their folders by name."""
    try:
        storage.download(uri, folder)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise _none_at(uri) from error
    found = {_name(path.parent, folder): path.parent for path in sorted(folder.rglob("classifier.json"))}
    if not found:
        raise _none_at(uri)
    return found


def refuse_seen_patients(classifiers: Mapping[str, Path], patients: Collection[str]) -> None:
    """Refuse patients that a classifier, or the generator behind its images, was trained on."""
    for name, folder in classifiers.items():
        seen = set(json.loads((folder / "classifier.json").read_text())["patients_seen"]) & set(patients)
        if seen:
            raise InputError(
                f"classifier {name}: has seen patients {', '.join(sorted(seen))} of these volumes;"
                " valid: volumes of patients it was not trained on"
            )


def _name(folder: Path, top: Path) -> str:
    return folder.relative_to(top).as_posix() if folder != top else "classifier"


def _none_at(uri: str) -> InputError:
    return InputError(
        f"classifiers_uri={uri}: holds no classifier.json; valid: the folder `published` of a finished run,"
        " or one classifier's folder"
    )
