"""From numbers to the one sentence that a reader remembers."""

from components.shared.comparisons import FEWEST_FOR_CLAIM, Comparison

FEWEST_SEEDS = 2
NOTHING_TO_GAIN = "nothing to gain: labelled only already equals all labels"


def verdict(subject: str, found: Comparison, seeds: int) -> str:
    """Say what was seen, how sure it is and on how many patients; `subject` is what one model had more.

    Patients of a fold share two models, so with one seed a difference may be that of two trainings: it is
    never called shown.
    """
    if found.patients < FEWEST_FOR_CLAIM or found.interval is None:
        return no_claim(found.patients)
    low, high = found.interval
    return (
        f"{subject} {_direction(found.difference)}: {_signed(found.difference)} pt [{_points(low)},"
        f" {_points(high)}], {found.patients} patients: {_how_sure(found, seeds)}"
    )


def is_shown(found: Comparison, seeds: int) -> bool:
    """Tell whether a difference counts as shown: by test and interval, over more than one training."""
    return found.shown and seeds >= FEWEST_SEEDS


def _how_sure(found: Comparison, seeds: int) -> str:
    if found.shown and not is_shown(found, seeds):
        return "not shown, with one seed: training anew might change as much"
    return "shown" if found.shown else "not shown"


def headroom_verdict(headroom: Comparison) -> str | None:
    """Say that all labels are not shown to be better than some; None where they are."""
    if headroom.patients < FEWEST_FOR_CLAIM or headroom.interval is None:
        return no_claim(headroom.patients)
    return NOTHING_TO_GAIN if headroom.interval[0] <= 0 else None


def no_claim(patients: int) -> str:
    """Say that so few patients carry no claim."""
    return f"n = {patients} patient{'s' if patients != 1 else ''}: no claim possible"


def _direction(difference: float) -> str:
    if _points(difference) == "0.0":
        return "changed nothing"
    return "helped" if difference > 0 else "hurt"


def _signed(difference: float) -> str:
    points = _points(difference)
    return points if points == "0.0" or points.startswith("-") else f"+{points}"


def _points(share: float) -> str:
    """Print a share in points; never as minus nought."""
    return f"{round(100 * share, 1) + 0.0:.1f}"
