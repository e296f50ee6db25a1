import json
from dataclasses import fields
from pathlib import Path

import pytest
from stylegan2_ada import TrainingConfig
from stylegan2_ada.__main__ import main

from tests.stylegan2_ada.archives import write_archive

FLAGS = ["--resolution=8", "--batch=4", "--channel-base=64", "--kimg=0.008", "--no-mirror", "--device=cpu"]


def test_train_then_generate(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    run = str(tmp_path / "run")
    assert main(["train", f"--data={tmp_path / 'a.zip'}", f"--outdir={run}", *FLAGS]) == 0
    assert main(["generate", f"--network={run}", f"--outdir={tmp_path / 'out'}", "--seeds=0,5-6"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"seed{seed:04}.png" for seed in (0, 5, 6)
    ]
    assert json.loads((tmp_path / "run" / "generator.json").read_text())["config"]["mirror"] is False


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    assert main(["train", "--data=absent.zip", f"--outdir={tmp_path / 'run'}", "--dry-run", *FLAGS]) == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--resolution=33", "--augment=all"])
def test_bad_values_end_with_one_line(tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data=absent.zip", f"--outdir={tmp_path}", flag]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_every_setting_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert all("--" + field.name.replace("_", "-") in text for field in fields(TrainingConfig))
