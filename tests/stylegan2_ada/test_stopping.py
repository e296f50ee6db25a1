import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stylegan2_ada import DivergenceError, Stopped, checkpoint, train
from stylegan2_ada.distributed import Ranks
from stylegan2_ada.stopping import Notice, heard

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.test_distributed import flags as shared_flags
from tests.stylegan2_ada.test_training_loop import TINY, files


def stopped_after(folder: Path, run: str, images: int, *, tick_kimg: float = 0.012) -> None:
    """Train until SIGTERM comes during a step."""

    def watch(done: int, _: int) -> None:
        if done == images:
            signal.raise_signal(signal.SIGTERM)

    config = replace(TINY, kimg=0.06, snapshot_kimg=0.012, tick_kimg=tick_kimg)
    train(config, folder / "a.zip", None, folder / run, on_progress=watch, checkpoint_seconds=1e9)


def history(folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((folder / "generator.json").read_text())["history"]
    return rows


@pytest.mark.parametrize("images", [4, 20, 24, 56, 60], ids=["first", "within", "tick", "before", "last"])
def test_a_run_ended_by_sigterm_goes_on_as_an_unbroken_one(tmp_path: Path, images: int) -> None:
    write_archive(tmp_path / "a.zip")
    stopped_after(tmp_path, "unbroken", -1)
    with pytest.raises(Stopped) as stopped:
        stopped_after(tmp_path, "broken", images)
    assert stopped.value.code == 143
    (kept,) = checkpoint.paths(tmp_path / "broken")
    assert kept.name.endswith(f"-{images:011}-within.pt")  # of that very step
    assert not (tmp_path / "broken" / "generator.json").exists()
    stopped_after(tmp_path, "broken", -1)
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")
    assert history(tmp_path / "broken") == history(tmp_path / "unbroken")
    assert len((tmp_path / "broken" / "stats.jsonl").read_text().splitlines()) == 5


def test_a_run_can_be_stopped_again_and_again(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    stopped_after(tmp_path, "unbroken", -1)
    for images in range(4, 64, 8):
        with pytest.raises(Stopped):
            stopped_after(tmp_path, "broken", images)
        assert len(checkpoint.paths(tmp_path / "broken")) <= TINY.keep
    stopped_after(tmp_path, "broken", -1)
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")


def test_a_run_never_writes_the_checkpoint_that_it_went_on_from_again(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    with pytest.raises(Stopped):
        stopped_after(tmp_path, "run", 20)
    (kept,) = checkpoint.paths(tmp_path / "run")
    written: list[Path] = []
    train(
        replace(TINY, kimg=0.06, snapshot_kimg=0.012, tick_kimg=0.012), tmp_path / "a.zip", None,
        tmp_path / "run", on_checkpoint=lambda folder: written.append(checkpoint.paths(folder)[-1]),
        checkpoint_seconds=0,
    )  # fmt: skip
    assert written[0] > kept


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """Let this process, and those it starts, heed Ctrl-C: in the background of a shell script none does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_asked_to_end_does_and_says_so(asked: signal.Signals, tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    command = [sys.executable, "-m", "stylegan2_ada", *shared_flags(tmp_path, "run", "--kimg=1000")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for_steps(process, tmp_path / "run")
        process.send_signal(asked)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + asked, said
    last = said.strip().splitlines()[-1]
    assert "Traceback" not in said and last.startswith(f"stopped by {asked.name} at ")
    assert checkpoint.paths(tmp_path / "run")


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_second_ctrl_c_does_not_wait_for_the_step() -> None:
    with heard() as notice:
        signal.raise_signal(signal.SIGINT)
        assert notice.received
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_signal_that_the_process_is_to_ignore_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with heard() as notice:
        signal.raise_signal(signal.SIGINT)
        assert not notice.received


def wait_for_steps(process: "subprocess.Popen[str]", run: Path) -> None:
    """Return once statistics of a run are written."""
    stats = run / "stats.jsonl"
    while process.poll() is None and not (stats.is_file() and stats.stat().st_size):
        time.sleep(0.02)


def test_the_processes_of_a_run_stop_after_the_same_step(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
               "--", "stylegan2_ada", *shared_flags(tmp_path, "run", "--kimg=1000")]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        wait_for_steps(process, tmp_path / "run")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=300)
    (kept,) = checkpoint.paths(tmp_path / "run")
    assert said.count("stopped by SIGTERM at ") == 2, said
    images = int(kept.stem.split("-")[2])
    assert images % 32 == 0 and said.count(f"SIGTERM at {images / 1000:.3f} kimg") == 2


def test_a_stop_keeps_no_network_that_diverged(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")

    def watch(done: int, _: int) -> None:
        if done == 8:
            signal.raise_signal(signal.SIGTERM)

    config = replace(TINY, learning_rate=1e30, kimg=0.1)
    with pytest.raises(DivergenceError, match=r"not a number after 0.008 kimg; try"):
        train(config, tmp_path / "a.zip", None, tmp_path / "run", on_progress=watch)
    assert not checkpoint.paths(tmp_path / "run")


def test_the_signal_is_as_before_afterwards_and_untouched_in_other_threads() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heard() as notice:
        assert signal.getsignal(signal.SIGTERM) == notice.hear
    assert signal.getsignal(signal.SIGTERM) is before
    found: list[object] = []

    def listen() -> None:
        with heard() as notice:
            found.extend((notice.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [False, before]


def test_several_processes_ask_each_other_every_fourth_step(monkeypatch: pytest.MonkeyPatch) -> None:
    notice, asked = Notice(), []
    monkeypatch.setattr(Ranks, "add_up", lambda self, tensors: asked.append(tensors[0].add_(1)))
    steps = [notice.reached(Ranks(count=2), step, torch.device("cpu")) for step in range(1, 9)]
    assert len(asked) == 2 and steps == [False, False, False, True] * 2  # the other one got the signal
