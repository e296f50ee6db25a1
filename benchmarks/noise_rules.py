"""How many planes each noise rule calls wrongly, against how much of them truly is brain.

python -m benchmarks.noise_rules --volumes ../shared/data/mri --json F --figure docs/noise_rules.svg

The truth is not the rule's own threshold. The templates sb_* come skull-stripped, with a background of
exactly the minimum, so that their brain is known voxel by voxel: a plane's truth is the share of its disc,
read at points 1 mm apart from the nearest voxels, that is brain. As they are, most thresholds find that
brain. So the same planes are cut once more after the background was raised to a tenth of the brain's grey
level and all of it multiplied by speckle (Rayleigh, independent from voxel to voxel), as inside an ultrasound
sector, where nothing is black.

A rule is wrong about a plane that it calls anatomy though at most 2 % of the disc is brain, or noise though
more is. What it calls uncertain is counted apart. `index` is this suite's parameter: the 20 outermost planes
of every angle's row. `notebook` says what the notebook would call the slice that lies where the plane does.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.extraction import CUTS, anatomy_of
from benchmarks.figures import GREYS, save
from benchmarks.notebook_extraction import NOISE_SLICES
from components.extract_planes.cut import cut_planes, label_of
from components.shared.geometry import Anatomy, Plane
from components.shared.planes import NOISE, SAGITTAL, UNCERTAIN
from components.shared.snapshots import VolumeEntry
from components.shared.volumes import Volume, read_volume

BY_INDEX = replace(CUTS, noise_rule="index")
RULES = ("content", "index", "notebook")
LOST = "lost"  # what the notebook never writes
WORDS = ("by content", "by index, our rows", "by index, the notebook's stacks")
EDGES = (0.0, 0.02, 0.05, 0.10, 0.20, 0.40, 1.0)  # of the true share; the first bin holds its upper edge too
BINS = [f"{low:.0%}-{high:.0%}" for low, high in pairwise(EDGES)]
POINTS_MM = 1.0


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One plane: its true share of brain and what each rule calls it."""

    truth: float
    calls: dict[str, str]

    def wrong(self, rule: str) -> bool:
        """Tell whether a rule is wrong about it."""
        call = self.calls[rule]
        if self.truth <= CUTS.noise_max_content:
            return call not in (NOISE, UNCERTAIN, LOST)
        return call == NOISE


def judged(volume: Volume, brain_XYZ: NDArray[np.bool_], pool: Executor) -> Iterator[Judged]:
    """Yield every plane that extraction cuts from a volume."""
    anatomy = anatomy_of(volume)
    offsets = anatomy.offsets(CUTS.plane_spacing_mm)
    nobody = VolumeEntry(name="", size=0, digest="", patient="", session="", site="")
    for _, row in cut_planes(CUTS, nobody, "", anatomy, pool):
        plane = Plane(name=row.plane, angle_deg=row.angle_deg, offset_mm=row.offset_mm)
        place = offsets.index(plane.offset_mm)
        calls = {
            "content": row.label,
            "index": label_of(BY_INDEX, plane, row.content, min(place, len(offsets) - 1 - place)),
            "notebook": notebook_call(anatomy, plane, brain_XYZ.shape),
        }
        yield Judged(truth=true_share(anatomy, plane, brain_XYZ), calls=calls)


def true_share(anatomy: Anatomy, plane: Plane, brain_XYZ: NDArray[np.bool_]) -> float:
    """Return the share of a plane's disc whose nearest voxels are brain."""
    half = np.sqrt(max(anatomy.radius_mm**2 - plane.offset_mm**2, 0))
    edge = np.arange(-np.floor(half), half + 1e-9, POINTS_MM)
    right, down = np.meshgrid(edge, edge)
    inside = right**2 + down**2 <= half**2
    columns, rows, normal = plane.axes
    points_P3 = (
        np.outer(right[inside], columns) + np.outer(down[inside], rows) + plane.offset_mm * np.asarray(normal)
    )
    index_P3 = np.rint(anatomy.centre + points_P3 @ anatomy.to_index.T).astype(int)
    return float(brain_XYZ[tuple(np.clip(index_P3, 0, np.array(brain_XYZ.shape) - 1).T)].mean())


def notebook_call(anatomy: Anatomy, plane: Plane, sizes: Sequence[int]) -> str:
    """Return what the notebook would call the slice of its rotated stack that lies where a plane does.

    On volumes stored right, anterior, superior, so that at least the axes are not mistaken.
    """
    stack, other = (0, 1) if plane.name == SAGITTAL else (1, 0)
    turn, normal = np.deg2rad(abs(plane.angle_deg)), anatomy.to_index @ plane.axes[2]
    from_middle = anatomy.centre - (np.array(sizes) - 1) / 2
    slices = np.linalg.norm(normal) * plane.offset_mm + from_middle @ normal / np.linalg.norm(normal)
    rotated = sizes[stack] * np.cos(turn) + sizes[other] * np.sin(turn)  # the size that it slices
    number = round((rotated - 1) / 2 + slices)
    if number >= sizes[stack]:  # the size that it loops over
        return LOST
    return NOISE if not NOISE_SLICES <= number < sizes[stack] - NOISE_SLICES else plane.name


def speckled(volume: Volume, brain_XYZ: NDArray[np.bool_], seed: int) -> Volume:
    """Return a volume as if it had been seen by ultrasound: nothing black, and speckle."""
    rng = np.random.default_rng(seed)
    voxels = volume.data_XYZ - volume.data_XYZ.min()
    echo = voxels + 0.1 * np.median(voxels[brain_XYZ]) * ~brain_XYZ
    return replace(volume, data_XYZ=(echo * rng.rayleigh(size=echo.shape)).astype(np.float32))


def measure(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the counts of planes by true share and by rule, as they are and speckled."""
    found: dict[str, list[Judged]] = {"as they are": [], "with speckle": []}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for seed, path in enumerate(paths):
            volume = read_volume(path)
            brain_XYZ = volume.data_XYZ > volume.data_XYZ.min()
            found["as they are"] += judged(volume, brain_XYZ, pool)
            found["with speckle"] += judged(speckled(volume, brain_XYZ, seed), brain_XYZ, pool)
    return {
        "volumes": [path.name for path in paths],
        "settings": CUTS.settings(),
        "edges": EDGES,
        "planes": {kind: tally(planes) for kind, planes in found.items()},
    }


def tally(planes: Sequence[Judged]) -> dict[str, Any]:
    """Return the planes in each bin of true share, and each rule's wrong, uncertain and lost ones."""
    bins = np.maximum(np.searchsorted(EDGES, [plane.truth for plane in planes], side="left"), 1) - 1

    def count(chosen: Sequence[bool]) -> list[int]:
        counts: list[int] = np.bincount(bins[np.array(chosen, bool)], minlength=len(BINS)).tolist()
        return counts

    by_rule = {
        rule: {
            "wrong": count([plane.wrong(rule) for plane in planes]),
            "uncertain": count([plane.calls[rule] == UNCERTAIN for plane in planes]),
            "lost": count([plane.calls[rule] == LOST for plane in planes]),
        }
        for rule in RULES
    }
    return {"all": count([True] * len(planes)), "rules": by_rule}


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the share of planes that each rule calls wrongly, by true share of brain."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (kind, counts) in zip(axes, found["planes"].items(), strict=True):
        for place, rule in enumerate(RULES):
            share = 100 * np.array(counts["rules"][rule]["wrong"]) / np.maximum(counts["all"], 1)
            at = np.arange(len(BINS)) + 0.27 * (place - 1)
            ax.bar(at, share, 0.25, color=GREYS[place], edgecolor="black", linewidth=0.8, label=WORDS[place])
        ticks = [f"{name}\n{planes}" for name, planes in zip(BINS, counts["all"], strict=True)]
        ax.set_xticks(np.arange(len(BINS)), ticks, fontsize=8)
        ax.set_title(f"{sum(counts['all'])} planes {kind}", fontsize=10)
    axes[0].set_ylabel("planes called wrongly, %")
    figure.supxlabel("brain, share of the disc; below, how many planes show so much", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    save(figure, path)


def table(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    ends = ["all wrong", "uncertain", "never written"]
    yield _line(["planes", "rule", *BINS, *ends])
    yield _line(["---"] * (len(BINS) + 5))
    for kind, counts in found["planes"].items():
        yield _line([kind, "planes in all", *counts["all"], f"of {sum(counts['all'])}", "", ""])
        for rule, each in counts["rules"].items():
            yield _line(
                ["", rule, *each["wrong"], *(sum(each[what]) for what in ("wrong", "uncertain", "lost"))]
            )


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--volumes", type=Path, required=True, help="folder with skull-stripped sb_*.nrrd")
    parser.add_argument("--json", type=Path, help="where to write the counts")
    parser.add_argument("--figure", type=Path, help="where to draw them, as SVG")
    options = parser.parse_args()
    found = measure(sorted(options.volumes.glob("sb_*.nrrd")))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.figure:
        draw(found, options.figure)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
