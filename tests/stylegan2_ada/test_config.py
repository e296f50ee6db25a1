from dataclasses import replace

import pytest
from stylegan2_ada import TrainingConfig, UsageError, derived
from stylegan2_ada.training_state import lazy_adam
from torch import nn


@pytest.mark.parametrize(
    ("resolution", "batch", "gamma", "ema", "rate", "base"),
    [
        (32, 32, 0.0064, 10, 0.0025, 16384),
        (64, 32, 0.0256, 10, 0.0025, 16384),
        (128, 32, 0.1024, 10, 0.0025, 16384),
        (256, 16, 0.8192, 5, 0.0025, 16384),
        (512, 8, 6.5536, 2.5, 0.0025, 32768),
        (1024, 4, 52.4288, 1.25, 0.002, 32768),
    ],
)
def test_formulas_are_the_authors_for_one_device(
    resolution: int, batch: int, gamma: float, ema: float, rate: float, base: int
) -> None:
    config = derived(TrainingConfig(resolution=resolution))
    assert config.batch == batch
    assert config.gamma == pytest.approx(gamma)
    assert (config.ema_kimg, config.learning_rate, config.channel_base) == (ema, rate, base)
    assert config.group == 4


def test_formulas_follow_the_batch_that_is_really_used() -> None:
    config = derived(TrainingConfig(resolution=256, batch=6))
    assert config.gamma == pytest.approx(0.0002 * 256**2 / 6)
    assert config.ema_kimg == pytest.approx(6 * 10 / 32)
    assert config.group == 3  # the largest up to 4 that divides 6


def test_given_values_stay() -> None:
    config = TrainingConfig(gamma=25.0, batch=8, channel_base=2048, learning_rate=0.001, tick_kimg=1.0)
    done = derived(config)
    names = ("gamma", "batch", "channel_base", "learning_rate", "tick_kimg")
    assert all(getattr(done, name) == getattr(config, name) for name in names)
    assert derived(done) == done


def test_a_transfer_needs_no_ramp_and_adapts_faster() -> None:
    config = derived(TrainingConfig(), transfer=True)
    assert (config.ema_ramp, config.ada_kimg) == (0, 100)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 33}, {"resolution": 4}, {"resolution": 2048}, {"channels": 2}, {"kimg": 0},
        {"batch": -1}, {"gamma": -1}, {"channel_base": 100}, {"augment": "all"}, {"batch": 6, "group": 4},
        {"ada_max": 0},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(change: dict[str, object]) -> None:
    *_, name = change
    with pytest.raises(UsageError, match=rf"{name}=.*valid: "):
        replace(TrainingConfig(), **change)  # type: ignore[arg-type]


def test_lazy_optimiser_is_corrected_for_its_interval() -> None:
    g, d = (lazy_adam(nn.Linear(1, 1), 0.0025, interval).param_groups[0] for interval in (4, 16))
    assert g["lr"] == pytest.approx(0.0020) and d["lr"] == pytest.approx(0.002352941)
    assert g["betas"] == pytest.approx((0, 0.991991968)) and d["betas"] == pytest.approx((0, 0.990585457))
