import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from components.report.charts import Panel, Series, confusion, curves
from components.report.pictures import fit, spread
from components.report.study_charts import difference_chart
from components.report.svg import Axes, ticks, written


@given(st.floats(-1e4, 1e4), st.floats(0.01, 1e4), st.integers(2, 8))
def test_ticks_are_few_round_numbers_inside_the_limits(low: float, size: float, wanted: int) -> None:
    found = ticks(low, low + size, wanted)
    assert len(found) <= wanted + 1
    assert all(low - 1e-6 * size <= value <= low + size * (1 + 1e-6) for value in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[:1].repeat(len(steps)), rtol=1e-3)


def test_ticks_of_one_axis_have_equal_decimals() -> None:
    assert written([0.4, 0.42]) == ["0.40", "0.42"]
    assert written([0, 1000]) == ["0", "1,000"]


@given(st.lists(st.integers()), st.integers(1, 20))
def test_spread_keeps_order_ends_and_number(items: list[int], wanted: int) -> None:
    found = spread(list(enumerate(items)), wanted)
    assert len(found) == min(len(items), wanted)
    assert found == sorted(set(found))
    if len(found) > 1:
        assert found[0][0] == 0 and found[-1][0] == len(items) - 1


def test_larger_is_higher_and_to_the_right() -> None:
    axes = Axes(left=10, top=5, width=100, height=50, x_range=(0, 2), y_range=(0, 4))
    assert (axes.x(0), axes.x(2), axes.y(4), axes.y(0)) == (10, 110, 5, 55)


def test_a_confusion_matrix_shows_only_classes_that_occur() -> None:
    text = confusion("m", ["coronal", "sagittal", "noise"], [[9, 1, 0], [0, 5, 0], [0, 0, 0]])
    assert "noise" not in text
    assert "90 %" in text and "100 %" in text


def test_one_point_and_missing_points_are_drawn() -> None:
    series = Series(name="a", points=[(0, 0.5), (1, None)])
    text = curves([Panel(title="t", x_label="round", series=[series], whole_x=True)], "one point")
    assert text.count("<circle") == 2  # the key and the point
    assert "NaN" not in text and "nan" not in text


def test_small_images_grow_in_squares() -> None:
    image_HW = np.array([[0, 255], [255, 0]], np.uint8)
    assert set(np.unique(fit(image_HW, 8))) == {0, 255}


def test_a_difference_is_drawn_inside_its_interval_on_the_side_of_its_sign() -> None:
    found = {"difference": 0.1, "interval": (0.05, 0.2)}
    each = {"model": "E", "other": "C", "role": "tested", "differences": [0.04, 0.16], "found": found}
    text = str(difference_chart([each]))
    (none,) = map(float, re.findall(r'<line x1="([0-9.]+)"[^>]*class="chance"', text))
    low, high = map(float, re.findall(r'<line x1="([0-9.]+)"[^>]*x2="([0-9.]+)"[^>]*"whisker"', text)[0])
    corners = re.findall(r'<polygon points="([^"]*)"', text)[0].split()
    middle = np.mean([float(corner.partition(",")[0]) for corner in corners])
    alone = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', text)]
    scale = (high - low) / 0.15
    assert [low - none, *(x - none for x in alone)] == [
        approx(scale * value, abs=0.1) for value in (0.05, 0.04, 0.16)
    ]
    assert middle - none == approx(scale * 0.1, abs=0.1)
