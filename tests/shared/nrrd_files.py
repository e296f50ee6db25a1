"""Small NRRD files, written by hand so that each can be odd in one way, and what reading them takes."""

import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ZOO = Path(__file__).parents[3] / "shared" / "data" / "nrrd_zoo"
COUNTING = np.arange(60, dtype=np.uint8)
DIRECTIONS = "(0.5,0,0) (0,0.6,0) (0,0,0.7)"
FIELDS = {
    "type": "uint8",
    "dimension": "3",
    "sizes": "5 4 3",
    "space": "left-posterior-superior",
    "space directions": DIRECTIONS,
    "space origin": "(1,2,3)",
    "encoding": "raw",
}
LITTLE = 2**21  # bytes that any read may take beside twice the volume: header, one piece, text as numbers
LPS = [[-0.5, 0, 0, -1], [0, -0.6, 0, -2], [0, 0, 0.7, 3]]


def make(path, changes=(), payload=None, end="\n"):
    """A small NRRD file with some fields changed; None drops a field."""
    fields = {name: value for name, value in (FIELDS | dict(changes)).items() if value is not None}
    head = end.join(["NRRD0005", *(f"{name}: {value}" for name, value in fields.items()), "", ""])
    path.write_bytes(head.encode() + (COUNTING.tobytes() if payload is None else payload))
    return path


@contextmanager
def memory():
    """Yield a function that tells the most bytes held so far within the block."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
