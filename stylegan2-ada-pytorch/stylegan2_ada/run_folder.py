"""Whose a run's folder is: one run's, and one process's at a time (all of a torchrun count as one)."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stylegan2_ada import checkpoint, weights
from stylegan2_ada.config import TrainingConfig
from stylegan2_ada.errors import UsageError
from stylegan2_ada.files import read_json, sha256, write_json
from stylegan2_ada.image_files import RUN_OPTIONS

LOCK = "run.lock"
FORMAT = 2  # of checkpoints: what other code wrote in another one cannot be gone on from
# Settings that say how far a run goes and how it is worked on and watched, not which steps it takes.
COURSE = ("kimg", "tick_kimg", "batch_gpu", "keep", "snapshot_kimg", "patience", "collapse_ratio")
_OWN_FILES = (
    weights.INFO, weights.GENERATOR, weights.DISCRIMINATOR, "stats.jsonl", "reals.png", "samples.png",
)  # fmt: skip
_OWN_FOLDERS = ("best", "snapshots", "events")

# In a folder: go on with its run, else begin one; go on or refuse; remove its run and begin.
Begin = Literal["if needed", "never", "over"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What two runs share when they take the same steps."""

    config: TrainingConfig  # fully derived
    images: str  # digest of images and labels
    resume: Path | None
    start: Sequence[str | None]  # digests of the networks in it

    @property
    def digest(self) -> str:
        """The hash of all that decides the steps."""
        facts = [FORMAT, _steps(asdict(self.config)), self.images, self.start]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """Return what the folder keeps of it."""
        resume = None if self.resume is None else str(self.resume.resolve())
        facts = {"config": asdict(self.config), "images": self.images, "start": list(self.start)}
        return {**facts, "resume": resume, "format": FORMAT, "code": _code()}


def identity_of(config: TrainingConfig, images: str, resume: Path | None) -> Identity:
    """Return the identity of a run of settings, images (their digest) and the folder it starts from."""
    info = weights.read_info(resume) if resume is not None else {}
    start = [info.get(name) for name in ("digest", "discriminator_digest", "raw_digest")]
    return Identity(config=config, images=images, resume=resume, start=start)


def claim(folder: Path, identity: Identity, begin: Begin) -> None:
    """Make the folder this run's; UsageError where it is another's, with what differs."""
    there = recorded(folder)
    if begin == "over" and there is not None:
        _clear(folder)
    elif there is not None:
        _check_same(folder, there, identity.record())
    elif checkpoint.paths(folder) or (folder / weights.INFO).exists():
        what = f"checkpoints or a network, but no {RUN_OPTIONS}"
        raise UsageError(f"outdir={folder}: holds {what}; valid: another outdir")
    write_json(folder / RUN_OPTIONS, identity.record())


def recorded(folder: Path) -> dict[str, Any] | None:
    """Return what a run wrote of itself, or None; UsageError where something else wrote that file."""
    path = folder / RUN_OPTIONS
    if not path.exists():
        return None
    there = read_json(path)
    if not isinstance(there.get("config"), dict) or not isinstance(there.get("resume", 0), str | None):
        raise UsageError(f"outdir={folder}: {path.name} is of another programme; valid: another outdir")
    return there


def _check_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if different := _differences(there, here):
        raise UsageError(
            f"outdir={folder}: holds another run ({'; '.join(different)}); valid: the settings of that run,"
            " another outdir, or --start-over, which removes it"
        )
    if there.get("code") != here["code"]:
        # A run of days is not lost by an upgrade; equality to the bit is promised for one version alone.
        log.warning(
            "%s: begun by another version of stylegan2_ada (code %s, now %s); its checkpoints are of the same"
            " format, so the run goes on, but may end otherwise than an unbroken one",
            folder, there.get("code"), here["code"],
        )  # fmt: skip


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    before, now = _steps(there["config"]), _steps(here["config"])
    names = [*now, *(name for name in before if name not in now)]
    different = [
        f"{name} {before.get(name, 'unknown')}, now {now.get(name, 'unknown')}"
        for name in names
        if before.get(name) != now.get(name)
    ]
    if there.get("format") != FORMAT:
        different.append(f"checkpoint format {there.get('format', 1)}, now {FORMAT}")
    if there.get("images") != here["images"]:
        images = str(there.get("images", "unknown"))[:12]
        different.append(f"images of digest {images}, now {here['images'][:12]}")
    if there.get("start") != here["start"]:
        different.append(f"start {there['resume']}, now {here['resume']}")
    return different


def _steps(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in COURSE}


def _code() -> str:
    """Return a hash of this package's sources."""
    sources = [sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:12]


def _clear(folder: Path) -> None:
    """Remove a run. What says that one was there goes last: cut short, this is asked for again."""
    checkpoint.remove_all(folder)
    for name in _OWN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (*_OWN_FILES, RUN_OPTIONS):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, and hold it against other processes; UsageError where one holds it.

    The holder's end, however it comes, frees it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(100).strip()
            raise UsageError(f"outdir={folder}: {holder} trains in it; valid: another outdir") from None
        except OSError as error:
            log.warning("%s: not locked (%s), another process in it would not be noticed", folder, error)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
