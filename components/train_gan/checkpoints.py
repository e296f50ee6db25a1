"""The folder a GAN run works in, kept where a stopped run finds it again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from components.shared import storage

_GROWING = ("stats.jsonl", "samples.png")  # files that a run writes again


@contextmanager
def run_folder(uri: str, run: str, scratch: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Yield the run's folder and what to call once a checkpoint is written.

    A local place is worked in directly; a bucket is mirrored; without a place the folder is thrown away.
    """
    if not uri:
        yield scratch, _nothing
    elif "://" in uri and not uri.startswith("file://"):
        mirror = Mirror(storage.join(uri, run), scratch)
        mirror.pull()
        yield scratch, mirror.push
    else:
        yield Path(unquote(uri.removeprefix("file://"))).expanduser() / run, _nothing


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
        self.stored = self._names()

    def push(self) -> None:
        """Store what is new, and drop what is gone here."""
        names = self._names()
        # A checkpoint's JSON vouches for its tensors, so it follows them.
        for name in sorted(names, key=lambda name: (name.endswith(".json"), name)):
            if name not in self.stored or name in _GROWING:
                storage.upload(self.folder / name, storage.join(self.uri, name))
        for name in self.stored - names:
            storage.delete(storage.join(self.uri, name))
        self.stored = names

    def _names(self) -> set[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".part")
        return {path.relative_to(self.folder).as_posix() for path in files}
