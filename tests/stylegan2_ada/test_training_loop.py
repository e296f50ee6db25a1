import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import DivergenceError, TrainingConfig, UsageError, checkpoint, load_generator, train
from stylegan2_ada.training_state import TrainingState
from torch import Tensor

from tests.stylegan2_ada.archives import write_archive

TINY = TrainingConfig(
    resolution=8, batch=4, channel_base=64, kimg=0.12, tick_kimg=0.012, snapshot_kimg=0.1, augment="bg"
)
# `train` in a process of its own that can be killed: it prints the images seen at each checkpoint.
PROGRAM = """
import json, sys
from pathlib import Path
from stylegan2_ada import TrainingConfig, train
settings, archive, run_dir, members = json.loads(sys.argv[1])
def tell(run_dir):
    print("checkpoint", flush=True)
train(TrainingConfig(**settings), Path(archive), members, Path(run_dir), on_checkpoint=tell,
      checkpoint_seconds=0)
"""


def files(folder: Path) -> dict[str, bytes]:
    """Return the results: what holds times, and checkpoints (zip archives of states), left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "stats.jsonl" and not path.name.startswith("checkpoint-")
    }


def start(archive: Path, members: list[str], run_dir: Path) -> subprocess.Popen[str]:
    settings = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    arguments = json.dumps([settings, str(archive), str(run_dir), members])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, arguments], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_a_killed_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    with start(tmp_path / "a.zip", members, tmp_path / "unbroken") as process:
        process.communicate(timeout=300)
        assert process.returncode == 0
    kills = 0
    for checkpoints in (3, None):
        with start(tmp_path / "a.zip", members, tmp_path / "broken") as process:
            if checkpoints is not None:
                assert process.stdout is not None
                for _ in range(checkpoints):
                    assert process.stdout.readline() == "checkpoint\n"
                time.sleep(0.02 * checkpoints)  # in the middle of whatever comes next
                process.send_signal(signal.SIGKILL)
            process.communicate(timeout=300)
            kills += process.returncode == -signal.SIGKILL
    assert kills == 1
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")
    rows = [(tmp_path / name / "stats.jsonl").read_text().splitlines() for name in ("broken", "unbroken")]
    assert [json.loads(row)["kimg"] for row in rows[0]] == [json.loads(row)["kimg"] for row in rows[1]]


def test_a_run_writes_what_it_promises(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    seen: list[tuple[int, int]] = []
    config = replace(TINY, kimg=0.03)
    result = train(config, tmp_path / "a.zip", members, tmp_path, on_progress=lambda *args: seen.append(args))
    assert result.kimg == 0.032 and result.config.gamma == pytest.approx(0.0002 * 64 / 4)
    assert [row["kimg"] for row in result.history] == [0.012, 0.024, 0.032]
    assert seen[0] == (0, 30) and seen[-1] == (30, 30) and sorted(seen) == seen
    network, info = load_generator(tmp_path)
    assert info["history"] == result.history and network.resolution == 8
    assert np.asarray(Image.open(tmp_path / "samples.png")).shape == (64, 64)
    assert (tmp_path / "snapshots" / "fakes_000000.png").is_file()


def test_another_configuration_or_archive_starts_afresh(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.024)
    first = train(config, tmp_path / "a.zip", members, tmp_path / "run")
    other = train(replace(config, seed=1), tmp_path / "a.zip", members, tmp_path / "run")
    fewer = train(config, tmp_path / "a.zip", members[:-1], tmp_path / "run")
    again = train(config, tmp_path / "a.zip", members, tmp_path / "run")
    assert first.history == again.history
    assert first.history != other.history != fewer.history != first.history


def test_a_finished_run_needs_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.024)
    first = train(config, tmp_path / "a.zip", members, tmp_path / "run")
    before = files(tmp_path / "run")
    checkpoint.remove_all(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.delattr(TrainingState, "step")
        assert train(config, tmp_path / "a.zip", members, tmp_path / "run") == first
    assert files(tmp_path / "run") == before
    (tmp_path / "run" / "discriminator.safetensors").unlink()  # no longer whole: trained again
    assert train(config, tmp_path / "a.zip", members, tmp_path / "run") == first
    assert files(tmp_path / "run") == before


def test_a_run_stops_when_it_diverges_and_keeps_no_such_checkpoint(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, learning_rate=1e30, kimg=0.1)
    with pytest.raises(DivergenceError, match="not a number after"):
        train(config, tmp_path / "a.zip", members, tmp_path / "run", checkpoint_seconds=0)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_transfer_starts_from_the_other_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.012)
    train(config, tmp_path / "a.zip", members, tmp_path / "first")
    starts: list[dict[str, Tensor]] = []
    step = TrainingState.step

    def watched(state: TrainingState, reals: Tensor, labels: Tensor | None) -> None:
        starts.append({name: value.clone() for name, value in state.g.state_dict().items()})
        step(state, reals, labels)

    monkeypatch.setattr(TrainingState, "step", watched)
    train(config, tmp_path / "a.zip", members, tmp_path / "second", resume=tmp_path / "first")
    source = load_generator(tmp_path / "first")[0].state_dict()
    assert all(torch.equal(starts[0][name], value) for name, value in source.items())
    with pytest.raises(UsageError, match="channel_base 64 there, 128 here"):
        train(
            replace(config, channel_base=128), tmp_path / "a.zip", members, tmp_path / "third",
            resume=tmp_path / "first",
        )  # fmt: skip


def test_progress_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = write_archive(tmp_path / "a.zip")
    with caplog.at_level(logging.INFO, "stylegan2_ada"):
        train(replace(TINY, kimg=0.012), tmp_path / "a.zip", members, tmp_path / "run")
    assert "s/kimg | ETA" in caplog.text
