import copy
import math

import pytest
import torch
from stylegan2_ada import TrainingConfig, derived
from stylegan2_ada.training_state import Chance, TrainingState

TINY = derived(TrainingConfig(resolution=8, batch=4, channel_base=64, kimg=0.1, augment="bgc"))
CPU = torch.device("cpu")


def reals(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


# The second step's losses see what the optimisers of the first one did.
PINNED: dict[str, float] = {
    "kimg": 0.004,
    "augment_p": 0.5,
    "d_loss": 1.407236,
    "g_loss": 0.712226,
    "path_length": 0.461051,
    "r1": 0.026688,
    "real_sign": 0.0,
    "next_g_loss": 0.723475,
    "next_d_loss": 1.372354,
}


def measured_steps() -> dict[str, float]:
    state = TrainingState.fresh(TINY, CPU)
    state.controller.p = 0.5
    rows = []
    for seed in (0, 1):
        state.step(reals(seed))
        rows.append(state.tick())
    names = ("g_loss", "d_loss")
    return rows[0] | {f"next_{name}": rows[1][name] for name in names}


def test_one_step_is_pinned() -> None:
    measured = measured_steps()
    for name, value in PINNED.items():
        assert measured[name] == pytest.approx(value, rel=1e-3), (
            f"{name} of one training step was {value}, is {measured[name]}: if the change of the algorithm is"
            f" meant, say so in its commit and pin {measured}"
        )


def test_a_step_depends_on_seed_and_images_seen_alone() -> None:
    first, second = TrainingState.fresh(TINY, CPU), TrainingState.fresh(TINY, CPU)
    torch.manual_seed(123)  # nothing may draw from the global generator
    first.step(reals())
    torch.manual_seed(321)
    second.step(reals())
    for a, b in zip(first.g.parameters(), second.g.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loaded_state_goes_on_as_the_saved_one() -> None:
    state, loaded = TrainingState.fresh(TINY, CPU), TrainingState.fresh(TINY, CPU)
    state.step(reals())
    state.tick()
    loaded.load_state_dict(copy.deepcopy(state.state_dict()))
    for each in (state, loaded):
        each.step(reals(1))
        each.tick()
    assert loaded.history == state.history
    assert all(map(torch.equal, loaded.d.state_dict().values(), state.d.state_dict().values()))


def test_regularisers_run_at_their_intervals() -> None:
    state = TrainingState.fresh(TINY, CPU)
    for _ in range(17):
        state.step(reals())
    assert len(state.sums["g_loss"]) == len(state.sums["d_loss"]) == 17
    assert len(state.sums["path_length"]) == 5
    assert len(state.sums["r1"]) == 2


def test_the_running_mean_follows_at_its_half_life() -> None:
    state = TrainingState.fresh(TINY, CPU)
    state.images = 10**9  # past the ramp
    before, now = (p.detach().clone() for p in (state.g_ema.synthesis.b4.const, state.g.synthesis.b4.const))
    with torch.no_grad():
        state.g.synthesis.b4.const += 1
    state._average()
    weight = 1 - 0.5 ** (4 / (TINY.ema_kimg * 1000))
    expected = before.lerp(now + 1, weight)
    assert torch.allclose(state.g_ema.synthesis.b4.const, expected)


def test_mixing_happens_as_often_as_asked() -> None:
    cutoffs = [Chance(0, images, CPU).cutoff(6, 0.9) for images in range(2000)]
    assert set(cutoffs) == {1, 2, 3, 4, 5, 6}
    assert cutoffs.count(6) / 2000 == pytest.approx(0.1, abs=0.03)


def test_a_weight_that_is_not_a_number_is_noticed() -> None:
    state = TrainingState.fresh(TINY, CPU)
    assert state.is_finite()
    with torch.no_grad():
        state.d.b4.out.bias += math.nan
    assert not state.is_finite()
