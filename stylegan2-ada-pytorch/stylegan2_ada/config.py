"""Every setting of a training run, and the formulas for those left to it."""

import json
from dataclasses import asdict, dataclass, replace

from stylegan2_ada.augment import SETS
from stylegan2_ada.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What decides a run's result, beside its images; 0 means the formula in `derived`."""

    resolution: int = 256  # pixels, a power of two, 8..1024
    channels: int = 1  # of the images: 1 grey, 3 RGB
    kimg: float = 1200.0  # thousands of training images shown
    batch: int = 0  # images a step
    gamma: float = 0.0  # weight of R1
    channel_base: int = 0  # feature maps at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512
    mapping_layers: int = 2
    mirror: bool = True  # show every image mirrored too
    augment: str = "bgc"  # a set of augment.SETS
    ada_target: float = 0.6
    ada_kimg: float = 0.0  # over which p can go from 0 to 1
    ada_max: float = 0.8  # largest p
    learning_rate: float = 0.0
    ema_kimg: float = 0.0  # half-life of the weights' running mean
    ema_ramp: float = 0.05  # half-life at most this share of the images seen; 0: no ramp
    mixing: float = 0.9  # probability of mixing two styles in a batch
    path_weight: float = 2.0  # weight of path length regularisation
    path_interval: int = 4  # steps between two of them
    r1_interval: int = 16
    group: int = 0  # images in minibatch deviation
    tick_kimg: float = 0.0  # between two rows of statistics
    snapshot_kimg: float = 200.0  # between two grids of generated images
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.resolution in {2**k for k in range(3, 11)}, "resolution", self.resolution,
                 "a power of two, 8 to 1024")  # fmt: skip
        _require(self.channels in (1, 3), "channels", self.channels, "1 or 3")
        _require(self.kimg > 0, "kimg", self.kimg, "more than 0")
        _require(self.batch >= 0, "batch", self.batch, "0 for the formula, or more")
        _require(self.gamma >= 0, "gamma", self.gamma, "0 for the formula, or more")
        least = 2 * self.resolution
        _require(self.channel_base == 0 or self.channel_base >= least, "channel_base", self.channel_base,
                 f"0 for the formula, or at least {least}")  # fmt: skip
        _require(self.augment in SETS, "augment", self.augment, ", ".join(SETS))
        _require(0 < self.ada_max <= 1, "ada_max", self.ada_max, "above 0, up to 1")
        _require(self.snapshot_kimg > 0, "snapshot_kimg", self.snapshot_kimg, "more than 0")
        fits = self.group == 0 or self.batch == 0 or self.batch % self.group == 0
        _require(fits, "group", self.group, f"a divisor of batch {self.batch}")

    @property
    def images(self) -> int:
        """Training images shown in all."""
        return round(self.kimg * 1000)

    def text(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self), indent=2)


def _require(holds: bool, name: str, value: object, valid: str) -> None:
    if not holds:
        raise UsageError(f"{name}={value}: not possible; valid: {valid}")


def derived(config: TrainingConfig, *, transfer: bool = False) -> TrainingConfig:
    """Return the settings with every 0 replaced by its formula, for the batch that is really used.

    A transferred network is past the start that the ramp of the running mean and a slow p are for.
    """
    size = config.resolution
    batch = config.batch or max(min(4096 // size, 32), 1)
    return replace(
        config,
        batch=batch,
        gamma=config.gamma or 0.0002 * size**2 / batch,
        channel_base=config.channel_base or (32768 if size >= 512 else 16384),
        learning_rate=config.learning_rate or (0.002 if size >= 1024 else 0.0025),
        ema_kimg=config.ema_kimg or batch * 10 / 32,
        ema_ramp=0.0 if transfer else config.ema_ramp,
        ada_kimg=config.ada_kimg or (100.0 if transfer else 500.0),
        group=config.group or max(g for g in (1, 2, 3, 4) if batch % g == 0),
        tick_kimg=config.tick_kimg or min(4.0, config.kimg / 16),
    )
