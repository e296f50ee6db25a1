import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
TINY = {"res": 16, "batch": 4, "channel_base": 128, "p": 0.5}


@pytest.fixture(scope="module")
def gan_training() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gan_training", FOLDER / "gan_training.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_phase_moves_its_own_network_alone(gan_training: ModuleType) -> None:
    bench = gan_training.make(TINY)
    for name, moved, still in [
        ("Gmain", "g", "d"),
        ("Greg", "g", "d"),
        ("Dmain", "d", "g"),
        ("Dreg", "d", "g"),
    ]:
        before = {n: [p.clone() for p in getattr(bench.trainer, n).parameters()] for n in "gd"}
        bench.phase(name)
        after = {n: list(getattr(bench.trainer, n).parameters()) for n in "gd"}
        assert not all(map(torch.equal, before[moved], after[moved])), name
        assert all(map(torch.equal, before[still], after[still])), name


def test_settings_come_from_attributes_too_and_gaps_are_filled(gan_training: ModuleType) -> None:
    bench = gan_training.make(SimpleNamespace(**TINY, map_layers=3, gamma=None, device="cpu"))
    assert bench.config.mapping_layers == 3
    assert bench.config.gamma == pytest.approx(0.0002 * 16**2 / 4)
    assert bench.g_forward().shape == (4, 3, 16, 16)
    assert bench.d_forward().shape == (4, 1)


@pytest.mark.parametrize(("pipe", "channels"), [("bgc", 3), ("bgc", 1), ("none", 3)])
def test_the_plain_peer_computes_our_numbers(
    gan_training: ModuleType, monkeypatch: pytest.MonkeyPatch, pipe: str, channels: int
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    ours = gan_training.make({**TINY, "pipe": pipe, "channels": channels, "dtype": "bf16"})
    differences = gan_training.same_numbers(ours, ours.peer())
    assert max(differences.values()) < 1e-4


def test_a_peer_with_other_numbers_is_refused(
    gan_training: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    ours = gan_training.make(TINY)
    peer = ours.peer()
    peer.trainer.p = 0.0
    with pytest.raises(ArithmeticError, match="Gmain"):
        gan_training.same_numbers(ours, peer)


def test_seconds_a_kimg_weigh_the_lazy_phases(gan_training: ModuleType) -> None:
    bench = gan_training.make(TINY)
    seconds = {"Gmain": 1.0, "Greg": 4.0, "Dmain": 1.0, "Dreg": 16.0, "EMA": 0.0, "data": 0.0, "augment": 9.0}
    assert gan_training.seconds_per_kimg(bench.config, seconds) == 1000.0


def test_path_length_without_a_weight_takes_no_time(gan_training: ModuleType) -> None:
    config = gan_training.make({**TINY, "cfg": "cifar", "mbstd": 4}).config
    seconds = dict.fromkeys(("Gmain", "Dmain", "EMA", "data", "Dreg"), 0.0) | {"Greg": 4.0}
    assert config.path_weight == 0 and gan_training.seconds_per_kimg(config, seconds) == 0


def test_whole_steps_are_those_of_training_and_stand_beside_the_sum_of_phases(
    gan_training: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = gan_training.make(TINY)
    steps = gan_training.whole_steps(bench, rounds=2, count=bench.config.r1_interval)
    assert len(steps) == 2 and min(steps) > 0
    assert bench.trainer.images == 3 * 16 * 4
    assert {name: len(bench.trainer.sums[name]) for name in ("g_loss", "path_length", "d_loss", "r1")} == {
        "g_loss": 48, "path_length": 12, "d_loss": 48, "r1": 3
    }  # fmt: skip
    seconds = {part: {"ours": [0.5, 0.5], "plain": [1.0, 1.0]} for part in bench.parts()}
    found = gan_training.report(bench.config, seconds, [0.2, 0.4])
    assert found["min"]["step"] == {"ours": 0.2}
    assert found["min"]["step_seconds_per_kimg"]["ours"] == pytest.approx(0.2 * 1000 / 4)
    gan_training.print_table(found)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["step", "0.3", "(0.2)"] in rows and ["step", "s/kimg", "75", "(50)"] in rows


def test_a_cpu_takes_no_whole_steps(
    gan_training: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gan_training, "whole_steps", None)
    command = f"gan_training.py --res 16 --batch 4 --channel-base 128 --rounds 1 --json {tmp_path / 'x.json'}"
    monkeypatch.setattr("sys.argv", command.split())
    assert gan_training.main() == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert "steps" not in found and "step" not in found["median"]


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (2, 2), (3, 3), (4, 4), (8, 4)])
def test_a_group_is_no_larger_than_the_batch(gan_training: ModuleType, batch: int, group: int) -> None:
    bench = gan_training.make({**TINY, "batch": batch, "mbstd": 4})
    assert bench.config.group == group
    for name in ("Gmain", "Greg", "Dmain", "Dreg"):
        bench.phase(name)
    assert bench.trainer.is_finite()


def test_the_peer_computes_our_numbers_of_an_odd_batch(
    gan_training: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    ours = gan_training.make({**TINY, "batch": 3, "mbstd": 4})
    assert max(gan_training.same_numbers(ours, ours.peer()).values()) < 1e-3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--cfg cifar --versus plain", "versus=plain: the peer has no generator of skip with a"),
        ("--mbstd 3", "group=3: not possible; valid: a divisor of batch 4"),
        ("--res 33", "resolution=33: not possible; valid: "),
        ("--device abacus", "device=abacus: no such device; valid: "),
        ("--rounds 0", "rounds=0: "), ("--json /absent/folder/x.json", "json=/absent/folder/x.json: "),
        ("--json .", "json=.: cannot be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_one_line_before_it_is_timed(
    gan_training: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: str,
    said: str,
) -> None:
    monkeypatch.delattr(gan_training, "timed")
    command = f"gan_training.py --res 16 --batch 4 --channel-base 128 {flags}"
    monkeypatch.setattr("sys.argv", command.split())
    assert gan_training.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said) and "valid: " in line
