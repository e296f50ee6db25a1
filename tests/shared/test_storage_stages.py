"""Volumes and state on s3:// through the stages, as in a folder."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.extract_planes.stage import extract_planes
from components.shared import storage
from components.shared.faults import InputError
from components.shared.lease import lease
from components.shared.planes import PlaneSet
from components.shared.storage import transfer
from components.train_gan.checkpoints import run_folder
from components.validate_parameters.stage import Parameters, validate
from tests.extract_planes.test_stage import configured, extracted, volumes
from tests.shared.buckets import s3_bucket

__all__ = ["extracted", "volumes"]  # fixtures


@pytest.fixture
def bucket(monkeypatch):
    with s3_bucket(monkeypatch) as (uri, _):
        yield uri


def test_volumes_and_state_on_s3_give_the_same_planes(volumes, extracted, tmp_path, bucket):
    storage.upload(volumes, f"{bucket}/volumes")
    validate(Parameters(volumes_uri=f"{bucket}/volumes", state_uri=f"{bucket}/state"))
    extract_planes(configured(f"{bucket}/volumes", f"{bucket}/state"), tmp_path / "set")
    assert PlaneSet.open(tmp_path / "set").rows == extracted[0].rows
    with pytest.raises(InputError, match=r"^state_uri=s3://lost/x: .*no such bucket"):
        validate(Parameters(volumes_uri=f"{bucket}/volumes", state_uri="s3://lost/x"))


def test_no_line_about_a_copy_names_a_volume(volumes, tmp_path, bucket, monkeypatch, capsys):
    storage.upload(volumes, f"{bucket}/volumes")
    monkeypatch.setattr(transfer, "_TOLD_S", 1e-6)
    capsys.readouterr()
    extract_planes(configured(f"{bucket}/volumes", f"{bucket}/state"), tmp_path / "set")
    told = capsys.readouterr().out
    assert f"{bucket}/state" in told
    assert [path.name for path in volumes.iterdir() if path.name in told] == []


def test_a_second_run_on_one_state_is_told_who_holds_it(bucket):
    with (
        lease(f"{bucket}/state/run", "first"),
        pytest.raises(InputError, match=rf"held by run first on {socket.gethostname()}, renewed"),
        lease(f"{bucket}/state/run", "second"),
    ):
        pass


def test_of_many_runs_that_take_a_stale_lease_on_s3_one_wins(bucket):
    held = {"owner": "dead", "host": "elsewhere", "process": 1, "renewed": 0}
    storage.create(f"{bucket}/run/lease.json", json.dumps(held).encode())
    start, winners, told = threading.Barrier(8), [], []

    def take(owner):
        start.wait()
        try:
            with lease(f"{bucket}/run", owner):
                winners.append(owner)
                time.sleep(2)
        except InputError as error:
            told.append(str(error))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [f"run{k}" for k in range(8)]))
    assert len(winners) == 1 and len(told) == 7
    assert all(f"held by run {winners[0]} on " in line for line in told)


def test_a_gan_goes_on_from_what_it_kept_on_s3(bucket, tmp_path):
    with run_folder(f"{bucket}/gan", "run", tmp_path / "first") as folder:
        (folder.path / "snapshots").mkdir(parents=True)
        for name in ("checkpoint-1.pt", "checkpoint-1.json", "snapshots/a.png"):
            (folder.path / name).write_text(name)
        folder.save()
    with run_folder(f"{bucket}/gan", "run", tmp_path / "second") as folder:
        assert (folder.path / "checkpoint-1.pt").read_text() == "checkpoint-1.pt"
        assert (folder.path / "snapshots/a.png").is_file()
