import importlib.util
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
