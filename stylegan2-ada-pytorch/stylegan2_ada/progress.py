"""What a run says of itself: a line for who watches, rows of JSON, TensorBoard's events where it can."""

import json
import logging
import resource
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan2_ada.training_state import SKIPPED

log = logging.getLogger(__name__)

STATS, EVENTS = "stats.jsonl", "events"


def ignore(*_: object) -> None:
    """Listen to nothing."""


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}" if seconds < 10 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def memory_gb(device: torch.device) -> float:
    """Return the most memory that this process has held, of the GPU where it uses one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    kilo = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo / 1e9


def line(row: Mapping[str, float], kimg: float, pace: float, memory: float) -> str:
    """Return one line about a row of statistics of a run of so many kimg, at a pace in seconds per kimg."""
    parts = [
        f"kimg {row['kimg']:.4g}/{kimg:g}",
        f"{pace:.3g} s/kimg",
        f"ETA {duration(max(kimg - row['kimg'], 0) * pace)}",
        f"p {row['augment_p']:.3g}",
        " ".join(f"{name[0].upper()} {row[name]:.3g}" for name in ("g_loss", "d_loss") if name in row),
        f"mem {memory:.1f} GB",
    ]
    more = [name for name in ("kid", "fid") if name in row]
    more += [name for name in row if name.startswith(SKIPPED) and row[name]]  # share of a phase's steps
    return " | ".join(parts + [f"{name} {row[name]:.3g}" for name in more])


class Journal:
    """The files that grow with a run; what was written after the state it goes on from is dropped."""

    def __init__(self, folder: Path, history: Sequence[Mapping[str, float]]) -> None:
        self.path = folder / STATS
        rows = self.path.read_text().splitlines() if self.path.is_file() else []
        self.path.write_text("".join(row + "\n" for row in rows[: len(history)]))
        self.board = _board(folder / EVENTS, round(history[-1]["kimg"] * 1000) + 1 if history else 0)

    def add(self, row: Mapping[str, float], **times: float) -> None:
        """Write a row of statistics, with times that differ from run to run."""
        full = {**row, **{name: round(value, 3) for name, value in times.items()}}
        with self.path.open("a") as file:
            file.write(json.dumps(full) + "\n")
        if self.board is not None:
            for name, value in full.items():
                self.board.add_scalar(name, value, round(row["kimg"] * 1000))
            self.board.flush()

    def show(self, name: str, grid: Tensor, images: int) -> None:
        """Keep a grid of uint8 images, N x C x H x W, for TensorBoard."""
        if self.board is not None:
            self.board.add_images(name, grid[:16], images)

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self.board is not None:
            self.board.close()


def _board(folder: Path, first: int) -> Any:
    """Return TensorBoard's writer, whose steps are images seen, or None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own dependencies
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info("no TensorBoard events: the package tensorboard is not installed")
            return None
        return SummaryWriter(str(folder), purge_step=first)
