"""The report's charts: dots with intervals, curves over rounds or kimg, confusion matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from components.report.svg import PAGE_WIDTH, Axes, Drawing, ticks
from components.report.words import percent

_ROW = 38.0  # px a model takes in the chart of dots
_CELL = 52.0  # px a side of a confusion matrix's cell
_PANEL = 140.0  # px of the vertical axis of a curve
_DARK = 0.55  # share of a row above which a cell needs white letters


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One model's balanced accuracy: pooled, its interval, and patient by patient."""

    name: str
    value: float | None
    interval: tuple[float, float] | None
    patients: Sequence[float]
    published: bool


def dot_intervals(estimates: Sequence[Estimate]) -> Markup:
    """Draw balanced accuracy with its interval over patients, and every patient as an open circle."""
    low = 100 * min(_values(estimates), default=0.5)
    axes = Axes(
        left=180,
        top=14,
        width=PAGE_WIDTH - 180 - 70,
        height=_ROW * len(estimates),
        x_range=(max(0.0, min(50.0, 10 * (low // 10))), 100.0),
        y_range=(0, 1),
    )
    drawing = Drawing(
        width=PAGE_WIDTH, height=axes.height + 54, title="Balanced accuracy on unseen patients, by model"
    )
    for value in ticks(*axes.x_range, 6):
        drawing.line(axes.x(value), axes.top, axes.x(value), axes.bottom, "rule")
    drawing.line(axes.x(50), axes.top, axes.x(50), axes.bottom, "chance")
    drawing.text(axes.x(50) + 4, axes.top - 3, "chance", "tick")
    for place, estimate in enumerate(estimates):
        _draw_estimate(drawing, axes, axes.top + _ROW * (place + 0.5), estimate)
    axes.draw_x(drawing, ticks(*axes.x_range, 6), "Balanced accuracy, coronal against sagittal (%)")
    return drawing.markup()


def _values(estimates: Sequence[Estimate]) -> list[float]:
    found = [value for each in estimates for value in (each.value, *(each.interval or ()), *each.patients)]
    return [value for value in found if value is not None]


def _draw_estimate(drawing: Drawing, axes: Axes, row: float, estimate: Estimate) -> None:
    drawing.text(axes.left - 12, row + 4, estimate.name, "strong" if estimate.published else "name", "end")
    if estimate.interval is not None:
        low, high = (axes.x(100 * value) for value in estimate.interval)
        drawing.line(low, row, high, row, "whisker")
        for end in (low, high):
            drawing.line(end, row - 5, end, row + 5, "whisker")
    for value in estimate.patients:
        drawing.marker(axes.x(100 * value), row + 10.5, "dot", "patient", 3.5)
    if estimate.value is not None:
        look = "mark published" if estimate.published else "mark"
        drawing.marker(
            axes.x(100 * estimate.value), row, "diamond" if estimate.published else "square", look, 5
        )
    drawing.text(axes.left + axes.width + 14, row + 4, percent(estimate.value), "value")


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve; its points may lack values."""

    name: str
    points: Sequence[tuple[float, float | None]]
    shape: str = "dot"
    dashed: bool = False

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points that have a value."""
        return [(x, y) for x, y in self.points if y is not None]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A small chart of one quantity."""

    title: str  # the quantity and its unit
    x_label: str
    series: Sequence[Series]
    whole_x: bool = False  # ticks at whole numbers alone: rounds, not kimg
    marked: bool = True
    zero: bool = False  # the axis starts at 0
    counts: bool = False  # ticks at whole numbers alone


def curves(panels: Sequence[Panel], title: str) -> Markup:
    """Draw panels side by side."""
    gap = 26.0
    legend = 18.0 * max(len(panel.series) for panel in panels)
    each = (PAGE_WIDTH - gap * (len(panels) - 1)) / len(panels)
    drawing = Drawing(width=PAGE_WIDTH, height=_PANEL + legend + 72, title=title)
    for place, panel in enumerate(panels):
        _draw_panel(drawing, panel, place * (each + gap), each, legend)
    return drawing.markup()


def _draw_panel(drawing: Drawing, panel: Panel, left: float, width: float, legend: float) -> None:
    drawing.text(left, 14, panel.title, "strong")
    for place, series in enumerate(panel.series):
        _draw_key(drawing, series, left, 32 + 18 * place, panel.marked)
    axes = _axes(panel, left + 42, 30 + legend, width - 50)
    marks = ticks(*axes.y_range, 6)
    axes.draw_y(drawing, [value for value in marks if not panel.counts or value.is_integer()])
    axes.draw_x(drawing, _x_ticks(panel, axes.x_range), panel.x_label)
    for series in panel.series:
        _draw_series(drawing, axes, series, panel.marked)


def _axes(panel: Panel, left: float, top: float, width: float) -> Axes:
    points = [point for series in panel.series for point in series.known] or [(0.0, 0.0)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    x_margin = 0.3 if panel.whole_x else 0.0
    return Axes(
        left=left,
        top=top,
        width=width,
        height=_PANEL,
        x_range=(min(xs) - x_margin, max(xs) + x_margin),
        y_range=(0.0 if panel.zero else low - margin, high + margin),
    )


def _x_ticks(panel: Panel, limits: tuple[float, float]) -> list[float]:
    if not panel.whole_x:
        return ticks(*limits, 4)
    return sorted({value for value in ticks(*limits, 6) if value.is_integer()})


def _draw_key(drawing: Drawing, series: Series, left: float, row: float, marked: bool) -> None:
    drawing.line(left, row - 4, left + 24, row - 4, _look(series))
    if marked:
        drawing.marker(left + 12, row - 4, series.shape, "mark", 3.5)
    drawing.text(left + 30, row, series.name, "tick")


def _draw_series(drawing: Drawing, axes: Axes, series: Series, marked: bool) -> None:
    places = [(axes.x(x), axes.y(y)) for x, y in series.known]
    if len(places) > 1:
        drawing.path("M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in places), _look(series))
    if marked or len(places) == 1:
        for x, y in places:
            drawing.marker(x, y, series.shape, "mark", 3.5)


def _look(series: Series) -> str:
    return "curve dashed" if series.dashed else "curve"


def confusion(name: str, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Draw the classes that occur, truth by rows; shades and percentages are shares of a row."""
    occurring = [k for k in range(len(classes)) if sum(matrix[k]) or sum(line[k] for line in matrix)]
    left, top = 64.0, 24.0
    side = _CELL * len(occurring)
    drawing = Drawing(width=left + side + 4, height=top + side + 24, title=f"Confusion matrix: {name}")
    drawing.text(left + side / 2, top + side + 18, "predicted", "label", "middle")
    for place, k in enumerate(occurring):
        middle = _CELL * (place + 0.5)
        drawing.text(left + middle, top - 7, classes[k], "tick", "middle")
        drawing.text(left - 7, top + middle + 4, classes[k], "tick", "end")
        _draw_row(drawing, left, top + _CELL * place, [matrix[k][other] for other in occurring])
    return drawing.markup()


def _draw_row(drawing: Drawing, left: float, top: float, row: Sequence[int]) -> None:
    total = sum(row)
    for place, number in enumerate(row):
        share = number / total if total else 0.0
        grey = round(255 - 205 * share)
        x, look = left + _CELL * place, "inverse" if share > _DARK else "name"
        fill = f"rgb({grey},{grey},{grey})"
        drawing.add("rect", x=x, y=top, width=_CELL, height=_CELL, fill=fill, class_="cell")
        drawing.text(x + _CELL / 2, top + 22, f"{number:,}", look, "middle")
        if total:
            drawing.text(x + _CELL / 2, top + 38, f"{100 * share:.0f} %", look, "middle")
