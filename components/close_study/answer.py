"""The study's answer in lines, in fixed order: headroom, then E - C, then E - D where the first helped."""

from collections.abc import Mapping, Sequence

from components.close_study.cells import Outcome
from components.shared.comparisons import FEWEST_FOR_CLAIM, Comparison
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
    """Return what the tests in their order say, up to the first that helps no further."""
    lines: list[str] = []
    for model, other, than in TESTED:
        tested = found.get((model, other))
        if tested is None:
            return [*lines, f"{model} − {other} not measured: {_missing(grid, outcomes, model, other)}"]
        if tested.patients < FEWEST_FOR_CLAIM:
            return [*lines, no_claim(tested.patients)]
        lines.append(verdict("synthetic data", tested, than))
        if _accepted_nothing(outcomes["E"]):
            lines.append("no cell of arm E was taught a synthetic image, so it is arm C")
        if not _helped(tested):
            break
    return lines


def tests_made(found: Mapping[tuple[str, str], Comparison]) -> list[tuple[str, str]]:
    """Return the comparisons that are tests: in their order, as far as each before it leads."""
    headroom = found.get(("A", "B"))
    if headroom is not None and headroom_verdict(headroom):
        return []
    made = []
    for model, other, _ in TESTED:
        tested = found.get((model, other))
        if tested is None or tested.patients < FEWEST_FOR_CLAIM:
            break
        made.append((model, other))
        if not _helped(tested):
            break
    return made


def _helped(tested: Comparison) -> bool:
    return tested.shown and tested.difference > 0


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
