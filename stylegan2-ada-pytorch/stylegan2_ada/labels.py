"""Labels of images, from the dataset.json beside them: {"labels": [[name, number or vector], ...]}.

Shapes: N images, K numbers per label.
"""

import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stylegan2_ada.image_files import UNREADABLE, Files

LABELS = "dataset.json"
MOST_CLASSES = 2**14
LARGEST_TABLE = 2**28  # numbers in all labels together

Label = int | Sequence[float]  # the number of a class, or a vector


def read_labels(files: Files) -> Mapping[str, Label]:
    """Return every label by image name, or none where there are none.

    UsageError where a label is no class or vector as the others are, or is of no image.
    """
    rows = _rows(files)
    labels: dict[str, Label] = {}
    known = set(files.images())
    for row in rows:
        name, label = _checked(files, row)
        if name not in known:
            raise files.fault(f"{LABELS} has a label for {name!r}, which is not there", "names of its images")
        if name in labels:
            raise files.fault(f"{LABELS} has two labels for {name}", "one label per image")
        labels[name] = label
    _check_alike(files, labels)
    return labels


def label_tensor(files: Files, labels: Mapping[str, Label], names: Sequence[str]) -> Tensor:
    """Return the labels of named images, N x K; a class becomes one of K = largest class + 1 zeros and ones.

    UsageError where an image has none.
    """
    if not labels:
        raise files.fault(f"no labels in {LABELS}", f"a {LABELS} of labels, or training without")
    check_labelled(files, labels, names)
    chosen = [labels[name] for name in names]
    classes = [label for label in labels.values() if isinstance(label, int)]
    if not classes:
        return torch.tensor(chosen, dtype=torch.float32)
    if max(classes) == 0:
        raise files.fault(f"{LABELS} knows one class alone", "two classes or more, or training without")
    if len(names) * (max(classes) + 1) > LARGEST_TABLE:
        raise files.fault(f"{len(names)} labels of {max(classes) + 1} classes", "classes numbered from 0 on")
    table_NK = torch.zeros(len(names), max(classes) + 1)
    table_NK[torch.arange(len(names)), torch.tensor(chosen)] = 1
    return table_NK


def check_labelled(files: Files, labels: Mapping[str, Label], names: Sequence[str]) -> None:
    """Raise UsageError where one of the images has no label."""
    for name in names:
        if name not in labels:
            raise files.fault(f"{name} has no label in {LABELS}", "a label for every image")


def _rows(files: Files) -> Sequence[object]:
    if LABELS not in files.names:
        return []
    try:
        with files.stream(LABELS) as stream:
            content = json.load(stream)
        rows = content["labels"] or []
    except (*UNREADABLE, KeyError, TypeError) as error:
        raise files.fault(f"{LABELS} is no JSON with labels", '{"labels": [[name, label], ...]}') from error
    if not isinstance(rows, list):
        raise files.fault(f"{LABELS} holds no list of labels", '{"labels": [[name, label], ...]}')
    return rows


def _checked(files: Files, row: object) -> tuple[str, Label]:
    """Take one row apart."""
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str):
        raise files.fault(f"{LABELS} has the row {str(row)[:80]!r}", '["name", label]')
    name, label = row
    if type(label) is int and 0 <= label < MOST_CLASSES:
        return name, label
    if isinstance(label, list) and 0 < len(label) <= MOST_CLASSES and all(map(_is_number, label)):
        return name, label
    valid = f"a class 0..{MOST_CLASSES - 1} or a list of up to {MOST_CLASSES} finite numbers"
    raise files.fault(f"{LABELS} gives {name!r} the label {str(label)[:40]!r}", valid)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= torch.finfo(torch.float32).max  # false of NaN too


def _check_alike(files: Files, labels: Mapping[str, Label]) -> None:
    """Refuse classes beside vectors, and vectors of several lengths."""
    lengths = {name: 0 if isinstance(label, int) else len(label) for name, label in labels.items()}
    first = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != first:
            words = [f"a vector of {size}" if size else "a class" for size in (length, first)]
            raise files.fault(f"{LABELS} gives {name} {words[0]}, others {words[1]}", "labels of one kind")
