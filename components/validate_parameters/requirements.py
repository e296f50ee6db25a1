"""What a parameter must be, or the one line that says so."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args, get_origin, get_type_hints

from components.shared.faults import InputError, shown


def require_one_of(p: object, name: str, choices: Sequence[object]) -> None:
    """Refuse a parameter that is none of the choices."""
    require(p, name, getattr(p, name) in choices, " or ".join(map(str, choices)))


def require(p: object, name: str, holds: bool, valid: str) -> None:
    """Refuse a parameter for which a condition does not hold, naming what would be valid."""
    if not holds:
        raise InputError(f"{name}={shown(getattr(p, name))}: not usable; valid: {valid}")


def require_types(p: object) -> None:
    """Refuse a value of another type than its dataclass declares, as a form of JSON may hold."""
    for name, declared in get_type_hints(type(p)).items():
        require(p, name, _is_of(getattr(p, name), declared), _WORDS[get_origin(declared) or declared])


def _is_of(value: Any, declared: Any) -> bool:
    kind, within = get_origin(declared) or declared, get_args(declared)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(_is_of(each, within[0]) for each in value)
    return isinstance(value, kind)


_WORDS: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    Sequence: "a list of numbers, e.g. [0.5, 1.0]",
    dict: 'a JSON object, e.g. {"name": "value"}, or {}',
    list: "a JSON list, or []",
}


@contextmanager
def naming(p: Any, name: str) -> Iterator[None]:
    """Begin what the storage refuses with the parameter that asked for it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}={shown(getattr(p, name))}: {error}") from error
