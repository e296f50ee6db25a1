"""The charts of a study: arms with their patients, paired differences, accuracy against label fraction."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from components.report import charts
from components.report.svg import PAGE_WIDTH, Axes, Drawing, ticks
from components.report.words import points

_ROW = 44.0  # px a comparison takes
_SHIFT = 5.0  # px between arms at one fraction, so that their intervals do not hide one another
_KEY = 230.0  # px for the names of the arms beside the curves
_SHAPES = ("dot", "square", "diamond")


def arm_chart(arms: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw every arm of one fraction: mean over patients, interval, each patient."""
    return charts.dot_intervals(
        [
            charts.Estimate(
                name=f"{arm['letter']}  {arm['title']}",
                value=arm["value"],
                interval=None if arm["interval"] is None else (arm["interval"][0], arm["interval"][1]),
                patients=list(arm["patients"].values()),
                published=arm["letter"] == "E",
            )
            for arm in arms
        ]
    )


def difference_chart(compared: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Draw paired differences in points: mean, interval, and every patient; None where there are none."""
    if not compared:
        return None
    values = [
        100 * v for each in compared for v in (*each["differences"], *(each["found"]["interval"] or ()))
    ]
    reach = max([1.0, *(abs(value) for value in values)]) * 1.05
    axes = Axes(
        left=180,
        top=14,
        width=PAGE_WIDTH - 180 - 70,
        height=_ROW * len(compared),
        x_range=(-reach, reach),
        y_range=(0, 1),
    )
    drawing = Drawing(width=PAGE_WIDTH, height=axes.height + 54, title="Paired differences between arms")
    marks = ticks(-reach, reach, 7)
    for value in marks:
        drawing.line(axes.x(value), axes.top, axes.x(value), axes.bottom, "rule")
    drawing.line(axes.x(0), axes.top, axes.x(0), axes.bottom, "chance")
    drawing.text(axes.x(0) + 4, axes.top - 3, "no difference", "tick")
    for place, each in enumerate(compared):
        _draw_difference(drawing, axes, axes.top + _ROW * (place + 0.5), each)
    axes.draw_x(drawing, marks, "Difference of balanced accuracy (percentage points)")
    return drawing.markup()


def _draw_difference(drawing: Drawing, axes: Axes, row: float, each: Mapping[str, Any]) -> None:
    look = "strong" if each["role"] == "tested" else "name"
    drawing.text(axes.left - 12, row + 4, f"{each['model']} − {each['other']} ({each['role']})", look, "end")
    interval = each["found"]["interval"]
    if interval is not None:
        low, high = (axes.x(100 * value) for value in interval)
        drawing.line(low, row, high, row, "whisker")
        for end in (low, high):
            drawing.line(end, row - 5, end, row + 5, "whisker")
    for value in each["differences"]:
        drawing.marker(axes.x(100 * value), row + 11, "dot", "patient", 3.5)
    drawing.marker(axes.x(100 * each["found"]["difference"]), row, "square", "mark", 5)
    drawing.text(axes.left + axes.width + 14, row + 4, points(each["found"]["difference"]), "value")


def fraction_chart(arms: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Draw balanced accuracy against the share of labels, with intervals; None with a single fraction."""
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for arm in arms:
        if arm["letter"] in "BCDE" and arm["value"] is not None:
            curves.setdefault(arm["letter"], []).append(arm)
    fractions = sorted({arm["fraction"] for found in curves.values() for arm in found})
    if len(fractions) < 2:
        return None
    lows = [100 * (arm["interval"] or [arm["value"]])[0] for found in curves.values() for arm in found]
    axes = Axes(
        left=60,
        top=24,
        width=PAGE_WIDTH - 60 - _KEY,
        height=230,
        x_range=(0.0, 100.0),
        y_range=(max(0.0, 10 * (min(lows) // 10)), 100.0),
    )
    drawing = Drawing(width=PAGE_WIDTH, height=axes.height + 76, title="Balanced accuracy by label fraction")
    drawing.text(0, 12, "Balanced accuracy, coronal against sagittal (%)", "strong")
    axes.draw_y(drawing, ticks(*axes.y_range, 6))
    for place, found in enumerate(curves.values()):
        _draw_curve(drawing, axes, found, place)
    _draw_all_labels(drawing, axes, arms)
    axes.draw_x(drawing, [100 * fraction for fraction in fractions], "Labels asked for (% of training set)")
    return drawing.markup()


def _draw_curve(drawing: Drawing, axes: Axes, arms: Sequence[Mapping[str, Any]], place: int) -> None:
    look = "curve dashed" if place % 2 else "curve"
    shift = _SHIFT * (place - 1.5)
    dots = [(axes.x(100 * arm["fraction"]) + shift, axes.y(100 * arm["value"])) for arm in arms]
    drawing.path("M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in dots), look)
    for (x, y), arm in zip(dots, arms, strict=True):
        if arm["interval"] is not None:
            drawing.line(x, axes.y(100 * arm["interval"][0]), x, axes.y(100 * arm["interval"][1]), "whisker")
        drawing.marker(x, y, _SHAPES[place % len(_SHAPES)], "mark", 4.5)
    key = axes.top + 14 + 20 * place
    drawing.line(axes.left + axes.width + 16, key - 4, axes.left + axes.width + 40, key - 4, look)
    drawing.marker(axes.left + axes.width + 28, key - 4, _SHAPES[place % len(_SHAPES)], "mark", 4)
    drawing.text(axes.left + axes.width + 46, key, f"{arms[0]['letter']}  {arms[0]['title']}", "tick")


def _draw_all_labels(drawing: Drawing, axes: Axes, arms: Sequence[Mapping[str, Any]]) -> None:
    """Draw arm A as a level to reach."""
    for arm in arms:
        if arm["letter"] == "A" and arm["value"] is not None:
            level = axes.y(100 * arm["value"])
            drawing.line(axes.left, level, axes.left + axes.width, level, "chance")
            drawing.text(axes.left + axes.width - 4, level - 5, "A  all labels", "tick", "end")
