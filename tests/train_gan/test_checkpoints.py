import json
import logging
import os
import socket
import time
from pathlib import Path

import pytest

from components.shared.faults import InputError
from components.train_gan import checkpoints
from components.train_gan.checkpoints import Mirror, run_folder
from tests.train_gan.test_stage import bucket, files

__all__ = ["bucket"]  # a fixture


def test_a_mirror_drops_what_is_gone_and_stores_what_is_new(bucket: str, tmp_path: Path) -> None:
    there, here = Mirror(bucket, tmp_path / "there"), Mirror(bucket, tmp_path / "here")
    here.pull()
    (tmp_path / "here" / "snapshots").mkdir(parents=True)
    for name in (
        "checkpoint-1.pt",
        "checkpoint-1.json",
        "stats.jsonl",
        "snapshots/a.png",
        "cut.part",
        "run.lock",
    ):
        (tmp_path / "here" / name).write_text("1")
    here.push()
    (tmp_path / "here" / "checkpoint-1.pt").unlink()
    (tmp_path / "here" / "stats.jsonl").write_text("2")
    here.push()
    there.pull()
    assert files(tmp_path / "there") == {
        "checkpoint-1.json": b"1",
        "stats.jsonl": b"2",
        "snapshots/a.png": b"1",
    }


def plant(folder: Path, renewed: float) -> None:
    held = {"owner": "other", "host": socket.gethostname(), "process": os.getpid(), "renewed": renewed}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lease.json").write_text(json.dumps(held))


def test_a_run_waits_until_the_other_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lease = tmp_path / "leases/run"
    plant(lease, time.time())
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            plant(lease, renewed=0)  # the other died

    monkeypatch.setattr(checkpoints.time, "sleep", nap)
    with (
        caplog.at_level(logging.WARNING),
        run_folder(str(tmp_path), "run", tmp_path / "scratch") as folder,
    ):
        assert folder.path == tmp_path / "run"
        assert json.loads((lease / "lease.json").read_text())["process"] == os.getpid()
    assert naps == [15.0] * 3
    assert caplog.text.count("held by run other") == 1


def test_a_place_that_cannot_be_used_is_not_waited_for(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="not a place"),
        run_folder("ftp://a/b", "run", tmp_path / "scratch"),
    ):
        pass


def test_a_bucket_gets_fewer_checkpoints(bucket: str, tmp_path: Path) -> None:
    with (
        run_folder(bucket, "run", tmp_path / "scratch") as far,
        run_folder(str(tmp_path / "kept"), "run", tmp_path / "other") as near,
    ):
        assert near.checkpoint_seconds == 60 and far.checkpoint_seconds == 600
