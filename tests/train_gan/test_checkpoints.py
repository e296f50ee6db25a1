import json
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from components.shared import lease as leases
from components.shared import storage
from components.shared.faults import InputError
from components.shared.processes import machine
from components.shared.storage import patience
from components.shared.storage.clients import aws
from components.train_gan.checkpoints import Mirror, run_folder
from tests.shared.buckets import s3_bucket
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


def write_checkpoint(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    for suffix in (".pt", ".json"):
        (folder / f"{name}{suffix}").write_text(text)


def test_a_store_that_is_away_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "here"
    with s3_bucket(monkeypatch) as (place, _):
        here = Mirror(f"{place}/gan", folder)
        write_checkpoint(folder, "checkpoint-1", "1")
        away = os.environ["AWS_ENDPOINT_URL"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setattr(patience, "PATIENT", patience.Patience(whole_s=0.5))
        aws.cache_clear()
        here.push()
        assert "the checkpoint is not stored" in caplog.text
        monkeypatch.setenv("AWS_ENDPOINT_URL", away)
        aws.cache_clear()
        write_checkpoint(folder, "checkpoint-2", "2")
        here.push()
        Mirror(f"{place}/gan", tmp_path / "there").pull()
    assert files(tmp_path / "there") == files(folder)


def test_a_checkpoint_cut_off_on_its_way_is_sent_again(bucket: str, tmp_path: Path) -> None:
    storage.create(f"{bucket}/checkpoint-1.pt", b"cut")
    here, there = Mirror(bucket, tmp_path / "here"), Mirror(bucket, tmp_path / "there")
    here.pull()
    write_checkpoint(tmp_path / "here", "checkpoint-1", "whole")
    here.push()
    there.pull()
    assert set(files(tmp_path / "there").values()) == {b"whole"}


@pytest.mark.parametrize("of", ["upload", "delete"])
@pytest.mark.parametrize("after", range(4))
def test_cut_off_anywhere_in_a_push_no_half_checkpoint_is_taken_or_left(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, after: int
) -> None:
    here, done = Mirror(bucket, tmp_path / "here"), list[str]()
    write_checkpoint(here.folder, "checkpoint-1", "1")
    here.push()
    write_checkpoint(here.folder, "checkpoint-2", "2")
    for old in here.folder.glob("checkpoint-1.*"):
        old.unlink()
    real = getattr(storage, of)

    def cut(*given: object) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(str(given[-1]))
        real(*given)

    monkeypatch.setattr(storage, of, cut)
    with suppress(KeyboardInterrupt):
        here.push()
    monkeypatch.setattr(storage, of, real)
    there = Mirror(bucket, tmp_path / "there")
    there.pull()
    for place in (files(there.folder), {found.name: b"" for found in storage.list_tree(bucket)}):
        whole = {Path(name).stem for name in place if name.endswith(".json")}
        assert whole and {Path(name).stem for name in place} == whole
        assert {Path(name).stem for name in place if name.endswith(".pt")} == whole


def plant(folder: Path, renewed: float) -> None:
    held = {"owner": "other", "host": "pod", "machine": machine(), "process": os.getpid(), "renewed": renewed}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lease.json").write_text(json.dumps(held))


def test_a_run_waits_until_the_other_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONTANELLE_EVENTS", str(tmp_path / "events"))
    lease = tmp_path / "leases/run"
    plant(lease, time.time())
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            plant(lease, renewed=0)  # the other died

    monkeypatch.setattr(leases.time, "sleep", nap)
    with run_folder(str(tmp_path), "run", tmp_path / "scratch") as folder:
        assert folder.path == tmp_path / "run"
        assert json.loads((lease / "lease.json").read_text())["process"] == os.getpid()
    assert naps == [15.0] * 3
    assert (tmp_path / "events").read_text().count("held by run other") == 1


def test_a_place_that_cannot_be_used_is_not_waited_for(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="not a place"),
        run_folder("ftp://a/b", "run", tmp_path / "scratch"),
    ):
        pass


def test_a_bucket_that_may_be_read_alone_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_bucket(monkeypatch) as (place, server):
        plant(tmp_path, renewed=0)
        storage.create(f"{place}/leases/run/lease.json", (tmp_path / "lease.json").read_bytes())
        server.faults.waiting.extend(["403"] * 20)  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="403"), run_folder(place, "run", tmp_path / "scratch"):
            pass


def test_a_bucket_gets_fewer_checkpoints(bucket: str, tmp_path: Path) -> None:
    with (
        run_folder(bucket, "run", tmp_path / "scratch") as far,
        run_folder(str(tmp_path / "kept"), "run", tmp_path / "other") as near,
    ):
        assert near.checkpoint_seconds == 60 and far.checkpoint_seconds == 600
