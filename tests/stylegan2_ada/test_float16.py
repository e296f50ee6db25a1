"""Losses that are scaled on their way back through float16, and steps that are skipped.

Of a mean over 16 images a 256 px discriminator's highest block would get gradients that are half rounding.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import TrainingConfig, derived, train, training_loop
from stylegan2_ada.chance import Chance
from stylegan2_ada.distributed import Ranks, cut
from stylegan2_ada.errors import DivergenceError
from stylegan2_ada.training_state import TrainingState, descend, lazy_adam

CPU = torch.device("cpu")
TINY = derived(TrainingConfig(resolution=8, batch=6, channel_base=64, kimg=0.024, aug="noaug", dtype="fp16"))
PARTS = cut(4, 1, Ranks(), 0, CPU)


def linear() -> tuple[torch.nn.Linear, torch.optim.Adam]:
    network = torch.nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        network.bias.zero_()
    return network, lazy_adam(network, 0.1, 4)


def test_what_float16_would_round_to_nothing_arrives_with_a_scale() -> None:
    grads = {}
    for scale in (1.0, 2.0**16):
        network, optimiser = linear()
        told = descend(
            optimiser,
            Ranks(),
            PARTS,
            lambda _, network=network: ((network.weight.half() * 2**-8).sum().float() * 2**-20, {}),
            scale=scale,
        )
        grads[scale] = network.weight.grad
        assert ("skipped" in told) == (scale != 1)
    assert not grads[1.0].any()
    assert torch.equal(grads[2.0**16], torch.full((1, 3), 2.0**-28))


def test_in_float32_a_scale_changes_no_bit() -> None:
    images = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def trained(scale: float) -> torch.Tensor:
        network, optimiser = linear()
        for _ in range(3):
            descend(optimiser, Ranks(), PARTS, lambda _: (network(images).square().mean(), {}), scale=scale)
        return network.weight.detach()

    ends = [trained(scale) for scale in (1.0, 64.0)]
    assert torch.equal(*ends)


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


def test_float16_alone_is_scaled() -> None:
    for dtype in ("fp32", "bf16", "fp16"):
        state = TrainingState.fresh(replace(TINY, dtype=dtype), CPU)
        state.step(torch.zeros(6, 1, 8, 8))
        assert ("skipped" in state.sums) == (dtype == "fp16")
    assert [float(value) for value in state.sums["skipped"]] == [0.0] * 4  # each phase of the first step


def test_phases_of_float16_move_as_those_of_float32_where_both_compute_in_it() -> None:
    ends = []
    for dtype in ("fp32", "fp16"):  # which this machine's CPU computes in float32
        state = TrainingState.fresh(replace(TINY, dtype=dtype), CPU)
        state.d.low = state.g.low = torch.float32
        state.g_main(Chance(0, 0, CPU))
        ends.append([parameter.detach() for parameter in state.g.parameters()])
    for one, other in zip(*ends, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-6)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for k in range(8):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"images/{k}.png")
    return tmp_path / "images"


def test_a_run_ends_where_it_skips_most_of_its_steps_and_goes_on_where_it_skips_few(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(TINY, dtype="auto", tick_kimg=0.012, group=2)
    tick = TrainingState.tick
    shares = iter([0.25, 0.75])
    monkeypatch.setattr(TrainingState, "tick", lambda state: tick(state) | {"skipped": next(shares)})
    monkeypatch.setattr(training_loop, "_write_last", lambda run: None)
    with pytest.raises(DivergenceError, match=r"^not a number after 0.024 kimg .*'skipped': 0\.75"):
        train(settings, images, None, tmp_path / "run")
