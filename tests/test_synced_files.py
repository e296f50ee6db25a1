"""No file has its name before the disk holds its bytes, so that a power cut leaves none that is empty."""

import os
from pathlib import Path

import pytest
from stylegan2_ada import checkpoint
from stylegan2_ada.files import write_json

from components.shared import storage
from components.shared.files import write_whole


def replace(path):
    path.write_bytes(b"before")
    _, generation = storage.read_versioned(str(path))
    assert storage.replace(str(path), b"after", generation)


def send(path):
    (path.parent / "source").write_bytes(b"sent")
    storage.upload(path.parent / "source", str(path))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: storage.create(str(path), b"created"),
        replace,
        send,
        lambda path: write_whole(path, "written"),
        lambda path: write_json(path, {"a": 1}),
        lambda path: checkpoint.write(path.parent, "a" * 64, 4, {"images": 4}),
    ],
    ids=["create", "replace", "send", "whole", "json", "checkpoint"],
)
def test_bytes_are_on_the_disk_before_the_name_is_given(tmp_path, monkeypatch, write):
    held, named, fsync, link, rename = set(), [], os.fsync, os.link, Path.replace

    def name(source, target, give):
        named.append(Path(source).stat().st_ino in held)
        return give(source, target)

    monkeypatch.setattr(os, "fsync", lambda file: held.add(os.fstat(file).st_ino) or fsync(file))
    monkeypatch.setattr(os, "link", lambda source, target: name(source, target, link))
    monkeypatch.setattr(Path, "replace", lambda source, target: name(source, target, rename))
    write(tmp_path / "file")
    assert named and all(named)
