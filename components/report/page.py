"""From metrics and pictures to one HTML file that needs no network, no script and no second file."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.report.language import ENGLISH, in_language
from components.report.words import count, decimal, p_value, percent, points, rounded

_HERE = Path(__file__).parent
_SPOKEN = {
    "percent": percent,
    "decimal": decimal,
    "count": count,
    "points": points,
    "rounded": rounded,
    "p_value": p_value,
}


def environment() -> Environment:
    """Return the templates' environment; everything is escaped, and a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(_SPOKEN)
    made.globals["style"] = Markup((_HERE / "report.css").read_text())  # noqa: S704 (our own file)
    return made


def render(template: str, metrics: Mapping[str, Any], language: str = ENGLISH, **parts: Any) -> str:
    """Return a page; only its generated-at time differs between two renderings of the same input."""

    def say(how: str, *keys: str | int) -> Markup:
        """Return a number of metrics.json with its place in it, so that the page cannot say another."""
        value = _at(metrics, keys)
        known = "" if value is None else repr(value)
        pointer = "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)
        return Markup('<data value="{}" data-at="{}">{}</data>').format(known, pointer, _SPOKEN[how](value))

    generated = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = environment().get_template(template).render(metrics=metrics, say=say, generated=generated, **parts)
    page = "\n".join(line for line in (each.rstrip() for each in text.splitlines()) if line) + "\n"
    return in_language(page, language)


def _at(value: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        value = value[key]
    return value
