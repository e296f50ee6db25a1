"""Features of many images in bounded memory: of a data set, kept in a file, and of a generator.

Shapes: N images, C channels, H x W pixels, F features.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stylegan2_ada.detector import Detector
from stylegan2_ada.errors import UsageError, require
from stylegan2_ada.files import whole
from stylegan2_ada.generate import latents, to_uint8
from stylegan2_ada.networks import Generator, Noise

log = logging.getLogger(__name__)

MOST_IMAGES = 2**24
_FORMAT = 1  # of cached files; another one is computed anew


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """What decides a figure, beside generator, images and detector."""

    count: int = 50_000  # generated images
    batch: int = 32  # images at a time; noise depends on it
    seed: int = 0  # of latents, labels, noise and subsets
    truncation: float = 1.0
    noise: Noise = "random"
    kept: int = 50_000  # images of a kind, at most, whose features are held for all but FID

    def __post_init__(self) -> None:
        for name in ("count", "batch", "kept"):
            value = getattr(self, name)
            require(1 <= value <= MOST_IMAGES, name, value, f"1 to {MOST_IMAGES}")
        require(0 <= self.seed < 2**32, "seed", self.seed, f"0 to {2**32 - 1}")
        finite = math.isfinite(self.truncation)
        require(finite, "truncation", self.truncation, "a finite number, such as 0.7")


class FeatureStatistics:
    """Sums over features in float64, and the first so many features: memory that N does not decide."""

    def __init__(self, features: int, kept: int, device: torch.device | str = "cpu") -> None:
        self.count = 0  # N
        self.total_F = torch.zeros(features, dtype=torch.float64, device=device)
        self.outer_FF = torch.zeros((features, features), dtype=torch.float64, device=device)
        self._kept = torch.empty((kept, features), device=device)
        self._filled = 0

    def append(self, features_NF: Tensor) -> None:
        """Take in the features of more images."""
        exact_NF = features_NF.to(self.total_F)
        self.count += len(exact_NF)
        self.total_F += exact_NF.sum(dim=0)
        self.outer_FF.addmm_(exact_NF.T, exact_NF)
        self._keep(features_NF)

    def _keep(self, features_NF: Tensor) -> None:
        room = self._kept[self._filled : self._filled + len(features_NF)]
        room.copy_(features_NF[: len(room)])
        self._filled += len(room)

    @property
    def features_NF(self) -> Tensor:  # noqa: N802 - a tensor's name
        """The first features taken in, float32, no more than are kept."""
        return self._kept[: self._filled]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and covariance, float64; divided by N, not N - 1, as in published figures."""
        mean_F = self.total_F / self.count
        return mean_F, self.outer_FF / self.count - torch.outer(mean_F, mean_F)


def statistics_of(
    batches: Iterable[Tensor], detector: Detector, *, kept: int = MetricOptions.kept
) -> FeatureStatistics:
    """Gather the features of batches of images, uint8 N x C x H x W, one batch in memory at a time."""
    gathered = None
    for images_NCHW in batches:
        features_NF = detector(images_NCHW)
        if gathered is None:
            gathered = FeatureStatistics(features_NF.shape[1], kept, features_NF.device)
        gathered.append(features_NF)
    if gathered is None:
        raise UsageError("images=0: nothing to measure; valid: at least 1")
    if not gathered.total_F.isfinite().all():
        raise UsageError(f"detector={detector.name}: features that are no numbers; valid: finite features")
    return gathered


def statistics_of_dataset(
    images_NCHW: Tensor, detector: Detector, options: MetricOptions, *, cache: Path | None = None
) -> FeatureStatistics:
    """Gather the features of all images, or read those of equal ones from the folder `cache`.

    Images come in a random order: where fewer are kept than there are, they are a fair sample.
    """
    kept = min(options.kept, len(images_NCHW))
    key = _key(images_NCHW, detector, kept, options.seed)
    path = None if cache is None else cache / f"features-{key[:32]}.safetensors"
    if path is not None and (known := _read(path, key)) is not None:
        return known
    order = torch.from_numpy(np.random.RandomState(options.seed).permutation(len(images_NCHW)))
    batches = (images_NCHW[part] for part in torch.split(order, options.batch))
    gathered = statistics_of(batches, detector, kept=kept)
    if path is not None:
        _write(path, key, gathered)
    return gathered


def statistics_of_generator(
    generator: Generator, detector: Detector, options: MetricOptions, *, labels_NK: Tensor | None = None
) -> FeatureStatistics:
    """Gather the features of images made from seeds, as a PNG would hold them; see `generated`."""
    kept = min(options.kept, options.count)
    return statistics_of(generated(generator, options, labels_NK=labels_NK), detector, kept=kept)


def generated(
    generator: Generator, options: MetricOptions, *, labels_NK: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield uint8 images, N x C x H x W, on the generator's device; labels are drawn from those given."""
    device = generator.mapping.w_avg.device
    labels_NK = _fitting_labels(generator, labels_NK)
    rng = torch.Generator(device).manual_seed(options.seed)
    choice = np.random.RandomState(options.seed)
    for first in range(0, options.count, options.batch):
        numbers = range(first, min(first + options.batch, options.count))
        z_NZ = latents([options.seed * 2**32 + number for number in numbers]).to(device)
        drawn_NK = None
        if labels_NK is not None:
            drawn_NK = labels_NK[choice.randint(len(labels_NK), size=len(numbers))].to(device)
        with torch.inference_mode():
            images = generator(z_NZ, drawn_NK, truncation=options.truncation, noise=options.noise, rng=rng)
            yield to_uint8(images)


def _fitting_labels(generator: Generator, labels_NK: Tensor | None) -> Tensor | None:
    """Return the labels for a conditional generator, None for another one."""
    wanted, given = generator.architecture.labels, 0 if labels_NK is None else labels_NK.shape[1]
    if wanted and wanted != given:
        raise UsageError(f"labels={given}: the network takes {wanted}; valid: images with such labels")
    return labels_NK if wanted else None


def _key(images_NCHW: Tensor, detector: Detector, kept: int, seed: int) -> str:
    """Return a hash of all that decides the statistics: pixels rather than paths."""
    pixels = _digest({"images": images_NCHW})
    facts = [_FORMAT, pixels, list(images_NCHW.shape), detector.name, detector.digest, kept, seed]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _write(path: Path, key: str, gathered: FeatureStatistics) -> None:
    """Write statistics."""
    tensors = {
        "count": torch.tensor(gathered.count),
        "total": gathered.total_F.cpu(),
        "outer": gathered.outer_FF.cpu(),
        "features": gathered.features_NF.cpu().contiguous(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # One entry: the format writes several in any order, and equal statistics shall make equal files.
    with whole(path) as part:
        save_file(tensors, part, {"seal": f"{key} {_digest(tensors)}"})


def _read(path: Path, key: str) -> FeatureStatistics | None:
    """Return a cached file's statistics; None, with a warning, where it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            seal = (file.metadata() or {}).get("seal")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError) as error:
        log.warning("%s: damaged (%s), computed anew", path, error)
        return None
    if seal != f"{key} {_digest(tensors)}":
        log.warning("%s: changed, computed anew", path)
        return None
    return _restored(tensors)


def _restored(tensors: dict[str, Tensor]) -> FeatureStatistics:
    features_NF = tensors["features"]
    known = FeatureStatistics(features_NF.shape[1], 0)
    known.count = int(tensors["count"])
    known.total_F, known.outer_FF = tensors["total"], tensors["outer"]
    known._kept, known._filled = features_NF, len(features_NF)
    return known


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().contiguous().numpy().data)
    return digest.hexdigest()
