"""Losses that are scaled on their way back through float16, and steps that are skipped.

Of a mean over 16 images a 256 px discriminator's highest block would get gradients that are half rounding.
"""

import itertools
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import TrainingConfig, derived, loss, train, training_state
from stylegan2_ada.devices import TYPES
from stylegan2_ada.distributed import Ranks, cut
from stylegan2_ada.errors import DivergenceError
from stylegan2_ada.training_state import SKIPPED, TrainingState, descend, lazy_adam

CPU = torch.device("cpu")
FLOAT16 = TrainingConfig(resolution=8, batch=4, channel_base=64, augment="bg", dtype="fp16")
TINY = derived(TrainingConfig(resolution=8, batch=6, channel_base=64, kimg=0.024, aug="noaug", dtype="fp16"))
PARTS = cut(4, 1, Ranks(), 0, CPU)


@pytest.fixture(autouse=True)
def _in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU compute in the type that it is told, however slowly."""
    monkeypatch.setattr(training_state, "computed_in", lambda dtype, device: TYPES[dtype])


def linear() -> tuple[torch.nn.Linear, torch.optim.Adam]:
    network = torch.nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        network.bias.zero_()
    return network, lazy_adam(network, 0.1, 4)


def test_what_float16_would_round_to_nothing_arrives_with_a_scale() -> None:
    grads = {}
    for scale in (None, 2.0**16):
        network, optimiser = linear()
        told = descend(
            optimiser,
            Ranks(),
            PARTS,
            lambda _, network=network: ((network.weight.half() * 2**-8).sum().float() * 2**-20, {}),
            scale=scale,
        )
        grads[scale] = network.weight.grad
        assert ("skipped" in told) == (scale is not None)
    assert grads[None] is not None and not grads[None].any()
    assert torch.equal(grads[2.0**16], torch.full((1, 3), 2.0**-28))


def test_in_float32_a_scale_changes_no_bit() -> None:
    images = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def gradient(scale: float | None) -> torch.Tensor:
        network, optimiser = linear()
        descend(optimiser, Ranks(), PARTS, lambda _: (network(images).square().mean(), {}), scale=scale)
        assert network.weight.grad is not None
        return network.weight.grad

    assert torch.equal(gradient(None), gradient(64.0))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_step_whose_gradient_is_no_number_is_skipped_and_told(bad: float) -> None:
    network, optimiser = linear()

    def step(factor: float) -> float:
        told = descend(optimiser, Ranks(), PARTS, lambda _: (network.weight.sum() * factor, {}), scale=8.0)
        return told["skipped"].item()

    assert step(1.0) == 0
    before = [value.clone() for value in (network.weight, *optimiser.state[network.weight].values())]
    assert step(bad) == 1
    after = [network.weight, *optimiser.state[network.weight].values()]
    assert all(map(torch.equal, before, after))
    assert step(1.0) == 0
    assert not torch.equal(network.weight, before[0])


@pytest.mark.parametrize("batch", [1, 6])
def test_float16_alone_is_scaled_and_watched(batch: int) -> None:
    for dtype in ("fp32", "bf16", "fp16"):
        state = TrainingState.fresh(replace(TINY, dtype=dtype, batch=batch, group=1), CPU)
        state.step(torch.zeros(batch, 1, 8, 8))
        skipped = {name: float(*values) for name, values in state.sums.items() if name.startswith(SKIPPED)}
        phases = ("Gmain", "Greg", "Dmain", "Dreg") if dtype == "fp16" else ()
        assert skipped == {SKIPPED + phase: 0.0 for phase in phases}


def test_where_float16_is_computed_in_float32_nothing_is_scaled_or_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_state, "computed_in", lambda dtype, device: torch.float32)
    state = TrainingState.fresh(TINY, CPU)
    state.step(torch.full((6, 1, 8, 8), float("nan")))
    assert not [name for name in state.sums if name.startswith(SKIPPED)]
    assert math.isnan(state.tick()["d_loss"])  # which ends the run, by name


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for k in range(8):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"images/{k}.png")
    return tmp_path / "images"


def overflowing(monkeypatch: pytest.MonkeyPatch, measured: str, steps: Collection[int]) -> None:
    """Let what a loss function returns be infinite at some of its calls."""
    function, calls = getattr(loss, measured), itertools.count()

    def overflow(*args: torch.Tensor, **options: bool) -> torch.Tensor:
        value: torch.Tensor = function(*args, **options)
        return value * float("inf") if next(calls) in steps else value

    monkeypatch.setattr(loss, measured, overflow)


@pytest.mark.parametrize(
    ("measured", "phase", "each"),
    [("discriminator_loss", "Dmain", 1), ("r1_penalty", "Dreg", 16), ("path_lengths", "Greg", 4)],
)
def test_a_run_ends_where_a_phase_skips_every_step(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: str, phase: str, each: int
) -> None:
    overflowing(monkeypatch, measured, range(1000))
    settings = replace(FLOAT16, kimg=0.004 * each * 3, tick_kimg=0.004 * each)
    with pytest.raises(DivergenceError, match=rf"^gradients of {phase} overflowed float16 at every step"):
        train(settings, images, None, tmp_path / "run")


@pytest.mark.parametrize("measured", ["r1_penalty", "path_lengths"])
def test_one_overflow_in_an_inner_gradient_costs_one_step(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: str
) -> None:
    overflowing(monkeypatch, measured, [1])
    settings = replace(FLOAT16, kimg=0.16, tick_kimg=0.08)
    history = train(settings, images, None, tmp_path / "run").history
    first, second = ([row[name] for name in row if name.startswith(SKIPPED)] for row in history)
    assert any(first) and not any(second)
    assert all(math.isfinite(value) for row in history for value in row.values())
