"""The stage train_gan, killed wherever it is, ends with the generator of an unbroken run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from components.shared import storage
from tests.drawn_planes import SPLITS, write_planes
from tests.half_written import wait_for_a_write
from tests.shared.buckets import s3_bucket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Process = subprocess.Popen[bytes]

# The stage in a process of its own, which keeps a checkpoint at every tick instead of every minute or ten.
PROGRAM = """
import sys
from pathlib import Path
from components.shared.planes import PlaneSet
from components.shared.splits import Splits
from components.train_gan import checkpoints
from components.train_gan.stage import Config, train_gan
planes, splits, state, out = sys.argv[1:]
checkpoints._LOCAL_S = checkpoints._BUCKET_S = 0.0
config = Config(kimg=0.36, resolution=8, gamma=0.0, batch=4, channel_base=64, augment="bg",
                snapshot_kimg=0.3, state_uri=state)
opened = PlaneSet.open(Path(planes)), Splits.read(Path(splits))
train_gan(config, *opened, Path(out), lambda done, total: print(done, flush=True))
"""


class State(NamedTuple):
    """Where a run keeps its checkpoints."""

    uri: str
    wait_for_a_write: Callable[[Process], None]  # until a checkpoint is half written there
    torn: Callable[[], set[str]]  # the names of half checkpoints


@pytest.fixture(params=["folder", "bucket"])
def states(request, tmp_path, monkeypatch) -> Iterator[Callable[[str], State]]:
    """Give the place of a run by its name, in a folder or in an S3 bucket."""
    if request.param == "folder":
        yield lambda name: in_folder(tmp_path / f"{name}_state")
        return
    with s3_bucket(monkeypatch) as (uri, server):
        arrived = hold_back_checkpoints(server)
        yield lambda name: in_bucket(f"{uri}/{name}", arrived)


def in_folder(folder: Path) -> State:
    """Return a place on this disk: what is half written there ends in .part."""
    return State(
        uri=str(folder),
        wait_for_a_write=lambda process: wait_for_a_write(folder, process),
        torn=lambda: {path.name for path in folder.rglob("checkpoint-*.part")},
    )


def in_bucket(uri: str, arrived: threading.Event) -> State:
    """Return a place in a bucket: half a checkpoint is one whose JSON has not followed."""

    def wait(process: Process) -> None:
        arrived.clear()
        while process.poll() is None and not arrived.wait(0.01):
            pass

    def torn() -> set[str]:
        names = {found.name for found in storage.list_tree(uri)}
        return {name for name in names if name.endswith(".pt") and f"{name[:-3]}.json" not in names}

    return State(uri=uri, wait_for_a_write=wait, torn=torn)


def hold_back_checkpoints(server: Any) -> threading.Event:
    """Let a bucket tell that a checkpoint's tensors have come, before it says so to who sent them."""
    arrived, answer = threading.Event(), server.moto

    def late(environ: dict[str, Any], start_response: Any) -> Any:
        told = list(answer(environ, start_response))
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(".pt"):
            arrived.set()
            time.sleep(0.2)
        return told

    server.moto = late
    return arrived


@pytest.fixture
def start(tmp_path) -> Callable[[str, str], Process]:
    """Return a function that starts the stage, by its output's name, with its state at a URI."""
    write_planes(tmp_path / "planes", sorted(SPLITS.sides), per_class=4)
    SPLITS.write(tmp_path / "splits.csv")

    def begin(name: str, state_uri: str) -> Process:
        given = [tmp_path / "planes", tmp_path / "splits.csv", state_uri, tmp_path / name]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, given)], stdout=subprocess.PIPE, env=environment
        )

    return begin


def learn_past(process: Process, images: int) -> None:
    """Read the stage's progress until it has shown so many images, or has ended."""
    assert process.stdout
    for line in process.stdout:
        if int(line) >= images:
            return


def test_ten_kills_three_of_them_in_a_checkpoint_write(start, states, tmp_path):
    with start("unbroken", states("unbroken").uri) as process:
        process.communicate(timeout=300)
        assert process.returncode == 0
    rng, kills, torn, starts = np.random.default_rng(0), 0, set(), []
    state = states("broken")
    for number in range(10):
        before = state.torn()
        with start("broken", state.uri) as process:
            starts.append(int(process.stdout.readline()))  # images shown when it goes on
            if number % 3 == 2:
                state.wait_for_a_write(process)
            else:
                learn_past(process, starts[-1] + 32)  # at least one checkpoint: a tick is 24 images
                time.sleep(rng.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=300)
            kills += process.returncode == -signal.SIGKILL
            torn |= state.torn() - before
    assert kills == 10
    assert len(torn) >= 1
    assert starts == sorted(starts)
    assert len(set(starts)) >= 6, starts  # it went on from where it was
    with start("broken", state.uri) as process:
        process.communicate(timeout=300)
        assert process.returncode == 0
    ends = [json.loads((tmp_path / name / "generator.json").read_text()) for name in ("unbroken", "broken")]
    assert ends[0]["digest"] == ends[1]["digest"]
