"""The picture of the flow, with one run's numbers in its boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from components.report.svg import PAGE_WIDTH, Drawing
from components.report.words import FIRST_ROUND, SUPERVISED, count, percent, plural, round_number
from components.shared.splits import TEST, TRAIN, VALIDATION

_LEFTS, _WIDTHS = (1, 122, 245, 397, 549), (100, 102, 130, 130, 130)
_HEIGHT, _GAP_Y = 92.0, 24.0
_ELBOWS = (
    ("volumes", "planes"),
    ("planes", "supervised"),
    ("planes", "fraction"),
    ("planes", "gan"),
    ("fraction", "rounds"),
    ("gan", "synthetic"),
)
_STRAIGHT = (("supervised", "test"), ("rounds", "test"))

Arrows = Sequence[tuple[str, str]]  # from and to, by the boxes' names


@dataclass(frozen=True, kw_only=True)
class Box:
    """A stage: its place in the grid of five columns and three rows, its name, its numbers."""

    column: int
    row: int
    name: str
    lines: Sequence[str]
    rows: int = 1  # how many rows it spans
    strong: bool = False

    @property
    def left(self) -> float:
        """Its left edge in pixels."""
        return float(_LEFTS[self.column])

    @property
    def width(self) -> float:
        """Its width in pixels."""
        return float(_WIDTHS[self.column])

    @property
    def right(self) -> float:
        """Its right edge in pixels."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """Its upper edge in pixels."""
        return 4 + self.row * (_HEIGHT + _GAP_Y)

    @property
    def height(self) -> float:
        """Its height in pixels."""
        return self.rows * _HEIGHT + (self.rows - 1) * _GAP_Y

    @property
    def middle(self) -> float:
        """Its middle row in pixels."""
        return self.top + self.height / 2


def flow_diagram(metrics: Mapping[str, Any], volumes: int, labelled: int) -> Markup:
    """Draw volumes -> planes -> three lanes -> unseen patients."""
    boxes = _boxes(metrics, volumes, labelled)
    return draw_flow(boxes, _ELBOWS, _STRAIGHT, [("synthetic", "rounds")], again="rounds")


def draw_flow(
    boxes: Mapping[str, Box], elbows: Arrows, straight: Arrows, upwards: Arrows, again: str = ""
) -> Markup:
    """Draw boxes, and arrows between them by name; `again` is gone through again and again."""
    drawing = Drawing(
        width=PAGE_WIDTH, height=3 * _HEIGHT + 2 * _GAP_Y + 8, title="The flow of this run, with its numbers"
    )
    _define_arrow(drawing)
    for arrows, way in ((elbows, _connect), (straight, _across), (upwards, _upwards)):
        for start, end in arrows:
            way(drawing, boxes[start], boxes[end])
    if again:
        _around(drawing, boxes[again])
    for box in boxes.values():
        _draw(drawing, box)
    return drawing.markup()


def _boxes(metrics: Mapping[str, Any], volumes: int, labelled: int) -> dict[str, Box]:
    patients, gan, rounds = metrics["patients"], metrics["gan"], metrics["rounds"]
    sides = [len(patients[split]) for split in (TRAIN, VALIDATION, TEST)]
    synthetic = metrics["synthetic"]
    truncations = [f"ψ {key}: {count(n)}" for key, n in synthetic["by_truncation"].items()]
    return {
        "volumes": Box(
            column=0, row=1, name="Volumes", lines=[plural(volumes, "volume"), plural(sum(sides), "patient")]
        ),
        "planes": Box(
            column=1,
            row=1,
            name="Planes",
            lines=[f"{label} {count(sum(metrics['planes'][label].values()))}" for label in metrics["planes"]],
        ),
        "supervised": Box(
            column=2, row=0, name="All labels", lines=[f"{count(labelled)} planes", _of(sides[0], "train")]
        ),
        "fraction": Box(
            column=2,
            row=1,
            name="Labelled fraction",
            lines=[f"{count(rounds[0]['labelled'])} planes", _fraction(metrics["parameters"])],
        ),
        "gan": Box(
            column=2,
            row=2,
            name="GAN",
            lines=[f"{count(gan['kimg'])} kimg, {gan['resolution']} px", _of(sides[0], "train")],
        ),
        "rounds": Box(column=3, row=1, name="Rounds", lines=_round_lines(rounds)),
        "synthetic": Box(
            column=3,
            row=2,
            name="Synthetic",
            lines=[f"{count(synthetic['total'])} images", *truncations[:2]],
        ),
        "test": Box(column=4, row=0, rows=2, strong=True, name="Unseen patients", lines=_test_lines(metrics)),
    }


def _of(number: int, side: str) -> str:
    return f"{number} {side} patient{'' if number == 1 else 's'}"


def _fraction(parameters: Mapping[str, Any]) -> str:
    fraction, unit = parameters.get("label_fraction"), parameters.get("label_unit", "plane")
    return "" if fraction is None else f"{100 * fraction:g} % of {unit}s"


def _round_lines(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    last = rounds[-1]
    used = max((sum(each["trained_on_pseudo"].values()) for each in rounds), default=0)
    return [f"0 to {last['round']}", f"up to {count(used)} images", "with pseudo-labels"]


def _test_lines(metrics: Mapping[str, Any]) -> list[str]:
    models, best = metrics["models"], metrics["best_round"]
    pairs = [("all labels", SUPERVISED), ("labelled only", FIRST_ROUND)]
    if best != FIRST_ROUND:
        pairs.append((f"round {round_number(best)}", best))
    lines = [plural(metrics["test_patients"], "patient"), "", "balanced accuracy"]
    for name, model in pairs:
        if model in models:
            lines += [name, f"  {percent(models[model]['balanced_accuracy'])}"]
    return lines


def _define_arrow(drawing: Drawing) -> None:
    drawing.parts.append(
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
        ' markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.5L8,4L0,7.5z" class="head"/>'
        "</marker></defs>"
    )


def _arrow(drawing: Drawing, steps: str) -> None:
    drawing.add("path", d=steps, class_="arrow", marker_end="url(#arrow)")


def _connect(drawing: Drawing, start: Box, end: Box) -> None:
    """Draw an elbow from the right edge of one box to the left edge of the next."""
    half = (start.right + end.left) / 2
    _arrow(
        drawing,
        f"M{start.right:g},{start.middle:g}H{half:g}V{end.middle:g}H{end.left - 1:g}",
    )


def _across(drawing: Drawing, start: Box, end: Box) -> None:
    _arrow(drawing, f"M{start.right:g},{start.middle:g}H{end.left - 1:g}")


def _upwards(drawing: Drawing, start: Box, end: Box) -> None:
    middle = (start.left + start.right) / 2
    _arrow(drawing, f"M{middle:g},{start.top:g}V{end.top + end.height + 1:g}")


def _around(drawing: Drawing, box: Box) -> None:
    """Draw an arc above a box: it is gone through again and again."""
    start, end, high = box.right - 30, box.left + 30, box.top - 17
    _arrow(drawing, f"M{start:g},{box.top:g}C{start:g},{high:g} {end:g},{high:g} {end:g},{box.top - 1:g}")


def _draw(drawing: Drawing, box: Box) -> None:
    look = "box strong-box" if box.strong else "box"
    drawing.add("rect", x=box.left, y=box.top, width=box.width, height=box.height, rx=4, class_=look)
    drawing.text(box.left + 9, box.top + 19, box.name, "strong")
    for place, line in enumerate(box.lines):
        if line:
            x = box.left + (19 if line.startswith(" ") else 9)
            drawing.text(x, box.top + 37 + 15.5 * place, line.strip(), "boxed")
