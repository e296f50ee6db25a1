from dataclasses import replace

import pytest
from stylegan2_ada import TrainingConfig, UsageError, derived
from stylegan2_ada.distributed import Ranks, own_rows
from stylegan2_ada.run import settled
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

    assert derived(TrainingConfig(ema_ramp=0.1), transfer=True).ema_ramp == 0.1


@pytest.mark.parametrize(
    ("cfg", "batch", "group", "base", "rate", "gamma", "ema", "ramp", "layers"),
    [
        ("stylegan2", 32, 4, 32768, 0.002, 10, 10, 0, 8),
        ("paper256", 64, 8, 16384, 0.0025, 1, 20, 0, 8),
        ("paper512", 64, 8, 32768, 0.0025, 0.5, 20, 0, 8),
        ("paper1024", 32, 4, 32768, 0.002, 2, 10, 0, 8),
        ("cifar", 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 2),
    ],
)
def test_named_configurations_are_the_authors(
    cfg: str,
    batch: int,
    group: int,
    base: int,
    rate: float,
    gamma: float,
    ema: float,
    ramp: float,
    layers: int,
) -> None:
    config = derived(TrainingConfig(cfg=cfg, resolution=32))
    assert (config.batch, config.group, config.channel_base, config.mapping_layers) == (
        batch, group, base, layers,
    )  # fmt: skip
    assert (config.learning_rate, config.gamma, config.ema_kimg, config.ema_ramp) == (rate, gamma, ema, ramp)
    assert config.kimg == (100000 if cfg == "cifar" else 25000)


def test_cifar_regularises_no_paths_and_mixes_no_styles() -> None:
    config = derived(TrainingConfig(cfg="cifar", resolution=32))
    assert (config.path_weight, config.mixing, config.d_blocks) == (0, 0, "orig")
    config = derived(TrainingConfig())
    assert (config.path_weight, config.mixing, config.d_blocks) == (2, 0.9, "resnet")


def test_a_tick_is_of_4000_images_and_a_short_run_has_16() -> None:
    ticks = {kimg: derived(TrainingConfig(kimg=kimg)).tick_kimg for kimg in (0.0, 1000.0, 64.0, 16.0)}
    assert ticks == {0.0: 4, 1000.0: 4, 64.0: 4, 16.0: 1}


def test_a_given_value_wins_over_the_named_configuration() -> None:
    given = {
        "batch": 24,
        "gamma": 3.0,
        "ema_kimg": 7.0,
        "mapping_layers": 4,
        "mixing": 0.0,
        "d_blocks": "skip",
    }
    config = derived(TrainingConfig(cfg="paper256", **given))  # type: ignore[arg-type]
    assert {name: getattr(config, name) for name in given} == given
    assert derived(TrainingConfig(cfg="paper256", batch=6)).group == 6  # 8 does not divide it


@pytest.mark.parametrize(
    ("ranks", "batch", "gamma", "ema"),
    [(2, 32, 0.4096, 10), (8, 64, 0.2048, 20), (100, 100, 0.131072, 31.25)],
)
def test_more_processes_share_a_larger_batch(ranks: int, batch: int, gamma: float, ema: float) -> None:
    config = derived(TrainingConfig(resolution=256), ranks=ranks)
    assert (config.batch, config.ema_kimg) == (batch, ema)
    assert config.gamma == pytest.approx(gamma)


@pytest.mark.parametrize(
    ("cfg", "batch", "ranks", "group"),
    [
        ("auto", 0, 16, 4), ("auto", 0, 17, 2), ("auto", 0, 32, 2), ("auto", 4, 4, 1), ("auto", 6, 2, 3),
        ("auto", 10, 3, 2), ("stylegan2", 0, 8, 4), ("stylegan2", 0, 16, 2), ("cifar", 0, 2, 32),
        ("cifar", 0, 4, 16), ("paper256", 0, 8, 8),
    ],
)  # fmt: skip
def test_every_process_has_a_group_of_its_own(cfg: str, batch: int, ranks: int, group: int) -> None:
    config = derived(TrainingConfig(cfg=cfg, batch=batch), ranks=ranks)
    assert config.group == group
    assert all(own_rows(config.batch, group, Ranks(rank=r, count=ranks)).size for r in range(ranks))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch": 16}, "cfg=stylegan2: gamma=10, ema_kimg=10 meant for a batch of 32, not 16; valid too"),
        ({"batch": 16, "ema_kimg": 3.0}, "gamma=10 meant for a batch of 32, not 16; valid too: others by"),
        ({"batch": 16, "gamma": 3.0, "ema_kimg": 3.0}, ""), ({"batch": 32}, ""), ({}, ""),
        ({"batch": 16, "cfg": "auto"}, ""),
    ],
)  # fmt: skip
def test_a_value_that_is_meant_for_another_batch_is_warned_of(
    given: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainingConfig(**{"cfg": "stylegan2", **given})  # type: ignore[arg-type]
    done = settled(config, None, 0)
    if config.cfg == "stylegan2":
        assert (done.gamma, done.ema_kimg) == (config.gamma or 10, config.ema_kimg or 10)
    assert said in caplog.text and bool(said) == bool(caplog.text)


def test_the_type_follows_the_device_unless_given() -> None:
    assert derived(TrainingConfig()).dtype == "fp32"
    assert derived(TrainingConfig(), cuda=True).dtype == "fp16"
    assert derived(TrainingConfig(dtype="bf16"), cuda=True).dtype == "bf16"


def test_a_group_larger_than_what_fits_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch_gpu=2: .*valid: at least the 4 images"):
        derived(TrainingConfig(batch=8, batch_gpu=2))
    assert derived(TrainingConfig(batch=8, batch_gpu=2, group=2)).group == 2


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 33}, {"resolution": 4}, {"resolution": 2048}, {"channels": 2}, {"kimg": -1},
        {"batch": -1}, {"gamma": -1}, {"channel_base": 100}, {"augment": "all"}, {"batch": 6, "group": 4},
        {"ada_max": 0}, {"cfg": "paper"}, {"dtype": "fp8"}, {"aug": "some"}, {"p": 0.5}, {"mixing": 2},
        {"g_blocks": "dense"}, {"d_blocks": "dense"}, {"keep": 0}, {"freeze_d": -1}, {"seed": -1},
        {"snapshot_kimg": 0}, {"path_interval": 0}, {"gamma": float("nan")}, {"kimg": float("inf")},
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
    assert g["eps"] == d["eps"] == 1e-8
