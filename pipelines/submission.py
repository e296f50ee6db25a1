"""From `-p name=value` on the command line to a pipeline's checked parameters."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from components.shared.faults import InputError, shown
from components.validate_parameters.places import URIS


def parse(assignments: Sequence[str], declared: type) -> dict[str, Any]:
    """Return the values of `name=value` strings in the types that the dataclass declares."""
    types = {field.name: get_type_hints(declared)[field.name] for field in fields(declared)}
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"-p {assignment}: no value; valid: -p name=value")
        if name not in types:
            raise InputError(f"-p {name}: unknown parameter; valid: {_suggestion(name, list(types))}")
        if name in values:
            raise InputError(f"-p {name}: twice; valid: once")
        values[name] = _parse_value(name, text, types[name])
    return values


def with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with local paths made absolute: stages run in folders of their own."""
    return {name: _absolute(value) if name in URIS else value for name, value in values.items()}


def _absolute(uri: str) -> str:
    return str(Path(uri).expanduser().resolve()) if uri and "://" not in uri else uri


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return " or ".join(close) if close else ", ".join(known)


def _parse_value(name: str, text: str, declared: Any) -> Any:
    kind = get_origin(declared) or declared
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (str, int, float):
            return kind(text)
        if kind in (dict, list):
            return _require_type(json.loads(text), kind)
        items = json.loads(text) if text.startswith("[") else text.split(",")
        return [_number(item, get_args(declared)[0]) for item in items]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{name}={shown(text)}: not usable; valid: {_example(kind)}") from error


def _number(item: Any, kind: type) -> Any:
    if isinstance(item, bool):  # which Python takes for 0 or 1
        raise ValueError("true or false")
    return kind(item)


def _require_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"not a {kind.__name__}")
    return value


def _example(kind: type) -> str:
    examples = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return {**examples, dict: "a JSON object", list: "a JSON list"}.get(kind, "numbers such as 0.5,1.0")
