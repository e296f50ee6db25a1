"""Inline SVG, drawn by hand: no fonts embedded, no dates, equal bytes for equal numbers.

A drawing is as wide as the text block of an A4 page, so that its letters are never printed smaller than set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

PAGE_WIDTH = 680.0  # px, 180 mm


@dataclass(kw_only=True)
class Drawing:
    """An SVG picture of fixed size; the page's style sheet gives classes their look."""

    width: float
    height: float
    title: str  # read aloud in place of the picture
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, content: str = "", **attributes: object) -> None:
        """Draw one element; an attribute's underscore becomes a hyphen, a trailing one is dropped."""
        written = " ".join(
            f'{name.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
            for name, value in attributes.items()
        )
        self.parts.append(f"<{tag} {written}>{escape(content)}</{tag}>")

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """Draw a straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=look)

    def text(self, x: float, y: float, content: str, look: str = "", anchor: str = "start") -> None:
        """Write a line of text on its baseline."""
        self.add("text", content, x=x, y=y, class_=look, text_anchor=anchor)

    def path(self, steps: str, look: str) -> None:
        """Draw a path given as SVG path data."""
        self.add("path", d=steps, class_=look)

    def marker(self, x: float, y: float, shape: str, look: str, size: float = 4.5) -> None:
        """Draw a dot, square or diamond: shapes survive a grey printer, colours may not."""
        if shape == "dot":
            self.add("circle", cx=x, cy=y, r=size, class_=look)
            return
        shapes: dict[str, list[tuple[float, float]]] = {
            "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
            "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        }
        self.add(
            "polygon",
            points=" ".join(f"{x + a * size:.2f},{y + b * size:.2f}" for a, b in shapes[shape]),
            class_=look,
        )

    def markup(self) -> Markup:
        """Return the drawing as safe HTML: every text in it was escaped on the way in."""
        head = (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}"'
            f' width="{self.width:g}" height="{self.height:g}" role="img"><title>{escape(self.title)}</title>'
        )
        return Markup(head + "".join(self.parts) + "</svg>")  # noqa: S704


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers between two limits, about as many as wanted."""
    if high <= low:
        return [low]
    rough = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def written(values: Sequence[float]) -> list[str]:
    """Return tick values with equally many decimals."""
    decimals = max((len(f"{value:g}".partition(".")[2]) for value in values), default=0)
    return [f"{value:,.{decimals}f}" for value in values]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where data coordinates lie in a drawing, in pixels."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the pixel column of a value."""
        low, high = self.x_range
        return self.left + self.width * (value - low) / ((high - low) or 1)

    def y(self, value: float) -> float:
        """Return the pixel row of a value; larger is higher."""
        low, high = self.y_range
        return self.top + self.height * (1 - (value - low) / ((high - low) or 1))

    @property
    def bottom(self) -> float:
        """The row of the horizontal axis."""
        return self.top + self.height

    def draw_x(self, drawing: Drawing, at: Sequence[float], label: str) -> None:
        """Draw the horizontal axis with its ticks and its label."""
        drawing.line(self.left, self.bottom, self.left + self.width, self.bottom, "axis")
        for value, text in zip(at, written(at), strict=True):
            drawing.line(self.x(value), self.bottom, self.x(value), self.bottom + 4, "axis")
            drawing.text(self.x(value), self.bottom + 17, text, "tick", "middle")
        drawing.text(self.left + self.width / 2, self.bottom + 34, label, "label", "middle")

    def draw_y(self, drawing: Drawing, at: Sequence[float]) -> None:
        """Draw the vertical ticks as faint lines across."""
        for value, text in zip(at, written(at), strict=True):
            drawing.line(self.left, self.y(value), self.left + self.width, self.y(value), "rule")
            drawing.text(self.left - 6, self.y(value) + 4, text, "tick", "end")
