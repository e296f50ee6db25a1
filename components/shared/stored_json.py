"""JSON that artifacts and the state keep: written alike, and checked for what its reader needs.

A full disk or a hand may have spoilt it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared import storage
from components.shared.faults import InputError
from components.shared.files import write_whole

# What a value has to be: of a type, an object with at least these keys, or a list of such values.
Shape = type | Mapping[str, "Shape"] | list["Shape"]
AGAIN = "the run again with that object deleted"  # what a run makes anew, or the next ones do without


def read(uri: str, shape: Shape, valid: str = AGAIN) -> Any:
    """Return what an object of the state says, FileNotFoundError where there is none, else as `parse`."""
    return parse(uri, storage.read_bytes(uri), shape, valid)


def parse(uri: str, data: bytes, shape: Shape, valid: str = AGAIN) -> Any:
    """Return what an object of the state says; InputError by its address where that has another shape."""
    try:
        found = json.loads(data)
        whole = fits(found, shape)
    except (ValueError, RecursionError):  # a file cut short, or no text
        whole = False
    if not whole:
        raise InputError(f"{uri}: damaged; valid: {valid}")
    return found


def text(value: object) -> str:
    """Return JSON with its keys in order, so that equal values give equal bytes; ValueError for a NaN."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write(path: Path, value: object) -> None:
    """Write a local file of it as one."""
    write_whole(path, text(value))


def described(data: str | bytes) -> dict[str, Any]:
    """Return what the JSON of an artifact says; nothing where it is damaged."""
    try:
        about = json.loads(data)
    except (ValueError, RecursionError):  # a file cut short, or no text
        return {}
    return about if isinstance(about, dict) else {}


def fits(value: object, shape: Shape) -> bool:
    """Tell whether what a JSON says has a shape."""
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and all(fits(value.get(key), kind) for key, kind in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    if isinstance(value, bool):  # which Python takes for 0 or 1
        return shape is bool
    if shape is float:  # JSON does not tell 1 from 1.0
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, shape)
