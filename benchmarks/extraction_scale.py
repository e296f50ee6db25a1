"""Seconds and peak memory of the stage that extracts planes, against the number of volumes.

python -m benchmarks.extraction_scale --volume V.nrrd --json F --figure docs/extraction_scale.svg

One volume is repeated, a voxel changed each time so that no copy is taken for another. Each number of volumes
is a process of its own, whose own report of its peak memory is taken, the interpreter and libraries included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.extraction import CUTS
from benchmarks.figures import save
from benchmarks.machine import machine
from components.extract_planes.stage import Config, extract_planes
from components.shared.volumes import read_volume, write_volume
from components.snapshot_volumes import stage as snapshot_volumes

NUMBERS = (5, 10, 15, 30)
PATTERN = r"^(?P<patient>.+)\.nrrd$"


def repeat(path: Path, number: int, folder: Path) -> None:
    """Write a volume so many times, no two alike."""
    volume = read_volume(path)
    for copy in range(number):
        data_XYZ = np.array(volume.data_XYZ, order="F")
        data_XYZ.ravel(order="K")[copy] += 1
        write_volume(folder / f"copy{copy:02}.nrrd", replace(volume, data_XYZ=data_XYZ))


def extract(path: Path, number: int) -> dict[str, float]:
    """Run the stage over so many volumes in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        volumes, state = Path(scratch, "volumes"), Path(scratch, "state")
        volumes.mkdir()
        repeat(path, number, volumes)
        listing = snapshot_volumes.Config(
            volumes_uri=str(volumes), patient_pattern=PATTERN, state_uri=str(state)
        )
        config = Config(
            volumes_uri=str(volumes),
            state_uri=str(state),
            snapshot_digest=snapshot_volumes.snapshot(listing),
            cuts=CUTS,
        )
        start = time.perf_counter()
        planes = sum(extract_planes(config, Path(scratch, "planes")).values())
        seconds = time.perf_counter() - start
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"volumes": number, "planes": planes, "seconds": seconds, "peak_mb": peak_kb / 1024}


def in_a_child(path: Path, number: int) -> dict[str, float]:
    """Run the stage over so many volumes in a process of its own."""
    options = ["--volume", str(path), "--only", str(number)]
    command = [sys.executable, "-m", "benchmarks.extraction_scale", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603  this very module
    found: dict[str, float] = json.loads(done.stdout)
    return found


def summary(points: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the straight line through the seconds, how far they are off it, and how memory grows."""
    volumes, seconds, memory = (
        np.array([p[name] for p in points]) for name in ("volumes", "seconds", "peak_mb")
    )
    slope, start = np.polyfit(volumes, seconds, 1)
    off = np.abs(seconds - (start + slope * volumes)) / seconds
    return {
        "points": list(points),
        "seconds_a_volume": float(slope),
        "seconds_to_start": float(start),
        "furthest_off_the_line": float(off.max()),
        "mb_a_volume": float(np.polyfit(volumes, memory, 1)[0]),
        "machine": machine(),
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw seconds and memory against the number of volumes."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    volumes = np.array([point["volumes"] for point in found["points"]])
    left.plot(volumes, found["seconds_to_start"] + found["seconds_a_volume"] * volumes, "k-", linewidth=0.8)
    for ax, name, label in ((left, "seconds", "seconds"), (right, "peak_mb", "peak memory, MB")):
        ax.plot(volumes, [point[name] for point in found["points"]], "ko", markersize=4)
        ax.set_xlim(0, None)
        ax.set_ylim(0, 1.15 * max(point[name] for point in found["points"]))
        ax.set_xlabel("volumes")
        ax.set_ylabel(label)
    save(figure, path)


def main() -> None:
    """Print a table, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--volume", type=Path, required=True, help="an NRRD file")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--figure", type=Path, help="where to draw them, as SVG")
    parser.add_argument("--only", type=int, help="one number of volumes, in this process, as JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(extract(options.volume, options.only)))
        return
    found = summary([in_a_child(options.volume, number) for number in NUMBERS])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.figure:
        draw(found, options.figure)
    for point in found["points"]:
        print("{volumes:4} volumes {planes:6} planes {seconds:7.1f} s {peak_mb:6.0f} MB".format(**point))


if __name__ == "__main__":
    main()
