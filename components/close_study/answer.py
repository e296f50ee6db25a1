"""The study's answer in lines, in fixed order: headroom, then E - C, then E - D where the first helped."""

from collections.abc import Iterator, Mapping, Sequence

from components.close_study.cells import Outcome
from components.shared.comparisons import Comparison
from components.shared.intervals import FEWEST_FOR_CLAIM
from components.shared.study import Grid
from components.shared.verdicts import headroom_figures, headroom_verdict, no_claim, verdict

TESTED = (("E", "C", ""), ("E", "D", "the hidden real planes"))  # arm, another, and what that had instead


def answer(
    grid: Grid,
    outcomes: Mapping[str, Sequence[Outcome]],
    found: Mapping[tuple[str, str], Comparison],
    patients: int,
) -> list[str]:
    """Return the lines, from each arm's whole seeds and what was compared at the first label fraction.

    Where there is no headroom nothing is tested; where something is missing a line says what. The headroom's
    figures come last, for who wants to know how sure that is.
    """
    if not patients:
        return ["no tested patient has planes of both cuts: nothing is measured"]
    headroom = found.get(("A", "B"))
    if headroom is None:
        missing = f"headroom not measured: {_missing(grid, outcomes, 'A', 'B')}"
        return [missing, *_answers(grid, outcomes, found)]
    nothing = headroom_verdict(headroom)
    told = [nothing] if nothing else _answers(grid, outcomes, found)
    return [*told, headroom_figures(headroom)]


def _answers(
    grid: Grid, outcomes: Mapping[str, Sequence[Outcome]], found: Mapping[tuple[str, str], Comparison]
) -> list[str]:
    """Return what the tests in their order say."""
    lines = []
    for model, other, than, tested in _in_order(found):
        if tested is None:
            lines.append(f"{model} − {other} not measured: {_missing(grid, outcomes, model, other)}")
        elif tested.patients < FEWEST_FOR_CLAIM:
            lines.append(no_claim(tested.patients))
        else:
            lines.append(verdict("synthetic data", tested, than))
            if _accepted_nothing(outcomes["E"]):
                lines.append("no cell of arm E was taught a synthetic image, so it is arm C")
    return lines


def tests_made(found: Mapping[tuple[str, str], Comparison]) -> list[tuple[str, str]]:
    """Return the comparisons that are tests: in their order, as far as each before it leads."""
    headroom = found.get(("A", "B"))
    if headroom is not None and headroom_verdict(headroom):
        return []
    return [
        (model, other)
        for model, other, _, tested in _in_order(found)
        if tested is not None and tested.patients >= FEWEST_FOR_CLAIM
    ]


def _in_order(
    found: Mapping[tuple[str, str], Comparison],
) -> Iterator[tuple[str, str, str, Comparison | None]]:
    """Yield the tests up to the first that was not made, or did not show that synthetic images help."""
    for model, other, than in TESTED:
        tested = found.get((model, other))
        yield model, other, than, tested
        if tested is None or not (tested.shown and tested.difference > 0):
            return


def _missing(grid: Grid, outcomes: Mapping[str, Sequence[Outcome]], *letters: str) -> str:
    """Say why two arms are not compared."""
    if absent := [letter for letter in letters if letter not in grid.arms]:
        return f"{_arms(absent)} not in the study"
    if lost := [letter for letter in letters if not outcomes.get(letter)]:
        return f"{_arms(lost)} came to no end in every fold"
    return f"{_arms(letters)} share no seed that came to its end in every fold"


def _arms(letters: Sequence[str]) -> str:
    return f"arm{'s' if len(letters) > 1 else ''} {' and '.join(letters)}"


def _accepted_nothing(outcomes: Sequence[Outcome]) -> bool:
    return not any(sum(outcome.result["pseudo"].values()) for outcome in outcomes)
