"""Truncations at which images can be drawn; an image is named by its own."""

from collections.abc import Sequence

VALID = "psi from 0.01 to 2, different in two decimals"


def are_usable(psis: Sequence[float]) -> bool:
    """Tell whether there is a truncation, all are in range, and their images have names of their own."""
    named = {f"{psi:.2f}" for psi in psis}
    return bool(psis) and len(named) == len(psis) and all(0.01 <= psi <= 2 for psi in psis)
