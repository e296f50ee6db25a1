"""One run writes at a time, and the dead block nobody."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.shared import lease as leases
from components.shared import processes
from components.shared.faults import InputError
from components.shared.lease import lease, release, require_free, waiting_lease
from components.shared.processes import machine, started_at
from tests.shared.damaged import DAMAGED

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="told by Linux alone")


def plant(folder, **changes):
    held = {
        "owner": "other",
        "host": "pod",
        "machine": machine(),
        "process": os.getpid(),
        "renewed": time.time(),
    }
    (folder / "lease.json").write_text(json.dumps({**held, **changes}))


def test_a_live_run_keeps_others_out(tmp_path):
    plant(tmp_path)
    with (
        pytest.raises(InputError, match=r"held by run other.*another run_name"),
        lease(str(tmp_path), "mine"),
    ):
        pass


def test_who_is_kept_out_reads_who_holds_it_where_and_since_when_it_was_not_renewed(tmp_path):
    plant(tmp_path, host="pod-7", renewed=time.time() - 90)
    said = r"lease\.json: held by run other on pod-7, renewed (9\d|1\d\d) s ago; valid: wait "
    with pytest.raises(InputError, match=said), lease(str(tmp_path), "mine"):
        pass


def test_its_own_run_takes_it_again(tmp_path):
    plant(tmp_path, owner="mine")
    with lease(str(tmp_path), "mine"):
        assert json.loads((tmp_path / "lease.json").read_text())["owner"] == "mine"


def test_a_stale_lease_of_another_machine_is_taken_over(tmp_path):
    plant(tmp_path, machine="elsewhere", renewed=time.time() - leases.STALE_S - 1)
    with lease(str(tmp_path), "mine"):
        assert json.loads((tmp_path / "lease.json").read_text())["owner"] == "mine"


def test_a_fresh_lease_of_another_machine_is_not(tmp_path):
    plant(tmp_path, machine="elsewhere", process=2**22 + 1)
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
    plant(tmp_path, machine="elsewhere", renewed=0)
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


@on_linux
def test_a_zombie_holds_nothing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    ended.stdout.read()  # its end; nobody has asked for its status yet
    time.sleep(0.2)
    plant(tmp_path, process=ended.pid)
    with lease(str(tmp_path), "mine"):
        pass
    ended.wait()
    ended.stdout.close()


@on_linux
def test_a_later_process_of_the_same_id_holds_nothing(tmp_path):
    plant(tmp_path, started=started_at(os.getpid()))
    with pytest.raises(InputError), lease(str(tmp_path), "mine"):
        pass
    plant(tmp_path, started="1")
    with lease(str(tmp_path), "mine"):
        assert json.loads((tmp_path / "lease.json").read_text())["started"] == started_at(os.getpid())


def test_a_stage_that_fails_frees_it_and_one_that_ends_keeps_it(tmp_path):
    with lease(str(tmp_path), "mine"):
        pass
    with pytest.raises(InputError, match="held by run mine"), lease(str(tmp_path), "other"):
        pass
    with pytest.raises(KeyError), lease(str(tmp_path), "mine"):
        raise KeyError
    with lease(str(tmp_path), "other"):
        release(str(tmp_path), "mine")  # not its own
        with pytest.raises(InputError, match="held by run other"), lease(str(tmp_path), "mine"):
            pass


def test_pods_of_one_name_are_not_one_machine(tmp_path, monkeypatch):
    """A cluster cuts the names of pods, so that many have one, and process 1 is in each of them."""
    plant(tmp_path, machine=f"{machine()} of another pod", process=2**22 + 1)
    with pytest.raises(InputError, match="held by run other"), lease(str(tmp_path), "mine"):
        pass
    monkeypatch.setattr(leases, "_WAIT_S", 0.05)
    with lease(str(tmp_path / "gan"), "another pod's"):
        waits = threading.Thread(target=enter, args=(str(tmp_path / "gan"),), daemon=True)
        waits.start()
        waits.join(0.3)
        assert waits.is_alive()
    release(str(tmp_path / "gan"), "another pod's")
    waits.join(5)
    assert not waits.is_alive()


def test_a_machine_that_was_started_again_holds_nothing(tmp_path, monkeypatch):
    """Its lease is as fresh as the power cut; a pod's, of an image without an id, is left to go stale."""
    before = {"host": socket.gethostname(), "machine": "here, before", "boot": "before"}
    monkeypatch.setattr(leases, "installation", lambda: "a laptop")
    clone = {"installation": "a laptop", "host": "another node of one image"}
    for told in ({"installation": ""}, {"installation": "another laptop"}, clone):
        plant(tmp_path, **before | told)
        with pytest.raises(InputError, match="held by run other"), lease(str(tmp_path), "mine"):
            pass
    plant(tmp_path, installation="a laptop", **before)
    with lease(str(tmp_path), "mine"):
        pass


@pytest.mark.parametrize("told", ["uninitialized", "", "5fba" * 8])
def test_an_installation_is_told_by_a_hash_and_by_no_container(told, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_text", lambda path: told)
    monkeypatch.setattr(processes, "_CONTAINERS", ())
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert bool(processes.installation()) == (len(told) == 32)
    assert processes.installation() != told or not told
    monkeypatch.setattr(processes, "_CONTAINERS", (str(tmp_path),))
    assert processes.installation() == ""


def enter(uri):
    """Take a turn and end it."""
    with waiting_lease(uri, "this"):
        pass


def work(folder, stale_s, body):
    """Run `body` under a lease, renewed each 50 ms, in a process of its own."""
    code = (
        "import time, os\nfrom pathlib import Path\nfrom components.shared import lease\n"
        f"lease.RENEW_S, lease.STALE_S = 0.05, {stale_s}\nfile = Path({str(folder)!r}) / 'lease.json'\n"
        f"with lease.lease({str(folder)!r}, 'mine'):\n"
    )
    lines = "".join(f"    {line}\n" for line in body)
    return subprocess.run([sys.executable, "-c", code + lines], check=False).returncode


def test_a_storage_that_fails_for_a_moment_ends_no_renewal(tmp_path):
    body = [
        "file.rename(file.with_name('away'))",
        "time.sleep(0.3)",
        "before = file.with_name('away').read_text()",
        "file.with_name('away').rename(file)",
        "time.sleep(0.3)",
        "os._exit(0 if file.read_text() != before else 1)",
    ]
    assert work(tmp_path, 60, body) == 0


def test_work_ends_before_a_lease_that_cannot_be_renewed_goes_stale(tmp_path):
    body = ["file.unlink()", "time.sleep(20)"]
    assert work(tmp_path, 0.5, body) == 75


def test_a_lease_that_cannot_be_read_ends_no_renewal_at_once_and_work_in_time(tmp_path):
    torn = ["before = file.read_text()", "file.write_text('{')", "time.sleep(0.3)"]
    mended = [
        "file.write_text(before)",
        "time.sleep(0.3)",
        "os._exit(0 if file.read_text() != before else 1)",
    ]
    assert work(tmp_path, 60, torn + mended) == 0
    assert work(tmp_path, 0.5, [*torn, "time.sleep(20)"]) == 75


def test_work_renews_it(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_S", 0.05)
    with lease(str(tmp_path), "mine"):
        first = json.loads((tmp_path / "lease.json").read_text())["renewed"]
        time.sleep(0.3)
        assert json.loads((tmp_path / "lease.json").read_text())["renewed"] > first


def test_taken_again_inside_it_is_held_once_and_freed_by_the_outermost_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    renewals = threading.active_count() + 1
    with lease(str(tmp_path), "mine"):
        for _ in range(50):
            with lease(str(tmp_path), "mine"):
                assert threading.active_count() == renewals
        with suppress(ValueError), lease(str(tmp_path), "mine"):
            raise ValueError
        assert json.loads((tmp_path / "lease.json").read_text())["renewed"] > 0
    with pytest.raises(ValueError, match="outer"), lease(str(tmp_path), "mine"):
        raise ValueError("outer")
    assert json.loads((tmp_path / "lease.json").read_text())["renewed"] == 0


def test_another_pod_of_the_run_that_renews_at_the_same_moment_takes_nothing_away(tmp_path, monkeypatch):
    real = leases.storage.replace

    def replace(uri, data, generation):
        plant(tmp_path, owner="mine")  # the other pod is first, this once
        monkeypatch.setattr(leases.storage, "replace", real)
        return real(uri, data, generation)

    plant(tmp_path, owner="mine")
    monkeypatch.setattr(leases.storage, "replace", replace)
    assert leases._renew_once(f"{tmp_path}/lease.json", "mine", time.time())
    monkeypatch.setattr(leases.storage, "replace", replace)
    with lease(str(tmp_path), "mine"):
        pass
    plant(tmp_path, owner="other")
    assert not leases._renew_once(f"{tmp_path}/lease.json", "mine", time.time())


def test_taken_again_it_is_looked_at_again(tmp_path):
    """A machine that slept for long comes back into a body whose lease another run has taken."""
    with lease(str(tmp_path), "mine"):
        plant(tmp_path, owner="other")
        with pytest.raises(InputError, match="held by run other"), lease(str(tmp_path), "mine"):
            pass
        plant(tmp_path, owner="mine")


WHOLE = {"owner": "mine", "host": "pod", "process": 1, "renewed": 0.0}
TORN = [*DAMAGED, *(json.dumps(WHOLE | {key: None}).encode() for key in WHOLE), b'{"owner": "mine"}']
REFUSAL = r"/lease\.json: damaged; valid: that object deleted, once no run works there$"


@pytest.mark.parametrize("left", TORN)
def test_a_damaged_lease_is_told_by_whoever_asks_and_stays(tmp_path, left):
    uri, file = str(tmp_path), tmp_path / "lease.json"
    file.write_bytes(left)
    asked = [
        lambda: lease(uri, "mine").__enter__(),
        lambda: waiting_lease(uri, "this", "mine").__enter__(),
        lambda: require_free(str(file)),
        lambda: leases._require_ours(str(file), "mine"),
        lambda: leases._is_of(str(file), "mine"),
        lambda: leases._renew_once(str(file), "mine", time.time()),
    ]
    for ask in asked:
        with pytest.raises(InputError, match=REFUSAL):
            ask()
    assert file.read_bytes() == left


@pytest.mark.parametrize("left", TORN)
def test_a_lease_damaged_meanwhile_hides_no_error_of_the_work(tmp_path, left):
    with pytest.raises(KeyError, match="the work's"), lease(str(tmp_path), "mine"):
        (tmp_path / "lease.json").write_bytes(left)
        raise KeyError("the work's")
    release(str(tmp_path), "mine")
    assert (tmp_path / "lease.json").read_bytes() == left


def test_work_that_cannot_renew_ends_before_others_may_take_over_and_no_renewal_too_early(
    tmp_path, monkeypatch
):
    """Twenty renewals succeed, and then the storage is gone."""
    began, last = 1000.0, 1000.0 + 20 * leases.RENEW_S
    clock = [began]

    def wait(seconds):
        clock[0] += seconds
        if clock[0] > last:
            (tmp_path / "lease.json").unlink(missing_ok=True)

    def end(status):
        raise SystemExit(status)

    plant(tmp_path, owner="mine")
    monkeypatch.setattr(leases, "time", SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(leases, "os", SimpleNamespace(_exit=end, getpid=os.getpid))
    with pytest.raises(SystemExit, match="75"):
        leases._renew(str(tmp_path), "mine", SimpleNamespace(wait=wait))
    assert leases.STALE_S / 2 < clock[0] - last < leases.STALE_S


def test_what_a_killed_process_left_is_free_at_once(tmp_path):
    assert work(tmp_path, 60, ["os._exit(0)"]) == 0
    with lease(str(tmp_path), "another"):
        pass


def test_what_was_held_at_a_power_cut_is_free_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "installation", lambda: "a laptop")
    with lease(str(tmp_path), "first"):
        pass  # of this process, which lives on here: by the machine alone it would be held
    monkeypatch.setattr(leases, "boot", lambda: "after")
    monkeypatch.setattr(leases, "machine", lambda: "here, after")
    with lease(str(tmp_path), "second"):
        pass


def overtake(folder, monkeypatch):
    """Have another run take the lease between the next look at it and what is written then."""
    real = leases.storage.read_versioned

    def read_versioned(uri):
        seen = real(uri)
        plant(folder, owner="other")
        monkeypatch.setattr(leases.storage, "read_versioned", real)
        return seen

    monkeypatch.setattr(leases.storage, "read_versioned", read_versioned)


def test_who_saw_a_lease_stale_that_another_took_since_then_takes_nothing(tmp_path, monkeypatch):
    plant(tmp_path, owner="dead", renewed=0.0)
    overtake(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="held by run other"), lease(str(tmp_path), "mine"):
        pass
    assert json.loads((tmp_path / "lease.json").read_text())["owner"] == "other"


def test_who_frees_a_lease_that_another_took_since_then_frees_nothing(tmp_path, monkeypatch):
    plant(tmp_path, owner="mine")
    overtake(tmp_path, monkeypatch)
    release(str(tmp_path), "mine")
    with pytest.raises(InputError, match="held by run other"):
        require_free(f"{tmp_path}/lease.json")


def test_a_turn_that_ends_is_free_at_once_unless_it_was_held_before(tmp_path):
    enter(str(tmp_path))
    require_free(f"{tmp_path}/lease.json")
    with lease(str(tmp_path), "mine"):
        with waiting_lease(str(tmp_path), "this", "mine"):
            pass
        with pytest.raises(InputError, match="held by run mine"):
            require_free(f"{tmp_path}/lease.json")
