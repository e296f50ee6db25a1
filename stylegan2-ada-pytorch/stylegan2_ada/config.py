"""Every setting of a training run, and the formulas for those left to it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, get_args

from stylegan2_ada.augment import SETS
from stylegan2_ada.decoding import Fit
from stylegan2_ada.errors import require
from stylegan2_ada.networks import Blocks
from stylegan2_ada.sizes import LEAST_MOST

DTYPES = ("auto", "fp32", "bf16", "fp16")
CLAMP = 256.0  # largest activation where blocks run in float16
LOW_BLOCKS = 4  # resolutions, from the highest down, that then do
ONE_IMAGE = 0.001  # kimg
MOST_KIMG, MOST_BATCH = 1e9, 2**16


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a named configuration of the papers fixes; 0 and None leave it to the formulas for the batch."""

    kimg: float = 25000.0
    batch: int = 0
    group: int = 4
    channel_base: int = 0
    learning_rate: float = 0.0025
    gamma: float = 0.0
    ema_kimg: float = 0.0
    ema_ramp: float = 0.0
    mapping_layers: int = 8
    path_weight: float = 2.0
    mixing: float = 0.9
    d_blocks: str = "resnet"


BASES: Mapping[str, Base] = MappingProxyType({
    "auto": Base(learning_rate=0.0, ema_ramp=0.05, mapping_layers=2),
    "stylegan2": Base(batch=32, channel_base=32768, learning_rate=0.002, gamma=10, ema_kimg=10),
    "paper256": Base(batch=64, group=8, channel_base=16384, gamma=1, ema_kimg=20),
    "paper512": Base(batch=64, group=8, channel_base=32768, gamma=0.5, ema_kimg=20),
    "paper1024": Base(batch=32, channel_base=32768, learning_rate=0.002, gamma=2, ema_kimg=10),
    "cifar": Base(
        kimg=100000.0, batch=64, group=32, channel_base=32768, gamma=0.01, ema_kimg=500, ema_ramp=0.05,
        mapping_layers=2, path_weight=0.0, mixing=0.0, d_blocks="orig",
    ),
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What decides a run's result, beside its images; 0, "" and None mean the formula in `derived`."""

    cfg: str = "auto"  # base: auto, stylegan2, paper256, paper512, paper1024 or cifar
    resolution: int = 256  # pixels, a power of two, 8..1024
    channels: int = 1  # of the images: 1 grey, 3 RGB
    fit: Fit = "refuse"  # what becomes of an image that is not square: refuse it, or crop it to its centre
    cond: bool = False  # condition on the labels of the data
    subset: int = 0  # train on so many images, drawn by the seed; 0: all
    kimg: float = 0.0  # thousands of training images shown
    batch: int = 0  # images a step, over all devices
    batch_gpu: int = 0  # images that a device works on at once; 0: its share of the batch
    gamma: float = 0.0  # weight of R1
    channel_base: int = 0  # feature maps at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512  # feature maps at most
    mapping_layers: int = 0  # fully connected, from z to w
    g_blocks: str = "skip"  # skip, resnet or orig
    d_blocks: str = ""  # likewise; usually resnet
    dtype: str = "auto"  # of the highest resolutions: fp32, bf16, fp16; auto: fp16 on CUDA, else fp32
    mirror: bool = True  # show every image mirrored too
    aug: str = "ada"  # p of the augmentations: ada (adapts), noaug (0) or fixed
    p: float = 0.0  # of aug=fixed
    augment: str = "bgc"  # none, blit, geom, color, filter, noise, cutout, bg, bgc, bgcf, bgcfn or bgcfnc
    ada_target: float = 0.6  # mean sign of the discriminator on real images that p is moved to
    ada_kimg: float = 0.0  # over which p can go from 0 to 1
    ada_max: float = 0.8  # largest p
    freeze_d: int = 0  # convolutions of the discriminator, from the highest resolution, that stay as they are
    learning_rate: float = 0.0  # of Adam, for both networks
    ema_kimg: float = 0.0  # half-life of the weights' running mean
    ema_ramp: float | None = None  # half-life at most this share of the images seen; 0: no ramp
    mixing: float | None = None  # probability of mixing two styles in a batch
    path_weight: float | None = None  # weight of path length regularisation; 0: none
    path_interval: int = 4  # steps between two of them
    r1_interval: int = 16  # steps between two gradient penalties of the discriminator
    group: int = 0  # images in minibatch deviation
    tick_kimg: float = 0.0  # between two rows of statistics
    snapshot_kimg: float = 200.0  # between two grids of generated images, at a tick's end, which are judged
    patience: int = 0  # snapshots without a better KID after which to stop; 0: never; wants a detector
    collapse_ratio: float = 0.02  # deviation between generated images, of the real ones', that is none
    keep: int = 3  # checkpoints
    seed: int = 0  # of weights, order and draws

    def __post_init__(self) -> None:
        self._check_data()
        self._check_networks()
        self._check_steps()

    def _check_data(self) -> None:
        self._require(self.cfg in BASES, "cfg", ", ".join(BASES))
        self._require(self.resolution in {2**k for k in range(3, 11)}, "resolution",
                      "a power of two, 8 to 1024")  # fmt: skip
        self._require(self.channels in (1, 3), "channels", "1 or 3")
        self._require(self.fit in get_args(Fit), "fit", ", ".join(get_args(Fit)))
        self._require(self.augment in SETS, "augment", ", ".join(SETS))
        self._require(self.aug in ("ada", "noaug", "fixed"), "aug", "ada, noaug or fixed")
        self._require(0 <= self.p <= 1, "p", "0 to 1")
        self._require(self.p == 0 or self.aug == "fixed", "p", "0, or aug=fixed beside it")
        self._require(0 < self.ada_max <= 1, "ada_max", "above 0, up to 1")
        self._require(-1 <= self.ada_target <= 1, "ada_target", "-1 to 1, a mean of signs")
        self._require(0 <= self.seed < 2**63, "seed", f"0 to {2**63 - 1}")
        self._require(self.subset >= 0, "subset", "0 for all, or more")

    def _check_networks(self) -> None:
        self._require_size("channel_base", 2 * self.resolution)
        self._require_size("mapping_layers", 1)
        self._require_size("group", 1)
        most = LEAST_MOST["channel_max"][1]
        self._require(1 <= self.channel_max <= most, "channel_max", f"1 to {most}")
        self._require(self.g_blocks in get_args(Blocks), "g_blocks", ", ".join(get_args(Blocks)))
        self._require(self.d_blocks in ("", *get_args(Blocks)), "d_blocks", ", ".join(get_args(Blocks)))
        self._require(self.dtype in DTYPES, "dtype", ", ".join(DTYPES))
        self._require(self.freeze_d >= 0, "freeze_d", "0 or more")

    def _check_steps(self) -> None:
        for name in ("gamma", "ada_kimg", "learning_rate", "ema_kimg", "tick_kimg"):
            self._require(0 <= getattr(self, name) < math.inf, name, "0 for the formula, or more")
        for name in ("patience", "collapse_ratio", "ema_ramp", "path_weight"):
            self._require(0 <= (getattr(self, name) or 0) < math.inf, name, "0 or more")
        for name in ("path_interval", "r1_interval", "keep"):
            self._require(getattr(self, name) >= 1, name, "1 or more")
        for name in ("batch", "batch_gpu"):
            self._require(0 <= getattr(self, name) <= MOST_BATCH, name, f"0 to {MOST_BATCH}")
        self._require(self.kimg == 0 or ONE_IMAGE <= self.kimg <= MOST_KIMG, "kimg",
                      f"0 for the formula, or {ONE_IMAGE} to {MOST_KIMG:g}")  # fmt: skip
        self._require(ONE_IMAGE <= self.snapshot_kimg < math.inf, "snapshot_kimg", f"{ONE_IMAGE} or more")
        self._require(0 <= (self.mixing or 0) <= 1, "mixing", "0 to 1")
        fits = self.group == 0 or self.batch == 0 or self.batch % self.group == 0
        self._require(fits, "group", f"a divisor of batch {self.batch}")
        fits = self.batch_gpu == 0 or self.batch_gpu >= self.group
        self._require(
            fits, "batch_gpu", f"at least the {self.group} images of a group of minibatch deviation"
        )

    def _require_size(self, name: str, least: int) -> None:
        most = LEAST_MOST[name][1]
        fits = getattr(self, name) == 0 or least <= getattr(self, name) <= most
        self._require(fits, name, f"0 for the formula, or {least} to {most}")

    def _require(self, holds: bool, name: str, valid: str) -> None:
        require(holds, name, getattr(self, name), valid)

    @property
    def images(self) -> int:
        """Training images shown in all."""
        return round(self.kimg * 1000)

    def text(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self), indent=2)


def derived(
    config: TrainingConfig, *, transfer: bool = False, ranks: int = 1, cuda: bool = False
) -> TrainingConfig:
    """Return the settings with every gap filled: by the base configuration, else by its formula.

    The formulas take the batch that is really used; the authors' code keeps to the one that it would have
    chosen itself, so that a smaller batch meets a gamma tuned for another. What a configuration of the papers
    fixes stays whatever the batch (`of_another_batch`), but for groups of minibatch deviation, which every
    process has one of.
    A transferred network is past the start that the ramp of the running mean and a slow p are for.
    """
    base = BASES[config.cfg]
    config = replace(config, batch=config.batch or base.batch or _batch(config.resolution, ranks))
    config = replace(config, group=config.group or _group(config.batch, base.group, ranks))
    kimg = config.kimg or base.kimg
    return replace(
        config,
        kimg=kimg,
        dtype=("fp16" if cuda else "fp32") if config.dtype == "auto" else config.dtype,
        mapping_layers=config.mapping_layers or base.mapping_layers,
        d_blocks=config.d_blocks or base.d_blocks,
        mixing=base.mixing if config.mixing is None else config.mixing,
        path_weight=base.path_weight if config.path_weight is None else config.path_weight,
        tick_kimg=config.tick_kimg or min(4.0, kimg / 16),
        **_rates(config, base, transfer),
    )


def _batch(resolution: int, ranks: int) -> int:
    """Return the batch that fills as many devices, at most 64."""
    return max(min(ranks * min(4096 // resolution, 32), 64), ranks)


def _group(batch: int, most: int, ranks: int) -> int:
    """Return the largest group that cuts the batch evenly and leaves each process one."""
    most = max(min(most, batch // ranks), 1)
    return max(size for size in range(1, most + 1) if batch % size == 0)


def of_another_batch(given: TrainingConfig, done: TrainingConfig) -> str:
    """Return a warning where a named configuration's own values meet another batch than its own, else ""."""
    base = BASES[done.cfg]
    kept = [name for name in ("gamma", "ema_kimg") if getattr(base, name) and not getattr(given, name)]
    if done.batch == base.batch or not kept:
        return ""
    values = ", ".join(f"{name}={getattr(base, name):g}" for name in kept)
    flags = " and ".join("--" + name.replace("_", "-") for name in kept)
    return (
        f"cfg={done.cfg}: {values} meant for a batch of {base.batch}, not {done.batch};"
        f" valid too: others by {flags}"
    )


def _rates(config: TrainingConfig, base: Base, transfer: bool) -> dict[str, Any]:
    size, batch = config.resolution, config.batch
    ramp = 0.0 if transfer else base.ema_ramp
    return {
        "gamma": config.gamma or base.gamma or 0.0002 * size**2 / batch,
        "channel_base": config.channel_base or base.channel_base or (32768 if size >= 512 else 16384),
        "learning_rate": config.learning_rate or base.learning_rate or (0.002 if size >= 1024 else 0.0025),
        "ema_kimg": config.ema_kimg or base.ema_kimg or batch * 10 / 32,
        "ema_ramp": ramp if config.ema_ramp is None else config.ema_ramp,
        "ada_kimg": config.ada_kimg or (100.0 if transfer else 500.0),
    }
