"""Checkpoints of a whole training state: written atomically, bound to one run, the last few kept.

checkpoint-<run>-<images>.pt    tensors and numbers, read with weights_only; <images>-within: of no tick's end
checkpoint-<run>-<images>.json  size and hash of the former; written after it
"""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from stylegan2_ada.files import read_json, sha256, whole, write_json

_LEFTOVER_S = 3600.0  # age of a half-written file that nobody writes any more

_WITHIN = "-within"  # sorts before the end of the same tick

log = logging.getLogger(__name__)


def write(
    folder: Path, run: str, images: int, state: Mapping[str, Any], keep: int = 3, *, within_tick: bool = False
) -> Path:
    """Write a checkpoint of the run (a digest) after so many images, then drop all but the last few.

    One from within a tick has a name of its own: the end of the tick may follow after as many images, and a
    checkpoint is never replaced by another, which would leave none where that is cut short.
    """
    path = folder / f"checkpoint-{run[:12]}-{images:011}{_WITHIN if within_tick else ''}.pt"
    with whole(path) as part:
        with part.open("wb") as file:
            torch.save(dict(state), file)
        digest = sha256(part)
    write_json(path.with_suffix(".json"), {"run": run, "images": images, "sha256": digest})
    _prune(folder, run, path, keep)
    _remove_leftovers(folder)
    return path


def _prune(folder: Path, run: str, written: Path, keep: int) -> None:
    """Drop all but the last few sealed checkpoints up to the one just written.

    What lies ahead of it was found damaged when the run went on from an earlier one: it must not count.
    """
    mine = paths(folder, run)
    sealed = [old for old in mine if old <= written and old.with_suffix(".json").is_file()]
    for old in set(mine) - set(sealed[-keep:]):
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed long ago had half written."""
    for part in folder.glob("checkpoint-*.part"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _LEFTOVER_S:
                part.unlink()


def remove_all(folder: Path) -> None:
    """Remove every checkpoint of every run, and what killed processes left half written."""
    for path in folder.glob("checkpoint-*"):
        path.unlink()


def paths(folder: Path, run: str = "") -> list[Path]:
    """Return the checkpoints of a run, oldest first, whole or not; without a run, those of all."""
    return sorted(folder.glob(f"checkpoint-{run[:12]}*.pt"))


def newest(folder: Path, run: str) -> Path | None:
    """Return the newest whole checkpoint of the run, or None; a damaged one is skipped with a warning."""
    for path in reversed(paths(folder, run)):
        if _is_whole(path, run):
            return path
        log.warning("%s: damaged, skipped", path)
    return None


def read_latest(folder: Path, run: str, device: torch.device) -> dict[str, Any] | None:
    """Read the newest whole checkpoint of the run, or return None."""
    path = newest(folder, run)
    if path is None:
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _is_whole(path: Path, run: str) -> bool:
    try:
        about = read_json(path.with_suffix(".json"))
    except (OSError, ValueError):
        return False
    return bool(about.get("run") == run and about.get("sha256") == sha256(path))
