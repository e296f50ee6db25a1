"""From numbers to the one sentence that a reader remembers."""

from components.shared.comparisons import Comparison
from components.shared.intervals import FEWEST_FOR_CLAIM

NOTHING_TO_GAIN = "nothing to gain: labelled only already equals all labels"
WORSE = "nothing to gain: all labels did worse than labelled only"


def verdict(subject: str, found: Comparison, than: str = "") -> str:
    """Say what was seen, how sure it is and on how many patients.

    `subject` is what one model had more, `than` what the other had in its place.
    """
    if found.patients < FEWEST_FOR_CLAIM or found.interval is None:
        return no_claim(found.patients)
    low, high = found.interval
    return (
        f"{subject} {_direction(found.difference, than)}: {_signed(found.difference)} pt [{_points(low)},"
        f" {_points(high)}], {found.patients} patients: {_how_sure(found)}"
    )


def _how_sure(found: Comparison) -> str:
    if found.differs and not found.shown:
        what = "seed: training anew" if found.repeats == 1 else "GAN a fold: another one"
        return f"not shown, with one {what} might change as much"
    return "shown" if found.shown else "not shown"


def headroom_verdict(headroom: Comparison) -> str | None:
    """Say that all labels are not shown to be better than some; None where they are."""
    if headroom.patients < FEWEST_FOR_CLAIM or headroom.interval is None:
        return no_claim(headroom.patients)
    if headroom.interval[1] < 0:
        return WORSE
    return NOTHING_TO_GAIN if headroom.interval[0] <= 0 else None


def headroom_figures(headroom: Comparison) -> str:
    """Say what all labels have on some, whatever it comes to, and what is not excluded."""
    interval = headroom.interval
    told = f" [{_points(interval[0])}, {_points(interval[1])}]" if interval else ""
    reach = ""
    if interval and headroom_verdict(headroom) == NOTHING_TO_GAIN:
        reach = _points(min(interval[1], 1 - (headroom.other_low or 0)))  # more than all right there is not
    return (
        f"headroom, all labels − labelled only: {_signed(headroom.difference)} pt{told},"
        f" {headroom.patients} patient{'s' if headroom.patients != 1 else ''}"
    ) + (f"; up to {reach} pt to gain are not excluded" if reach else "")


def no_claim(patients: int) -> str:
    """Say that so few patients carry no claim."""
    return f"n = {patients} patient{'s' if patients != 1 else ''}: no claim possible"


def _direction(difference: float, than: str) -> str:
    if _points(difference) == "0.0":
        return f"helped as much as {than}" if than else "changed nothing"
    if than:
        return f"helped {'more' if difference > 0 else 'less'} than {than}"
    return "helped" if difference > 0 else "hurt"


def _signed(difference: float) -> str:
    points = _points(difference)
    return points if points == "0.0" or points.startswith("-") else f"+{points}"


def _points(share: float) -> str:
    """Print a share in points; never as minus nought."""
    return f"{round(100 * share, 1) + 0.0:.1f}"
