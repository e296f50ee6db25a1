"""Planes a second, ours beside the notebook's method, on the same volume, in turn, in one process.

python -m benchmarks.extraction --volume V.nrrd --json F

Each goes its whole way: reads the file, cuts, encodes, writes. Ours cuts every plane of nine angles, 1 mm
apart, into a PlaneSet, on all cores. The notebook's, one process as it was, would take a minute: in each
round it cuts all planes of one of its nine angles, about both axes. The rate of either is that of its best
round, so that what else the machine does meets both alike.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import notebook_extraction
from benchmarks.machine import machine
from components.extract_planes.cut import Cuts, cut_planes, volume_hash
from components.shared import storage
from components.shared.geometry import Anatomy
from components.shared.planes import PlaneSetWriter
from components.shared.snapshots import VolumeEntry
from components.shared.volumes import Volume, read_volume

CUTS = Cuts(
    plane_angles_deg=(-20.0, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0),
    plane_spacing_mm=1.0,
    field_of_view_mm=120.0,
)


def anatomy_of(volume: Volume) -> Anatomy:
    """Return a volume ready to be cut as CUTS says."""
    return Anatomy.of(volume, CUTS.window)


def ours(path: Path, out: Path) -> int:
    """Extract every plane of a volume into a PlaneSet and return how many there are."""
    digest = storage.hash_file(path)
    entry = VolumeEntry(
        name=path.name, size=path.stat().st_size, digest=digest, patient=path.stem, session="", site=""
    )
    planes = 0
    with PlaneSetWriter(folder=out, side=CUTS.side_px) as writer, ThreadPoolExecutor(os.cpu_count()) as pool:
        anatomy = anatomy_of(read_volume(path))
        for png, row in cut_planes(CUTS, entry, volume_hash([digest]), anatomy, pool):
            writer.add_png(png, row)
            planes += 1
    return planes


def notebook(path: Path, turn: int, out: Path) -> int:
    """Extract one angle's planes of a volume as the notebook does and return how many there are."""
    angle = notebook_extraction.ANGLES_DEG[turn % len(notebook_extraction.ANGLES_DEG)]
    return notebook_extraction.extract(read_volume(path).data_XYZ, path.stem, out, [angle])


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Return both rates, their ratio, and every round behind them."""
    taken: dict[str, list[dict[str, float]]] = {"ours": [], "notebook": []}
    for turn in range(rounds):
        taken["ours"].append(_timed(partial(ours, path)))
        taken["notebook"].append(_timed(partial(notebook, path, 4 * turn)))
    rates = {who: max(each["planes"] / each["seconds"] for each in all_) for who, all_ in taken.items()}
    return {
        "ratio": rates["ours"] / rates["notebook"],
        "planes_per_second": rates,
        "rounds": taken,
        "volume": {"name": path.name, "sizes": list(read_volume(path).data_XYZ.shape)},
        "settings": {"ours": CUTS.settings(), "notebook": {"angles_deg": notebook_extraction.ANGLES_DEG}},
        "machine": machine(),
    }


def _timed(extract: Callable[[Path], int]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        planes = extract(Path(scratch))
        return {"planes": planes, "seconds": time.perf_counter() - start}


def main() -> None:
    """Print both rates, and write all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--volume", type=Path, required=True, help="an NRRD file")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured, in turn")
    options = parser.parse_args()
    found = compare(options.volume, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    rates = found["planes_per_second"]
    print(f"ours                 {rates['ours']:8.1f} planes/s on {os.cpu_count()} cores")
    print(f"the notebook's       {rates['notebook']:8.1f} planes/s")
    print(f"ratio                {found['ratio']:8.1f}")


if __name__ == "__main__":
    main()
