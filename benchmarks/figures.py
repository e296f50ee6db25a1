"""Figures of benchmarks as SVG: small, the same bytes each time, readable without colour."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

GREYS = ("black", "0.65", "white")  # fills that differ in print too; outlines are black


def save(figure: Figure, path: Path) -> None:
    """Write a figure without a date or random names, its words as words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "fontanelle", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
