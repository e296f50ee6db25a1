import json
import logging
import re
import shutil
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stylegan2_ada import TrainingConfig, UsageError, devices, load_generator, train
from stylegan2_ada.__main__ import _explained, main
from stylegan2_ada.generate import generate
from stylegan2_ada.networks import Architecture
from stylegan2_ada.training_state import TrainingState
from stylegan2_ada.weights import save
from torch import Tensor, nn

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.detectors import write_script

FLAGS = ["--resolution=8", "--batch=4", "--channel-base=64", "--kimg=0.008", "--no-mirror", "--device=cpu"]


def flags(folder: Path, *more: str) -> list[str]:
    return ["train", f"--data={folder / 'a.zip'}", f"--outdir={folder / 'run'}", *FLAGS, *more]


def test_train_then_generate(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path)) == 0
    network = f"--network={tmp_path / 'run'}"
    assert main(["generate", network, f"--outdir={tmp_path / 'out'}", "--seeds=0,5-6"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"seed{seed:04}.png" for seed in (0, 5, 6)
    ]
    assert json.loads((tmp_path / "run" / "generator.json").read_text())["config"]["mirror"] is False


def test_one_label_for_all_is_no_condition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the images that are chosen: others may have another one."""
    names = write_archive(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        labels = [[name, 3 if number < 9 else 0] for number, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    (tmp_path / "members.txt").write_text("\n".join(names[:9]))
    assert main(flags(tmp_path, "--cond", f"--members={tmp_path / 'members.txt'}")) == 2
    assert "cond=True: one label for all images of" in capsys.readouterr().err


def test_classes_make_different_images(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr(
            "dataset.json", json.dumps({"labels": [[name, i % 2] for i, name in enumerate(names)]})
        )
    assert main(flags(tmp_path, "--cond")) == 0
    images = []
    for label in ("0", "1", "0,1"):
        out = tmp_path / label
        made = [
            "generate",
            f"--network={tmp_path / 'run'}",
            f"--outdir={out}",
            "--seeds=3",
            f"--class={label}",
        ]
        assert main([*made, "--noise=none", "--cutoff=2", "--trunc=0.7"]) == 0
        images.append(np.asarray(Image.open(out / "seed0003.png")))
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(images[1], images[2])
    every = ["generate", f"--network={tmp_path / 'run'}", f"--outdir={tmp_path / 'every'}", "--class=every"]
    assert main([*every, "--seeds=3", "--noise=none", "--cutoff=2", "--trunc=0.7"]) == 0
    found = [np.asarray(Image.open(tmp_path / f"every/class{label}/seed0003.png")) for label in (0, 1)]
    assert np.array_equal(found[0], images[0]) and np.array_equal(found[1], images[1])
    assert main(["metrics", f"--network={tmp_path / 'run'}", "--data=absent", "--detector=absent"]) == 2


def test_labels_of_one_number_are_trained_on_and_generated_from(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        rows = [[name, [i / 10]] for i, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": rows}))
    assert main(flags(tmp_path, "--cond")) == 0
    command = ["generate", f"--network={tmp_path / 'run'}", f"--outdir={tmp_path / 'out'}", "--seeds=3"]
    assert main([*command, "--class=0.4"]) == 0 and main(command) == 2


def test_a_network_that_learnt_from_vectors_is_not_asked_for_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It need never have seen the vector of one class."""
    names = write_archive(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        rows = [[name, [1.0, i / 10]] for i, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": rows}))
    assert main(flags(tmp_path, "--cond")) == 0
    command = ["generate", f"--network={tmp_path / 'run'}", f"--outdir={tmp_path / 'out'}", "--seeds=3"]
    for label in ("1", "every"):
        assert main([*command, f"--class={label}"]) == 2
        said = capsys.readouterr().err
        assert f"class={label}: not a label of this network; valid: 2 numbers between commas" in said
    assert main([*command, "--class=1,0.4"]) == 0


@pytest.mark.parametrize("flag", ["--freeze-d=99", "--data=absent", "--subset=99", "--cond", "--batch=-1"])
def test_a_run_that_is_refused_leaves_no_trace(tmp_path: Path, flag: str) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path, flag)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(("channels", "detector_channels"), [(1, 3), (3, 3), (1, 1)])
def test_snapshots_are_judged_by_a_detector_of_other_channels(
    tmp_path: Path, channels: int, detector_channels: int
) -> None:
    write_archive(tmp_path / "a.zip")
    script = write_script(tmp_path / "detector.pt", ChannelMeans(detector_channels))
    judged = [f"--detector={script}", f"--detector-channels={detector_channels}", "--detector-count=8"]
    assert main(flags(tmp_path, f"--channels={channels}", *judged)) == 0
    assert "kid" in json.loads((tmp_path / "run" / "best" / "generator.json").read_text())


def test_a_detector_that_cannot_take_the_images_is_refused_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "a.zip")
    script = write_script(tmp_path / "detector.pt", ChannelMeans(1))
    monkeypatch.delattr(TrainingState, "fresh")
    assert main(flags(tmp_path, f"--detector={script}")) == 2
    assert "C = detector_channels (now 3)" in capsys.readouterr().err


class ChannelMeans(nn.Module):
    """Features of images of so many channels, and of no others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1] == self.channels
        return images.float().mean(dim=2).flatten(1)


def test_patience_wants_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ("--dry-run", "--device=cpu"):
        assert main(flags(tmp_path, "--patience=5", more)) == 2
        assert capsys.readouterr().err.startswith("patience=5: nothing judges snapshots; valid: 0, or a det")
    with pytest.raises(UsageError, match="patience=5"):
        train(TrainingConfig(patience=5), tmp_path / "a.zip", None, tmp_path / "run")


def test_a_folder_is_data_too(tmp_path: Path) -> None:
    write_archive(tmp_path / "images.zip")
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        archive.extractall(tmp_path / "a.zip")
    assert main(flags(tmp_path)) == 0


def test_a_data_set_a_network_and_back(tmp_path: Path) -> None:
    write_archive(tmp_path / "images.zip", side=12)
    assert main(["dataset", str(tmp_path / "images.zip"), str(tmp_path / "a.zip"), "--resolution=8"]) == 0
    assert main(flags(tmp_path)) == 0
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "network.pt")]) == 0
    assert (
        main(["import", str(tmp_path / "network.pt"), str(tmp_path / "again")]) == 2
    )  # none of the authors'


def test_the_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """By the comments beside them."""
    assert set(_explained()) >= {setting.name for setting in fields(TrainingConfig)}
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--gamma GAMMA weight of R1; default 0.0" in said


def test_a_dry_run_says_all_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data=absent.zip", f"--outdir={tmp_path / 'run'}", "--dry-run", *FLAGS]) == 0
    assert not (tmp_path / "run").exists()
    settings, _, more = capsys.readouterr().out.rpartition("\n}\n")
    assert json.loads(settings + "}")["gamma"] == pytest.approx(0.0002 * 64 / 4)
    assert more.splitlines()[1].startswith("parameters: generator 5")


@pytest.mark.parametrize(("dtype", "computed"), [("fp32", "float32"), ("bf16", "float32")])
def test_a_dry_run_says_what_this_processor_computes_in(
    dtype: str, computed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_gains_by", lambda _: False)
    assert main(["train", "--data=-", "--outdir=-", "--dry-run", "--device=cpu", f"--dtype={dtype}"]) == 0
    assert f"\nblocks of {dtype} compute in: {computed}\n" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--members=absent.txt", "--detector=absent.pt"])
def test_a_dry_run_refuses_files_that_are_not_there(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data=-", "--outdir=-", "--dry-run", flag]) == 2
    assert "absent." in capsys.readouterr().err


def test_a_flag_is_not_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data=-", "--outdir=-", "--dry-run", "--fi=crop"]) == 2
    assert "unrecognized arguments: --fi=crop" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_a_dry_run_refuses_what_the_run_refuses(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path, "--freeze-d=99", *more)) == 2
    assert capsys.readouterr().err == "freeze_d=99: not that many convolutions; valid: 0 to 4\n"


@pytest.mark.parametrize(
    ("labels", "flag", "said"),
    [
        (3, "--cond", ""),
        (0, "--no-cond", ""),
        (3, "--no-cond", "another architecture (labels 3 there, 0 here)"),
        (0, "--cond", "there knows no labels; valid: cond=False"),
    ],
)
def test_a_dry_run_of_a_transfer_is_of_labels_where_both_networks_are(
    tmp_path: Path, labels: int, flag: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there = Architecture(resolution=8, channels=1, channel_base=64, labels=labels)
    save(tmp_path / "there", there.generator(), there.discriminator(4), there, {})
    done = main(
        ["train", "--data=-", "--outdir=-", *FLAGS, f"--resume={tmp_path / 'there'}", flag, "--dry-run"]
    )
    assert done == (2 if said else 0)
    assert said in capsys.readouterr().err


def test_a_dry_run_warns_of_a_gamma_that_is_meant_for_another_batch(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", "--data=-", "--outdir=-", "--dry-run", "--cfg=paper256", "--batch=16"]) == 0
    assert "gamma=1, ema_kimg=20 meant for a batch of 64, not 16" in caplog.text
    assert '"gamma": 1' in capsys.readouterr().out


def test_a_dry_run_of_several_processes_is_of_the_batch_they_share(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank, printed in (("0", '"batch": 64'), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "--data=-", "--outdir=-", "--dry-run", "--resolution=256"]) == 0
        out = capsys.readouterr().out
        assert printed in out and bool(out) == bool(printed)


@pytest.mark.parametrize(
    ("resolution", "layers", "g", "d"),
    [
        (64, 2, 22.24, 23.41), (128, 2, 22.95, 23.88), (256, 2, 23.19, 24.00), (256, 8, 24.77, 24.00),
        (512, 2, 28.70, 28.98), (1024, 8, 30.37, 29.01),
    ],
)  # fmt: skip
def test_networks_are_as_large_as_the_authors(
    resolution: int, layers: int, g: float, d: float, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data=-", "--outdir=-", "--dry-run", f"--resolution={resolution}", "--channels=3"]
    assert main([*command, f"--mapping-layers={layers}"]) == 0
    words = capsys.readouterr().out.rpartition("generator ")[2].replace(",", "").split()
    assert (round(int(words[0]) / 1e6, 2), round(int(words[2]) / 1e6, 2)) == (g, d)


@pytest.mark.parametrize("flag", ["--resolution=33", "--augment=all", "--resume=latest", "--device=abacus"])
def test_bad_values_end_with_one_line(tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data=absent.zip", f"--outdir={tmp_path}", flag]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "flag",
    ["--seeds=a", "--seeds=5-3", "--class=0", "--noise=some", "--batch=0", "--cutoff=9", "--cutoff=-1"],
)
def test_bad_wishes_for_images_end_with_one_line(
    tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str], network: Path
) -> None:
    assert main(["generate", f"--network={network}", f"--outdir={tmp_path}", "--seeds=0", flag]) == 2
    assert capsys.readouterr().err.startswith(flag[2:].replace("--", ""))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    write_archive(folder / "a.zip")
    assert main(flags(folder)) == 0
    return folder / "run"


def test_a_cutoff_on_the_command_line_is_followed(tmp_path: Path, network: Path) -> None:
    generator, images = load_generator(network)[0], []
    for flag, cutoff in (("--batch=16", None), ("--cutoff=2", 2)):
        out = tmp_path / flag
        command = ["generate", f"--network={network}", f"--outdir={out}", "--seeds=3", "--trunc=0.2", flag]
        assert main(command) == 0
        images.append(np.asarray(Image.open(out / "seed0003.png")))
        assert np.array_equal(images[-1], next(generate(generator, [3], 0.2, 16, cutoff=cutoff))[0])
    assert not np.array_equal(*images)


def test_latest_goes_on_with_the_stopped_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], network: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stylegan2_ada")
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path, f"--resume={network}")) == 0
    assert main(flags(tmp_path, "--resume=latest", "--kimg=0.016")) == 0
    assert "continuing at 0.008 kimg" in caplog.text
    assert (
        json.loads((tmp_path / "run" / "generator.json").read_text())["config"]["ada_kimg"] == 100
    )  # a transfer
    assert main(flags(tmp_path, "--resume=latest", "--gamma=3")) == 2
    assert "gamma 0.0032, now 3.0" in capsys.readouterr().err


def test_a_run_that_diverges_ends_with_its_own_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path, "--learning-rate=1e30", "--kimg=0.1")) == 1
    assert capsys.readouterr().err.startswith("not a number after")


def test_the_command_that_a_diverged_run_names_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "a.zip")
    longer = flags(tmp_path, "--kimg=0.1", "--tick-kimg=0.004")
    assert main(flags(tmp_path)) == 0
    (tmp_path / "run" / "generator.json").unlink()  # as if it had not come to an end
    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "is_finite", lambda self: False)
        assert main(longer) == 1
    said = capsys.readouterr().err
    named = re.search(r"same command with (--outdir NEW --resume (\S+) --gamma (\S+)), which", said)
    assert named is not None and named[2] == str(tmp_path / "run")
    assert float(named[3]) == pytest.approx(4 * 0.0032)
    new = tmp_path / "new"
    assert main([*longer, "--kimg=0.004", *named[1].replace("NEW", str(new)).split()]) == 0
    assert json.loads((new / "training_options.json").read_text())["config"]["gamma"] == float(named[3])
    assert main(["generate", f"--network={named[2]}", f"--outdir={tmp_path / 'out'}", "--seeds=0"]) == 0
    about = json.loads((tmp_path / "run" / "generator.json").read_text())
    assert about["kimg"] == 0.008  # of the last good checkpoint
    assert main(longer) == 0  # it is not taken for finished


def test_a_run_that_diverges_before_its_first_checkpoint_names_a_command_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path, "--learning-rate=1e30", "--kimg=0.1")) == 1
    named = re.search(r"same command with (--start-over --gamma \S+); there is no", capsys.readouterr().err)
    assert named is not None
    assert main(flags(tmp_path, *named[1].split())) == 0


@pytest.mark.parametrize("start", ["run", "run/best"])
def test_starting_over_never_removes_what_is_started_from(
    tmp_path: Path, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "a.zip")
    assert main(flags(tmp_path)) == 0
    shutil.copytree(tmp_path / "run", tmp_path / "run" / "best")
    assert main(flags(tmp_path, f"--resume={tmp_path / start}", "--start-over", "--gamma=3")) == 2
    assert "--start-over removes it with" in capsys.readouterr().err
    assert (tmp_path / start / "generator.json").is_file()


def test_every_setting_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert all("--" + field.name.replace("_", "-") in text for field in fields(TrainingConfig))


@pytest.mark.parametrize("command", ["train", "generate"])
def test_ctrl_c_outside_of_steps_ends_with_a_line_too(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    write_archive(tmp_path / "a.zip")
    monkeypatch.setattr("stylegan2_ada.dataset.load", interrupted)
    monkeypatch.setattr(sys.modules["stylegan2_ada.generate"], "load_generator", interrupted)
    of_generating = ["generate", f"--network={tmp_path}", f"--outdir={tmp_path / 'out'}", "--seeds=1"]
    assert main(flags(tmp_path) if command == "train" else of_generating) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"
