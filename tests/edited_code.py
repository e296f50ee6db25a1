"""A module that says something else than it did, to all who ask for the digest of the code."""

from pathlib import Path

import pytest

from components.shared import code


def edit(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module, such as components/train_gan/stage.py, be another; its copy lies in the folder."""
    original, copy = code._sources, folder / "edited.py"

    def sources(package):
        for path, found in original(package):
            if found == name:
                copy.write_bytes(path.read_bytes() + b"\n# another thought\n")
            yield (copy if found == name else path), found

    monkeypatch.setattr(code, "_sources", sources)
