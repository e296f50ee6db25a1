"""The stage train_gan, killed wherever it is, ends with the generator of an unbroken run."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.drawn_planes import SPLITS, write_planes
from tests.half_written import wait_for_a_write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# The stage in a process of its own, which keeps a checkpoint at every tick instead of every minute.
PROGRAM = """
import sys
from pathlib import Path
from components.shared.planes import PlaneSet
from components.shared.splits import Splits
from components.train_gan import checkpoints
from components.train_gan.stage import Config, train_gan
planes, splits, state, out = map(Path, sys.argv[1:])
checkpoints._LOCAL_S = 0.0
config = Config(kimg=0.36, resolution=8, gamma=0.0, batch=4, channel_base=64, augment="bg",
                snapshot_kimg=0.3, state_uri=str(state))
opened = PlaneSet.open(planes), Splits.read(splits)
train_gan(config, *opened, out, lambda done, total: print(done, flush=True))
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the stage with its state in a folder."""
    write_planes(tmp_path / "planes", sorted(SPLITS.sides), per_class=4)
    SPLITS.write(tmp_path / "splits.csv")

    def begin(name):
        places = [tmp_path / "planes", tmp_path / "splits.csv", tmp_path / f"{name}_state", tmp_path / name]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, places)], stdout=subprocess.PIPE, env=environment
        )

    return begin


def test_ten_kills_one_of_them_in_a_checkpoint_write(start, tmp_path):
    with start("unbroken") as process:
        process.communicate(timeout=300)
        assert process.returncode == 0
    rng, kills, torn = np.random.default_rng(0), 0, 0
    for number in range(10):
        with start("broken") as process:
            assert process.stdout.readline()  # it learns
            if number % 3 == 2:
                wait_for_a_write(tmp_path / "broken_state", process)
            else:
                time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=300)
            kills += process.returncode == -signal.SIGKILL
            torn += any((tmp_path / "broken_state").rglob("checkpoint-*.part"))
    assert kills == 10
    assert torn >= 1
    with start("broken") as process:
        process.communicate(timeout=300)
        assert process.returncode == 0
    ends = [json.loads((tmp_path / name / "generator.json").read_text()) for name in ("unbroken", "broken")]
    assert ends[0]["digest"] == ends[1]["digest"]
