import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stylegan2_ada import TrainingConfig, UsageError, derived
from stylegan2_ada.__main__ import main
from stylegan2_ada.distributed import Ranks, join, own_rows
from stylegan2_ada.training_state import TrainingState

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.detectors import FeaturesOnly, write_script

FLAGS = [
    "--resolution=8", "--batch=8", "--group=2", "--channel-base=64", "--kimg=0.064", "--tick-kimg=0.032",
    "--device=cpu", "--aug=fixed", "--p=0.5", "--r1-interval=4", "--learning-rate=0.0001",
]  # fmt: skip


def flags(folder: Path, run: str, *more: str) -> list[str]:
    return ["train", f"--data={folder / 'a.zip'}", f"--outdir={folder / run}", *FLAGS, *more]


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in (run / "stats.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_and_either_goes_on(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path, "one")) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
               "--", "stylegan2_ada", *flags(tmp_path, "two", "--batch-gpu=2")]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    times = {"seconds", "seconds_per_kimg", "memory_gb"}
    for alone, shared in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert alone.keys() == shared.keys()
        for name in alone.keys() - times:
            assert shared[name] == pytest.approx(alone[name], rel=2e-3, abs=1e-4), name
    assert main(flags(tmp_path, "two", "--kimg=0.096")) == 0
    assert [row["kimg"] for row in rows(tmp_path / "two")] == [0.032, 0.064, 0.096]


def test_two_processes_that_wait_for_a_better_network_give_up_together(tmp_path: Path) -> None:
    """One of them alone would wait for the other's part of the next step."""
    write_archive(tmp_path / "a.zip")
    judge = f"--detector={write_script(tmp_path / 'detector.pt', FeaturesOnly())}"
    waiting = ["--patience=1", "--snapshot-kimg=0.032", "--learning-rate=1e-9", "--kimg=1000"]
    run = flags(tmp_path, "run", judge, "--detector-count=16", *waiting)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
               "--", "stylegan2_ada", *run]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    kids = [row["kid"] for row in rows(tmp_path / "run")]
    assert 2 <= len(kids) < 10 and kids.index(min(kids)) == len(kids) - 2
    assert (tmp_path / "run" / "generator.json").is_file()


def test_processes_that_do_not_come_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29781"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UsageError, match=r"^MASTER_ADDR=127.0.0.1:29781: .*did not meet within 1 s.*valid: "),
        join(torch.device("cpu"), meet_s=1.0),
    ):
        pass


def test_alone_nothing_is_exchanged() -> None:
    with join(torch.device("cpu")) as (ranks, device):
        assert (ranks.first, ranks.count, device.type) == (True, 1, "cpu")
        value = torch.ones(3)
        ranks.add_up([value])
        assert value.tolist() == [1, 1, 1] and ranks.agree(5, device)


# A process of two: it adds up, and asks about an equal number and about one that is not.
MEET = """
import torch
from stylegan2_ada.distributed import join
with join(torch.device("cpu")) as (ranks, device):
    value = torch.tensor([1.0 + ranks.rank])
    ranks.add_up([value])
    print(value.item(), ranks.agree(7, device), ranks.agree(7 + ranks.rank, device))
"""


def test_two_processes_hear_the_sum_and_whether_they_agree() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])  # free a moment ago
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", MEET]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | place | {"RANK": rank})
        for rank in "01"
    ]
    assert [process.communicate(timeout=300)[0] for process in both] == ["3.0 True False\n"] * 2


def test_a_batch_too_small_for_all_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"batch=8: 2 group\(s\) of 4 images for 3 processes; valid: at least 12"
    ):
        own_rows(8, 4, Ranks(rank=0, count=3))


def test_a_half_batch_too_small_for_all_is_refused_by_the_batch_that_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    valid = r"batch=4: path length takes half of it, 2 image\(s\) for 4 processes; valid: at least 8, or path"
    config = derived(TrainingConfig(resolution=8, batch=4, channel_base=64), ranks=4)
    with pytest.raises(UsageError, match=valid):
        TrainingState.fresh(config, torch.device("cpu"), ranks=Ranks(count=4))
    monkeypatch.setenv("WORLD_SIZE", "4")
    command = ["train", "--data=-", "--outdir=-", "--dry-run", "--batch=4"]
    assert main(command) == 2
    assert re.match(valid, capsys.readouterr().err)
    assert main([*command, "--path-weight=0"]) == 0
    state = TrainingState.fresh(replace(config, path_weight=0.0), torch.device("cpu"), ranks=Ranks(count=4))
    assert len(state.parts) == 1 and not state.path_parts


def test_any_number_of_processes_shares_a_batch() -> None:
    shares = [own_rows(20, 2, Ranks(rank=rank, count=3)) for rank in range(3)]
    assert sorted(np.concatenate(shares)) == list(range(20))
    assert max(map(len, shares)) - min(map(len, shares)) == 2  # one group
