"""A part that fails or is killed: its reason is kept, and it is not tried for ever."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from components.shared import lease
from components.shared.failures import ATTEMPTS, DONE_WORD, FAILED_WORD, MOST_KILLED, reason_at, surviving
from components.shared.faults import AwayError, InputError
from tests.shared.damaged import DAMAGED

KILLED = """
import os, signal, sys
from components.shared.failures import surviving
surviving(sys.argv[1], "part", "run", lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def killed(uri: str) -> int:
    return subprocess.run([sys.executable, "-c", KILLED, uri], check=False).returncode


def test_a_reason_is_kept_until_an_attempt_succeeds(tmp_path: Path) -> None:
    uri = str(tmp_path / "part")

    def refuse() -> None:
        raise InputError("images=0; valid: more")

    assert surviving(uri, "part", "run", refuse) == FAILED_WORD
    assert reason_at(uri) == "images=0; valid: more"
    assert surviving(uri, "part", "run", lambda: None) == DONE_WORD
    assert reason_at(uri) == "it was never run to its end"


def test_a_reason_names_no_scratch_folder(tmp_path: Path) -> None:
    def fail() -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "planes.zip").read_bytes()

    surviving(str(tmp_path), "part", "run", fail)
    assert reason_at(str(tmp_path)).endswith("No such file or directory: 'planes.zip'")


def test_a_part_that_is_killed_each_time_is_given_up_and_then_tried_anew(tmp_path: Path) -> None:
    uri, worked = str(tmp_path / "part"), []
    for _ in range(MOST_KILLED):
        assert killed(uri) == -signal.SIGKILL
    assert surviving(uri, "part", "run", lambda: worked.append(1)) == FAILED_WORD
    assert reason_at(uri).startswith(f"killed {MOST_KILLED} times without a word") and not worked
    assert surviving(uri, "part", "run", lambda: worked.append(1)) == DONE_WORD and worked


POD = """
import os, signal, sys
from pathlib import Path
from components.shared.failures import each_surviving
def work(name, progress):
    Path(sys.argv[1], "done").touch() if name == "good" else os.kill(os.getpid(), signal.SIGKILL)
parts = {name: f"{sys.argv[1]}/{name}" for name in ("bad1", "bad2", "good", "bad3")}
each_surviving(parts, "run", work)
"""


def test_parts_that_kill_their_pod_are_given_up_together_and_keep_no_other_from_its_turn(
    tmp_path: Path,
) -> None:
    """A cluster makes a lost pod anew five times, however many parts it has."""
    pods = [
        subprocess.run([sys.executable, "-c", POD, tmp_path], check=False) for _ in range(MOST_KILLED + 1)
    ]
    assert [pod.returncode for pod in pods] == [-signal.SIGKILL] * MOST_KILLED + [0]
    assert (tmp_path / "done").exists()
    for name in ("bad1", "bad2", "bad3"):
        reason = reason_at(str(tmp_path / name))
        assert "times without a word (5 with others of its pod), as for memory or with its node" in reason


def test_another_run_counts_anew(tmp_path: Path) -> None:
    uri = str(tmp_path / "part")
    for _ in range(MOST_KILLED):
        killed(uri)
    assert surviving(uri, "part", "another run", lambda: None) == DONE_WORD


def test_stopping_by_hand_is_passed_on_and_not_counted(tmp_path: Path) -> None:
    uri = str(tmp_path / "part")

    def stop() -> None:
        raise KeyboardInterrupt

    for _ in range(MOST_KILLED + 1):
        with pytest.raises(KeyboardInterrupt):
            surviving(uri, "part", "run", stop)
    assert surviving(uri, "part", "run", lambda: None) == DONE_WORD


def test_a_store_that_is_away_is_raised_and_is_nobodys_reason(tmp_path: Path) -> None:
    uri = str(tmp_path / "part")

    def ask() -> None:
        raise AwayError("s3://state/x: bucket s3://state cannot be used (503)")

    for _ in range(MOST_KILLED + 1):
        with pytest.raises(AwayError):
            surviving(uri, "part", "run", ask)
    assert reason_at(uri) == "it was never run to its end"
    assert surviving(uri, "part", "run", lambda: None) == DONE_WORD


def test_a_part_that_another_run_works_at_is_waited_for_and_its_count_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One killed a minute ago in another pod leaves a live lease: its cell is no failure of this run's."""
    uri, worked = str(tmp_path / "part"), []
    killed(uri)
    place = Path(uri) / "lease.json"
    held = json.loads(place.read_text()) | {"machine": "another pod", "renewed": time.time() - 60}
    place.write_text(json.dumps(held))

    def nap(seconds: float) -> None:
        assert not worked and json.loads((Path(uri) / ATTEMPTS).read_text()) == {"owner": "run", "begun": 1}
        place.write_text(json.dumps(held | {"renewed": time.time() - lease.STALE_S - 1}))

    monkeypatch.setattr("time.sleep", nap)
    assert surviving(uri, "part", "another run", lambda: worked.append(1)) == DONE_WORD and worked
    assert json.loads(place.read_text())["renewed"] == 0, "others need not wait"


@pytest.mark.parametrize("left", DAMAGED)
def test_a_damaged_reason_is_named(tmp_path, left):
    (tmp_path / "failed.json").write_bytes(left)
    with pytest.raises(InputError, match=r"/failed\.json: damaged; valid: the run again"):
        reason_at(str(tmp_path))


@pytest.mark.parametrize("left", DAMAGED)
def test_a_damaged_count_of_attempts_costs_one_and_is_gone(tmp_path, left):
    (tmp_path / "attempts.json").write_bytes(left)
    assert surviving(str(tmp_path), "part", "me", lambda: None) == FAILED_WORD
    assert "/attempts.json: damaged; valid: the run again" in reason_at(str(tmp_path))
    assert surviving(str(tmp_path), "part", "me", lambda: None) == DONE_WORD
