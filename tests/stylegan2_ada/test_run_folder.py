import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from stylegan2_ada import TrainingConfig, TrainingResult, UsageError, checkpoint, run_folder, train
from stylegan2_ada.__main__ import main
from stylegan2_ada.networks import Architecture
from stylegan2_ada.run_folder import COURSE, identity_of, locked
from stylegan2_ada.training_state import TrainingState
from stylegan2_ada.weights import save

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.test_training_loop import TINY, files

SHORT = replace(TINY, kimg=0.024)


@pytest.fixture
def members(tmp_path: Path) -> list[str]:
    names = write_archive(tmp_path / "a.zip")
    trained(tmp_path, names)
    return names


def trained(folder: Path, members: list[str], config: TrainingConfig = SHORT, **more: str) -> TrainingResult:
    return train(config, folder / "a.zip", members, folder / "run", **more)  # type: ignore[arg-type]


def command(folder: Path, *more: str) -> list[str]:
    flags = [f"--{name.replace('_', '-')}={getattr(SHORT, name)}" for name in (
        "resolution", "batch", "channel_base", "kimg", "tick_kimg", "snapshot_kimg", "augment",
    )]  # fmt: skip
    return [
        "train",
        f"--data={folder / 'a.zip'}",
        f"--outdir={folder / 'run'}",
        "--device=cpu",
        *flags,
        *more,
    ]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [({"gamma": 3.0}, r"gamma 0.0032, now 3.0"), ({"seed": 1}, r"seed 0, now 1"),
     ({"mirror": False, "p": 0.5, "aug": "fixed"}, r"mirror True, now False; aug ada, now fixed; p .*")],
)  # fmt: skip
def test_a_folder_of_another_run_is_refused_by_what_differs(
    tmp_path: Path, members: list[str], changes: dict[str, object], difference: str
) -> None:
    before = files(tmp_path / "run")
    with pytest.raises(
        UsageError, match=rf"^outdir=.*\({difference}\); valid: .*another outdir, or --start-over"
    ):
        trained(tmp_path, members, replace(SHORT, **changes))  # type: ignore[arg-type]
    assert files(tmp_path / "run") == before


def test_other_images_or_another_start_are_another_run(tmp_path: Path, members: list[str]) -> None:
    with pytest.raises(UsageError, match=r"\(images of digest \w{12}, now \w{12}\)"):
        trained(tmp_path, members[:-1])
    shutil.copytree(tmp_path / "run", tmp_path / "start")
    with pytest.raises(UsageError, match=r"start None, now .*start\)"):
        train(replace(SHORT, ema_ramp=0.05, ada_kimg=500), tmp_path / "a.zip", members, tmp_path / "run",
              resume=tmp_path / "start")  # fmt: skip


def test_a_start_from_another_network_of_a_folder_is_another_run(tmp_path: Path) -> None:
    """Also where the generator of the last step alone is another one."""
    a, digests = Architecture(resolution=8, channels=1, channel_base=64), set()
    mean, last, d = a.generator(), a.generator(), a.discriminator(4)
    for changed in (None, mean, last, d):
        if changed is not None:
            next(changed.parameters()).data.add_(1)
        save(tmp_path, mean, d, a, {}, g=last)
        digests.add(identity_of(SHORT, "images", tmp_path).digest)
    assert len(digests) == 4


def test_what_changes_no_step_changes_no_run(
    tmp_path: Path, members: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = replace(SHORT, snapshot_kimg=5.0, keep=4, collapse_ratio=0.5, tick_kimg=0.02, batch_gpu=4)
    settings = {name for name in COURSE if getattr(changed, name) != getattr(SHORT, name)}
    assert settings == set(COURSE) - {"kimg", "patience"}
    with monkeypatch.context() as patched:
        patched.delattr(TrainingState, "step")  # nothing is trained again
        trained(tmp_path, members, changed)
    longer = trained(tmp_path, members, replace(changed, kimg=0.048))
    at_once = train(replace(SHORT, kimg=0.048), tmp_path / "a.zip", members, tmp_path / "other")
    assert longer.history[-1]["kimg"] == at_once.history[-1]["kimg"]
    assert files(tmp_path / "run")["samples.png"] == files(tmp_path / "other")["samples.png"]


def test_another_version_goes_on_and_says_so(
    tmp_path: Path, members: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_folder, "_code", lambda: "another")
    with caplog.at_level(logging.INFO, "stylegan2_ada"):
        trained(tmp_path, members, replace(SHORT, kimg=0.036))
    assert "another version of stylegan2_ada" in caplog.text and "continuing at 0.024 kimg" in caplog.text
    monkeypatch.setattr(run_folder, "FORMAT", 99)
    with pytest.raises(UsageError, match=r"\(checkpoint format 2, now 99\)"):
        trained(tmp_path, members, replace(SHORT, kimg=0.036))


def test_starting_over_removes_the_run_and_nothing_else(tmp_path: Path, members: list[str]) -> None:
    (tmp_path / "run" / "notes.txt").write_text("mine")
    other = replace(SHORT, seed=1)
    again = trained(tmp_path, members, other, begin="over")
    alone = train(other, tmp_path / "a.zip", members, tmp_path / "alone")
    assert again == alone
    found = files(tmp_path / "run")
    assert found.pop("notes.txt") == b"mine" and found == files(tmp_path / "alone")
    assert len(checkpoint.paths(tmp_path / "run")) == 1


def test_the_command_starts_over_when_told(
    tmp_path: Path, members: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, "--seed=1")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "(seed 0, now 1)" in line and "--start-over" in line
    assert main(command(tmp_path, "--seed=1", "--start-over")) == 0
    assert json.loads((tmp_path / "run" / "training_options.json").read_text())["config"]["seed"] == 1
    assert main(command(tmp_path, "--seed=1", "--start-over", "--resume=latest")) == 2


def test_a_finished_network_is_not_trained_over(tmp_path: Path, members: list[str]) -> None:
    checkpoint.remove_all(tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(UsageError, match=r"its network is of 0.024 kimg and no checkpoint is left"):
        trained(tmp_path, members, replace(SHORT, kimg=0.048))
    after = files(tmp_path / "run")
    before.pop("training_options.json"), after.pop("training_options.json")
    assert after == before


@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "whole"])
def test_a_run_whose_checkpoints_are_all_damaged_begins_anew_and_says_so(
    tmp_path: Path, members: list[str], damaged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run" / "generator.json").unlink()
    for path in checkpoint.paths(tmp_path / "run") if damaged else ():
        path.with_suffix(".json").write_text("[]")
    trained(tmp_path, members)
    assert ("no whole checkpoint is left, beginning at 0" in caplog.text) == damaged


def test_an_outdir_that_holds_a_network_of_no_run_is_refused(tmp_path: Path, members: list[str]) -> None:
    (tmp_path / "run" / "training_options.json").unlink()
    for begin in ("if needed", "over"):
        with pytest.raises(UsageError, match=r"but no training_options.json; valid: another outdir"):
            trained(tmp_path, members, begin=begin)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "\xff", "[" * 100_000, '{"G_kwargs": {}}', '{"config": 3, "resume": 0}'],
)
@pytest.mark.parametrize("flag", ["--seed=0", "--resume=latest", "--start-over"])
def test_options_of_another_programme_end_with_one_line(
    tmp_path: Path, content: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "a.zip")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "training_options.json"
    path.write_bytes(content.encode("latin1"))
    assert main(command(tmp_path, flag)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "training_options.json" in line and "valid: " in line
    assert path.read_bytes() == content.encode("latin1")


def test_a_run_of_an_older_version_can_be_started_over(tmp_path: Path, members: list[str]) -> None:
    path = tmp_path / "run" / "training_options.json"
    there = json.loads(path.read_text())
    path.write_text(json.dumps({name: there[name] for name in ("config", "resume")}))
    with pytest.raises(UsageError, match=r"checkpoint format 1, now 2; images of digest unknown"):
        trained(tmp_path, members)
    trained(tmp_path, members, begin="over")


def test_two_processes_never_work_in_one_folder(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    with locked(tmp_path / "run"):
        with pytest.raises(
            UsageError, match=rf"process {os.getpid()} on .* trains in it; valid: another outdir"
        ):
            trained(tmp_path, names)
        done = subprocess.run(
            [sys.executable, "-m", "stylegan2_ada", *command(tmp_path)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and "trains in it" in done.stderr and "Traceback" not in done.stderr
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]
    trained(tmp_path, names)
    assert (tmp_path / "run" / "run.lock").read_text() == ""


def test_a_run_folder_within_the_data_is_not_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_archive(tmp_path / "images.zip")
    shutil.unpack_archive(tmp_path / "images.zip", tmp_path / "data")
    first = train(SHORT, tmp_path / "data", None, tmp_path / "data" / "run")
    longer = train(replace(SHORT, kimg=0.036), tmp_path / "data", None, tmp_path / "data" / "run")
    assert longer.history[: len(first.history)] == first.history  # the same images: it went on
    assert "run is the folder of a run, left out" in caplog.text
    with pytest.raises(UsageError, match=r"outdir=.*data: is the data"):
        train(SHORT, tmp_path / "data", None, tmp_path / "data")
