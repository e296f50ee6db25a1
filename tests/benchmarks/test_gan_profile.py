"""The arithmetic of a phase is counted, and its share of what the device can do is one."""

import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gan_profile(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(FOLDER))
    import gan_profile

    monkeypatch.setitem(gan_profile._SIDES, "cpu", 64)
    return gan_profile


def test_arithmetic_is_that_of_products_and_convolutions(gan_profile) -> None:  # type: ignore[no-untyped-def]
    a, weight, image = torch.randn(3, 5), torch.randn(4, 3, 3, 3), torch.randn(2, 3, 8, 8)
    assert gan_profile.arithmetic(lambda: a @ a.T) == 2 * 3 * 5 * 3
    convolved = gan_profile.arithmetic(lambda: torch.conv2d(image, weight, padding=1))
    assert convolved == 2 * (2 * 8 * 8) * 4 * (3 * 9)


def test_each_phase_has_its_seconds_operations_and_share(  # type: ignore[no-untyped-def]
    gan_profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--res=16", "--batch=4", "--channel-base=128", "--rounds=1", "--operators=3"]
    monkeypatch.setattr(sys, "argv", ["gan_profile.py", *flags, f"--json={tmp_path / 'found.json'}"])
    assert gan_profile.main() == 0
    found = json.loads((tmp_path / "found.json").read_text())["phases"]
    for name in gan_profile.PHASES:
        one = found[name]
        best = found["product of matrices"]["operations_per_second"]
        assert one["operations"] > 1e5
        assert one["share"] == pytest.approx(one["operations"] / one["seconds"] / best)
    assert found["Greg"]["operations"] < found["Gmain"]["operations"]  # half a batch, and no discriminator
    said = capsys.readouterr().out
    assert said.count("Self CPU time total") == 4 and "aten::" in said
