"""Local files that are either whole or absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file takes its name when the body ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    yield part
    part.replace(path)


def write_whole(path: Path, text: str) -> None:
    """Write a text file as one."""
    with whole(path) as part:
        part.write_text(text)
