"""One run writes at a time, and the dead block nobody."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from components.shared import lease as leases
from components.shared.faults import InputError
from components.shared.lease import lease


def plant(folder, **changes):
    held = {"owner": "other", "host": socket.gethostname(), "process": os.getpid(), "renewed": time.time()}
    (folder / "lease.json").write_text(json.dumps({**held, **changes}))


def test_a_live_run_keeps_others_out(tmp_path):
    plant(tmp_path)
    with (
        pytest.raises(InputError, match=r"held by run other.*another run_name"),
        lease(str(tmp_path), "mine"),
    ):
        pass


def test_its_own_run_takes_it_again(tmp_path):
    plant(tmp_path, owner="mine")
    with lease(str(tmp_path), "mine"):
        assert json.loads((tmp_path / "lease.json").read_text())["owner"] == "mine"


def test_a_stale_lease_of_another_machine_is_taken_over(tmp_path):
    plant(tmp_path, host="elsewhere", renewed=time.time() - leases.STALE_S - 1)
    with lease(str(tmp_path), "mine"):
        assert json.loads((tmp_path / "lease.json").read_text())["owner"] == "mine"


def test_a_fresh_lease_of_another_machine_is_not(tmp_path):
    plant(tmp_path, host="elsewhere", process=2**22 + 1)
    with pytest.raises(InputError), lease(str(tmp_path), "mine"):
        pass


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    plant(tmp_path, process=int(dead.stdout))
    with lease(str(tmp_path), "mine"):
        assert json.loads((tmp_path / "lease.json").read_text())["owner"] == "mine"


def test_of_many_runs_that_take_a_stale_lease_one_wins(tmp_path):
    plant(tmp_path, host="elsewhere", renewed=0)
    winners, start = [], threading.Barrier(8)

    def take(owner):
        start.wait()
        try:
            with lease(str(tmp_path), owner):
                winners.append(owner)
                time.sleep(0.3)
        except InputError:
            pass

    threads = [threading.Thread(target=take, args=(f"run{k}",)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1


def test_work_renews_it(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_S", 0.05)
    with lease(str(tmp_path), "mine"):
        first = json.loads((tmp_path / "lease.json").read_text())["renewed"]
        time.sleep(0.3)
        assert json.loads((tmp_path / "lease.json").read_text())["renewed"] > first
