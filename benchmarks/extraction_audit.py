"""Whether the class can be read from planes of blocks that show nothing: the notebook's method, and ours.

python -m benchmarks.extraction_audit --json F

Constant blocks, shaped like real volumes at a third of their size, go through both, the notebook's at three
of its nine angles. A plane is taken for what the nearest one on pixels is, among the planes of all other
blocks; one half counts where coronal and sagittal ones are equally near. 0.5 is chance.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import notebook_extraction
from benchmarks.extraction import CUTS, anatomy_of
from components.extract_planes.cut import cut_planes
from components.shared.planes import SAGITTAL
from components.shared.png import decode_png
from components.shared.snapshots import VolumeEntry
from components.shared.volumes import Volume

SHAPES = ((45, 63, 52), (65, 58, 56), (84, 63, 72), (49, 35, 42), (60, 46, 64), (56, 56, 48))
SPACING_MM = 2.0
ANGLES_DEG = (-21, -1, 19)
BLOCKS = 32  # a picture is judged as 32 x 32 sums; whole numbers, so that equal pictures tie exactly

Planes = list[tuple[NDArray[np.float64], bool]]  # sums, and whether sagittal


def by_notebook(shape: Sequence[int]) -> Planes:
    """Return the planes of a constant block as the notebook draws them, noise left out."""
    with tempfile.TemporaryDirectory() as scratch:
        notebook_extraction.extract(np.full(shape, 100, np.uint8), "block", Path(scratch), ANGLES_DEG)
        return [
            (_sums(picture_HW), label == notebook_extraction.SAGITTAL)
            for label in (notebook_extraction.SAGITTAL, notebook_extraction.CORONAL)
            for picture_HW in notebook_extraction.pictures(Path(scratch), label)
        ]


def by_ours(shape: Sequence[int]) -> Planes:
    """Return the planes of a constant block as this suite extracts them."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    anatomy = anatomy_of(Volume(data_XYZ=np.full(shape, 100, np.uint8), affine=affine))
    nobody = VolumeEntry(name="", size=0, digest="", patient="", session="", site="")
    with ThreadPoolExecutor(1) as pool:
        planes = list(cut_planes(CUTS, nobody, "", anatomy, pool))
    return [(_sums(decode_png(png)), row.plane == SAGITTAL) for png, row in planes]


def accuracy(blocks: Sequence[Planes]) -> float:
    """Return how often the nearest plane of another block is of the same class; classes weigh alike."""
    features_NF = np.stack([sums for block in blocks for sums, _ in block])
    sagittal_N = np.array([sagittal for block in blocks for _, sagittal in block])
    block_N = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    scores_N = np.concatenate(list(_scores(features_NF, sagittal_N, block_N)))
    return float(np.mean([scores_N[sagittal_N == each].mean() for each in (False, True)]))


def _scores(
    features_NF: NDArray[Any], sagittal_N: NDArray[Any], block_N: NDArray[Any]
) -> Iterator[NDArray[Any]]:
    squares_N = (features_NF**2).sum(axis=1)
    for block in np.unique(block_N):
        held, rest = block_N == block, block_N != block
        distances = squares_N[rest] - 2 * features_NF[held] @ features_NF[rest].T
        nearest = distances == distances.min(axis=1, keepdims=True)
        as_sagittal = (nearest & sagittal_N[rest]).any(axis=1)
        as_coronal = (nearest & ~sagittal_N[rest]).any(axis=1)
        yield np.where(as_sagittal & as_coronal, 0.5, as_sagittal == sagittal_N[held])


def _sums(picture_HW: NDArray[np.uint8]) -> NDArray[np.float64]:
    side = len(picture_HW) // BLOCKS
    squares = picture_HW.reshape(BLOCKS, side, BLOCKS, side)
    return np.asarray(squares.sum(axis=(1, 3), dtype=np.float64)).ravel()


def main() -> None:
    """Print both accuracies, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the accuracies")
    options = parser.parse_args()
    ways = {"notebook": by_notebook, "ours": by_ours}
    found = {name: accuracy([way(shape) for shape in SHAPES]) for name, way in ways.items()}
    if options.json:
        options.json.write_text(json.dumps({"accuracy": found, "shapes": SHAPES}, indent=2) + "\n")
    for name, value in found.items():
        print(f"{name:<10}{value:.3f}")


if __name__ == "__main__":
    main()
