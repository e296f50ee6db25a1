"""The folder a GAN run works in, kept where a stopped run finds it again."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.shared import storage
from components.shared.descendants import SEEN
from components.shared.faults import AwayError, InputError
from components.shared.lease import waiting_lease

log = logging.getLogger(__name__)

_GROWING = ("stats.jsonl", "samples.png")  # files that a run writes again
_LOCAL_S = 60.0  # between two checkpoints
_BUCKET_S = 600.0  # a checkpoint is about 660 MB at 256 pixels, and all of it is sent


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Where a run works, and how it keeps what it wrote there."""

    path: Path
    save: Callable[[], None]  # to be called once something is written
    checkpoint_seconds: float


@contextmanager
def run_folder(uri: str, run: str, scratch: Path) -> Iterator[RunFolder]:
    """Yield the run's folder, which no other process works in meanwhile.

    A local place is worked in directly; a bucket is mirrored; without a place the folder is thrown away.
    """
    if not uri:
        yield RunFolder(path=scratch, save=_nothing, checkpoint_seconds=_LOCAL_S)
        return
    beside = storage.join(uri, "leases", run)  # not in the folder: a mirror must not copy it
    with waiting_lease(beside, "this GAN"):
        folder = storage.local_path(storage.join(uri, run))
        if folder is not None:
            yield RunFolder(path=folder, save=_nothing, checkpoint_seconds=_LOCAL_S)
            return
        mirror = Mirror(storage.join(uri, run), scratch)
        mirror.pull()
        yield RunFolder(path=scratch, save=mirror.push, checkpoint_seconds=_BUCKET_S)


def name_seen(uri: str, run: str, seen: Mapping[str, Sequence[str]]) -> None:
    """Say whom and what the checkpoints of a run descend from, beside its folder, which is the training's."""
    storage.create(storage.join(uri, SEEN, f"{run}.json"), json.dumps(seen).encode())


def _nothing() -> None:
    pass


class Mirror:
    """A folder whose files are kept in a bucket too."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self.stored: set[str] = set()

    def pull(self) -> None:
        """Fetch what an earlier run stored."""
        try:
            storage.download(self.uri, self.folder)
        except FileNotFoundError:
            return
        names = self._names()
        cut = {name for name in names if name.endswith(".pt") and f"{name[:-3]}.json" not in names}
        for name in cut:  # on its way in or out: it is none, and is sent again when it is made again
            (self.folder / name).unlink()
            storage.delete(storage.join(self.uri, name))
        self.stored = names - cut

    def push(self) -> None:
        """Store what is new and drop what is gone here, or say that the next push will.

        A store that does not answer for a while must not cost the days that are not stored yet.
        """
        try:
            self._push()
        except (InputError, AwayError) as error:
            log.warning("the checkpoint is not stored, the next one is tried: %s", error)

    def _push(self) -> None:
        names = self._names()
        # A checkpoint's JSON vouches for its tensors, so it follows them.
        for name in sorted(names, key=lambda name: (name.endswith(".json"), name)):
            if name not in self.stored or name in _GROWING:
                storage.upload(self.folder / name, storage.join(self.uri, name))
                self.stored.add(name)
        for name in sorted(self.stored - names):
            storage.delete(storage.join(self.uri, name))
            self.stored.remove(name)

    def _names(self) -> set[str]:
        kept = (path for path in self.folder.rglob("*") if path.suffix not in (".part", ".lock"))
        files = (path for path in kept if path.is_file())
        return {path.relative_to(self.folder).as_posix() for path in files}
