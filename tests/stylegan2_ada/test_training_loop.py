import json
import logging
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import (
    CollapseError,
    DivergenceError,
    TrainingConfig,
    TrainingResult,
    UsageError,
    checkpoint,
    derived,
    load_generator,
    train,
)
from stylegan2_ada.dataset import load
from stylegan2_ada.errors import Stopped
from stylegan2_ada.features import MetricOptions
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.training_loop import Listeners
from stylegan2_ada.training_state import TrainingState
from torch import Tensor

from tests.half_written import wait_for_a_write
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
    timed = ("stats.jsonl", "events")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(("checkpoint-", *timed))
    }


def start(
    archive: Path, members: list[str], run_dir: Path, config: TrainingConfig = TINY
) -> subprocess.Popen[str]:
    settings = {name: getattr(config, name) for name in config.__dataclass_fields__}
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


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_killed_twenty_times_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    config, rng = replace(TINY, kimg=0.72), np.random.default_rng(0)
    with start(tmp_path / "a.zip", members, tmp_path / "unbroken", config) as process:
        process.communicate(timeout=300)
    kills = 0
    for number in range(20):
        with start(tmp_path / "a.zip", members, tmp_path / "broken", config) as process:
            assert process.stdout is not None
            if number:  # the first one is killed wherever it is: as it starts, perhaps
                assert process.stdout.readline() == "checkpoint\n"
            if number % 4 == 3:
                wait_for_a_write(tmp_path / "broken", process)
            else:
                time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=300)
            kills += process.returncode == -signal.SIGKILL
    assert kills == 20
    assert list((tmp_path / "broken").glob("checkpoint-*.part"))  # at least one died as it wrote
    with start(tmp_path / "a.zip", members, tmp_path / "broken", config) as process:
        process.communicate(timeout=300)
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("tick_kimg", "snapshot_kimg", "shown"),
    [
        (
            0.012,
            0.02,
            [0.0, 0.024, 0.048, 0.06],
        ),  # 0.02, 0.04 and 0.06, at the end of the tick that passed it
        (0.02, 0.012, [0.0, 0.02, 0.04, 0.06]),
        (0.012, 0.024, [0.0, 0.024, 0.048, 0.06]),
        (0.012, 0.05, [0.0, 0.06]),
    ],
)
def test_a_snapshot_comes_with_the_tick_that_passes_its_time(
    tmp_path: Path, tick_kimg: float, snapshot_kimg: float, shown: list[float]
) -> None:
    write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.06, tick_kimg=tick_kimg, snapshot_kimg=snapshot_kimg)

    def stop_once(done: int, _: int) -> None:
        if done == 28 and not checkpoint.paths(tmp_path / "run"):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):  # within a tick
        train(config, tmp_path / "a.zip", None, tmp_path / "run", on_progress=stop_once)
    train(config, tmp_path / "a.zip", None, tmp_path / "run")
    grids = sorted((tmp_path / "run/snapshots").glob("fakes_*.png"))
    assert [int(grid.stem.removeprefix("fakes_")) / 1000 for grid in grids] == shown


def test_checkpoints_by_the_clock_take_a_twentieth_of_it_at_most() -> None:
    clock, counted = Listeners(checkpoint_seconds=60.0), Listeners(checkpoint_kimg=1.0)
    assert [clock.is_due(seconds, 10**6, cost=1.0) for seconds in (59.0, 61.0)] == [False, True]
    assert [clock.is_due(seconds, 10**6, cost=6.0) for seconds in (61.0, 119.0, 121.0)] == [
        False,
        False,
        True,
    ]
    assert [clock.is_due(seconds, 10**6, cost=500.0) for seconds in (599.0, 601.0)] == [False, True]
    rare = Listeners(checkpoint_seconds=900.0)
    assert [rare.is_due(seconds, 10**6, cost=500.0) for seconds in (899.0, 901.0)] == [False, True]
    assert [counted.is_due(0.0, images, cost=500.0) for images in (999, 1000)] == [False, True]
    always = Listeners(checkpoint_seconds=0)
    assert [always.is_due(0.0, images, cost=500.0) for images in (0, 1)] == [False, True]


def test_a_run_writes_what_it_promises(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    seen: list[tuple[int, int]] = []
    config = replace(TINY, kimg=0.03)
    result = train(config, tmp_path / "a.zip", members, tmp_path, on_progress=lambda *args: seen.append(args))
    assert result.kimg == 0.032 and result.config.gamma == pytest.approx(0.0002 * 64 / 4)
    assert [row["kimg"] for row in result.history] == [0.012, 0.024, 0.032]
    assert seen[0] == (0, 30) and seen[-1] == (30, 30) and sorted(seen) == seen
    network, info = load_generator(tmp_path)
    assert info["history"] == result.history and network.architecture.resolution == 8
    assert np.asarray(Image.open(tmp_path / "samples.png")).shape == (64, 64)
    grids = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert grids == ["fakes_000000000.png", "fakes_000000032.png"]  # by images shown: none replaces another


def test_a_finished_run_needs_no_checkpoint_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.024)
    first = train(config, tmp_path / "a.zip", members, tmp_path / "run")
    before = files(tmp_path / "run")
    checkpoint.remove_all(tmp_path / "run")
    with monkeypatch.context() as patched, caplog.at_level(logging.INFO, "stylegan2_ada"):
        patched.delattr(TrainingState, "step")
        assert train(config, tmp_path / "a.zip", members, tmp_path / "run") == first
    assert "finished at 0.024 kimg before; a larger kimg goes on" in caplog.text
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


def test_a_longer_run_goes_on_where_a_shorter_one_ended(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.024)
    train(config, tmp_path / "a.zip", members, tmp_path / "run")
    longer = train(replace(config, kimg=0.048), tmp_path / "a.zip", members, tmp_path / "run")
    at_once = train(replace(config, kimg=0.048), tmp_path / "a.zip", members, tmp_path / "other")
    assert longer.history == [*at_once.history[:1], *longer.history[1:2], *at_once.history[2:]]
    assert files(tmp_path / "run")["samples.png"] == files(tmp_path / "other")["samples.png"]
    with pytest.raises(UsageError, match=r"kimg=0.024: this run is at 0.048 already; valid: "):
        train(config, tmp_path / "a.zip", members, tmp_path / "run")


def test_a_diverged_run_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    train(replace(TINY, kimg=0.012), tmp_path / "a.zip", members, tmp_path)
    (kept,) = tmp_path.glob("checkpoint-*.pt")
    state = torch.load(kept, weights_only=True)
    for tensor in (state["g"]["synthesis.b4.const"], state["d"]["b4.out.bias"]):
        tensor.mul_(1e37)  # finite, as a diverging run's last checkpoint can be
    run = kept.name.split("-")[1]
    full = json.loads(kept.with_suffix(".json").read_text())["run"]
    assert full.startswith(run)
    checkpoint.write(tmp_path, full, 12, state)
    with pytest.raises(DivergenceError, match=rf"last good checkpoint: .*checkpoint-{run}-00000000012.pt"):
        train(replace(TINY, kimg=0.2), tmp_path / "a.zip", members, tmp_path, checkpoint_seconds=1e9)


def test_checkpoints_by_thousands_of_images_do_not_ask_the_clock(tmp_path: Path) -> None:
    members, seen = write_archive(tmp_path / "a.zip"), []
    config = replace(TINY, kimg=0.1, tick_kimg=0.004)

    def note(folder: Path) -> None:
        seen.append(int(checkpoint.paths(folder)[-1].stem[-5:]))

    train(
        config, tmp_path / "a.zip", members, tmp_path / "run", on_checkpoint=note, checkpoint_seconds=0,
        checkpoint_kimg=0.03,
    )  # fmt: skip
    assert seen == [32, 64, 96, 100]  # steps of four images
    assert len(checkpoint.paths(tmp_path / "run")) == 3


def test_a_long_tick_has_checkpoints_within_it_and_a_run_goes_on_from_them(tmp_path: Path) -> None:
    members, seen = write_archive(tmp_path / "a.zip"), []
    config = replace(TINY, kimg=0.1, tick_kimg=0.1)

    def train_in(run: str, *, die_at: int = 0) -> None:
        def note(folder: Path) -> None:
            seen.append(checkpoint.paths(folder)[-1].stem.partition("-000000")[2])
            if len(seen) == die_at:
                raise MemoryError

        train(config, tmp_path / "a.zip", members, tmp_path / run, on_checkpoint=note, checkpoint_kimg=0.03)

    with pytest.raises(MemoryError):
        train_in("broken", die_at=2)
    assert seen == ["00032-within", "00064-within"]
    train_in("broken")
    assert seen[2:] == ["00096-within", "00100"]
    train_in("unbroken")
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")


class Brightness:
    """A detector of two features of real images: the mean and the deviation of their pixels."""

    def __init__(self, white: float = 1.0) -> None:
        self.white = white
        self.name, self.digest = "brightness", f"{white:064}"

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        values_NP = images_NCHW.float().flatten(1) * (self.white / 255)
        return torch.stack([values_NP.mean(dim=1), values_NP.std(dim=1)], dim=1)


FEW = MetricOptions(count=16, kept=16)


def judged(folder: Path, run: str, kimg: float = 0.2, white: float = 1.0, **changes: float) -> TrainingResult:
    members = write_archive(folder / "a.zip")
    config = replace(TINY, kimg=kimg, snapshot_kimg=0.012, learning_rate=1e-9, ema_ramp=0.0, **changes)  # type: ignore[arg-type]
    return train(
        config, folder / "a.zip", members, folder / run, detector=Brightness(white), metric_options=FEW,
        checkpoint_seconds=0,
    )  # fmt: skip


def test_without_improvement_a_run_stops_and_the_best_network_is_kept(tmp_path: Path) -> None:
    result = judged(tmp_path, "run", patience=3, ema_kimg=1000)
    scores = [row["kid"] for row in result.history]
    best = scores.index(min(scores))
    assert len(scores) == best + 1 + 3 and result.kimg < 0.2
    network, info = load_generator(tmp_path / "run" / "best")
    assert info["kid"] == min(scores) and info["kimg"] == result.history[best]["kimg"]
    assert network.architecture.resolution == 8 and load_generator(tmp_path / "run")[1]["kimg"] == result.kimg
    assert judged(tmp_path, "run", patience=3, ema_kimg=1000) == result  # finished, though not at its length
    for kimg in (0.024, 0.036, 0.2):  # what was the best, and for how long, outlasts an end
        again = judged(tmp_path, "again", kimg, patience=3, ema_kimg=1000)
    assert again.history == result.history
    assert load_generator(tmp_path / "again" / "best")[1]["kimg"] == info["kimg"]
    rows = [json.loads(row) for row in (tmp_path / "again" / "stats.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)  # of all that worked on it
    assert rows[0]["seconds_per_kimg"] * 0.012 == pytest.approx(seconds[0], abs=1e-3)


def test_another_detector_looks_for_the_best_network_anew(tmp_path: Path) -> None:
    judged(tmp_path, "run", 0.024)
    assert load_generator(tmp_path / "run" / "best")[1]["kimg"] <= 0.024
    result = judged(tmp_path, "run", 0.036, white=10.0)  # all its distances are larger
    info = load_generator(tmp_path / "run" / "best")[1]
    assert info["judge"].startswith(Brightness(10.0).digest) and info["kimg"] == 0.036
    assert info["kid"] == result.history[-1]["kid"] > max(row["kid"] for row in result.history[:-1])


def test_a_run_that_another_detector_gave_up_goes_on(tmp_path: Path) -> None:
    gave_up = judged(tmp_path, "run", patience=1, ema_kimg=1000)
    assert judged(tmp_path, "run", patience=1, ema_kimg=1000, white=2.0).kimg > gave_up.kimg


def test_a_collapsed_generator_stops_the_run_at_its_third_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.2, snapshot_kimg=0.012, learning_rate=1e-9)
    train(replace(config, kimg=0.012), tmp_path / "a.zip", members, tmp_path / "run")
    (kept,) = (tmp_path / "run").glob("checkpoint-*.pt")
    state = torch.load(kept, weights_only=True)
    for name, tensor in [*state["g"].items(), *state["g_ema"].items()]:
        if name.startswith("mapping.fc") and name.endswith("weight"):
            tensor.zero_()  # every latent has the same style now
    run = json.loads(kept.with_suffix(".json").read_text())["run"]
    checkpoint.write(tmp_path / "run", run, 12, state)
    with pytest.raises(
        CollapseError, match=r"differ .* times as much as real ones after 0.048 kimg, the 3rd"
    ):
        train(config, tmp_path / "a.zip", members, tmp_path / "run")
    assert caplog.text.count("may have collapsed") == 2
    rows = [json.loads(row) for row in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows] == [0.012, 0.024, 0.036]
    assert rows[-1]["deviation"] < 0.02 < rows[0]["deviation"]


def test_a_conditional_run_learns_from_labels(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    labels = json.dumps({"labels": [[name, number % 3] for number, name in enumerate(members)]})
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("dataset.json", labels)
    config = replace(TINY, kimg=0.012, cond=True)
    train(config, tmp_path / "a.zip", None, tmp_path / "run")
    network, info = load_generator(tmp_path / "run")
    assert info["architecture"]["labels"] == network.architecture.labels == 3
    before = TrainingState.fresh(derived(config), torch.device("cpu"), labels=torch.eye(3)).g
    assert not torch.equal(before.mapping.embed.weight, network.mapping.embed.weight)


def test_a_start_decides_what_is_left_open_about_the_networks(tmp_path: Path) -> None:
    members = write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.012)
    train(replace(config, mapping_layers=3), tmp_path / "a.zip", members, tmp_path / "first")
    second = train(config, tmp_path / "a.zip", members, tmp_path / "second", resume=tmp_path / "first")
    assert second.config.mapping_layers == 3 and second.config.ada_kimg == 100
    with pytest.raises(UsageError, match="mapping_layers 3 there, 2 here"):
        train(
            replace(config, mapping_layers=2), tmp_path / "a.zip", members, tmp_path / "third",
            resume=tmp_path / "first",
        )  # fmt: skip


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"device=abacus: .*valid: "):
        train(TINY, tmp_path / "a.zip", None, tmp_path / "run", device="abacus")


def test_images_that_are_not_square_are_refused_or_cropped_as_asked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for i in range(8):
        Image.new("L", (12, 10), 20 * i).save(tmp_path / "data" / f"{i}.png")
    with pytest.raises(UsageError, match="12 x 10"):
        train(replace(TINY, kimg=0.004), tmp_path / "data", None, tmp_path / "run")
    result = train(replace(TINY, kimg=0.004, fit="crop"), tmp_path / "data", None, tmp_path / "run")
    assert result.kimg > 0


@pytest.mark.parametrize("mirror", [False, True])
def test_a_run_shows_the_subset_of_its_seed_mirrored_as_asked(
    tmp_path: Path, mirror: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "a.zip", count=20)
    shown: list[Tensor] = []
    step = TrainingState.step

    def watched(state: TrainingState, reals: Tensor, labels: Tensor | None) -> None:
        shown.append(reals.clone())
        step(state, reals, labels)

    monkeypatch.setattr(TrainingState, "step", watched)
    config = replace(TINY, kimg=0.024, subset=9, seed=3, mirror=mirror)
    train(config, tmp_path / "a.zip", None, tmp_path / "run")
    images = load(tmp_path / "a.zip", resolution=8, channels=1, mirror=mirror, subset=9, seed=3)
    order = Sampler(images.size, 3).next(24)
    assert bool((order >= 9).any()) == mirror
    assert torch.equal(torch.cat(shown), images.batch(order, torch.device("cpu"))[0])


def test_the_running_mean_of_a_transfer_starts_from_the_other_networks_too(tmp_path: Path) -> None:
    """It moves slowly, so that images would be noise for thousands more."""
    write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.004, ema_kimg=1000.0)
    train(config, tmp_path / "a.zip", None, tmp_path / "first")
    train(replace(config, seed=5), tmp_path / "a.zip", None, tmp_path / "second", resume=tmp_path / "first")
    first, second = (load_generator(tmp_path / name)[0].synthesis for name in ("first", "second"))
    for before, after in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-3)


def test_as_many_checkpoints_are_kept_as_asked_and_each_row_has_its_own_pace(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    config = replace(TINY, kimg=0.036, keep=1)
    train(config, tmp_path / "a.zip", None, tmp_path / "run", checkpoint_seconds=0)
    assert len(checkpoint.paths(tmp_path / "run")) == 1
    rows = [json.loads(row) for row in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    spent = [row["seconds_per_kimg"] * 0.012 for row in rows]
    assert [sum(spent[: number + 1]) for number in range(3)] == pytest.approx(
        [row["seconds"] for row in rows], abs=3e-3
    )
