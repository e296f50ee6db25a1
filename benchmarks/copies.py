"""How often the memorisation check is wrong, on real planes whose truth is known.

    python -m benchmarks.copies --planes FOLDER [--json F]

False alarms: each patient's planes are judged against all others', as if a GAN had made them. Found: planes
are shown under another grey scale, a shift of up to 2 pixels, slight blur and mirrored, at the sides a GAN
may have. FOLDER is a PlaneSet of several patients.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from components.judge_synthetic.copies import are_copies, reference_of
from components.judge_synthetic.likeness import nearest, shrunk, views_of
from components.shared.planes import GAN_CLASSES, SYNTHETIC, PlaneRow, PlaneSet, PlaneSetWriter

SIDES_PX = (32, 64, 256)
_TRIED = 500  # planes that are disturbed, at most

Grey = NDArray[np.uint8]


def false_alarms(planes: PlaneSet, rows: Sequence[PlaneRow], at: torch.device) -> float:
    """Return the share of planes of patients that were left out which are called copies."""
    views_NHW = views_of(planes, rows, at)
    names = np.array([row.patient for row in rows])
    called = []
    for patient in sorted(set(names.tolist())):
        others = names != patient
        reference = reference_of(views_NHW[others], [r for r in rows if r.patient != patient])
        called += are_copies(nearest(views_NHW[~others], views_NHW[others]), reference).tolist()
    return float(np.mean(called))


def found(planes: PlaneSet, rows: Sequence[PlaneRow], side: int, at: torch.device) -> float:
    """Return the share of disturbed copies of planes, shown at a side in pixels, which are called copies."""
    rng = np.random.default_rng(side)
    chosen = [rows[k] for k in rng.permutation(len(rows))[:_TRIED]]
    with tempfile.TemporaryDirectory() as folder:
        with PlaneSetWriter(folder=Path(folder), side=side) as writer:
            for number, image_HW in enumerate(planes.images(chosen)):
                row = PlaneRow(image=f"synthetic/{number:06}.png", source=SYNTHETIC)
                writer.add(disturbed(image_HW, side, rng), row)
        copied = PlaneSet.open(Path(folder))
        fakes_NHW = views_of(copied, copied.rows, at)
    views_NHW = views_of(planes, rows, at)
    return float(are_copies(nearest(fakes_NHW, views_NHW), reference_of(views_NHW, rows)).mean())


def disturbed(image_HW: Grey, side: int, rng: np.random.Generator) -> Grey:
    """Return a plane as a GAN that learnt it by heart might draw it."""
    grey_HW = gaussian_filter(image_HW.astype(float), rng.uniform(0.3, 1.0) * len(image_HW) / 256)
    grey_HW = grey_HW * rng.uniform(0.85, 1.15) + rng.uniform(-8, 8) * (grey_HW > 2)
    small_HW = shrunk(np.clip(np.rint(grey_HW), 0, 255).astype(np.uint8), side)
    moved_HW = np.roll(small_HW, tuple(rng.integers(-2, 3, 2)), (0, 1))
    return np.ascontiguousarray(moved_HW if rng.uniform() < 0.5 else moved_HW[:, ::-1])


def main() -> None:
    """Print the rates, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--planes", type=Path, required=True, help="folder of a PlaneSet")
    parser.add_argument("--json", type=Path, help="file for the rates")
    options = parser.parse_args()
    planes = PlaneSet.open(options.planes)
    rows = [row for row in planes.rows if row.label in GAN_CLASSES]
    at = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {
        "planes": len(rows),
        "patients": len({row.patient for row in rows}),
        "false_alarms": false_alarms(planes, rows, at),
        "found": {f"{side} px": found(planes, rows, side, at) for side in SIDES_PX},
    }
    print(json.dumps(rates, indent=2))
    if options.json:
        options.json.write_text(json.dumps(rates, indent=2) + "\n")


if __name__ == "__main__":
    main()
