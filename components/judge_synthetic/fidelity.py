"""How near synthetic images are to real ones, by features: FID, KID, precision and recall.

The definitions are those of `stylegan2_ada.metrics`. Features come from a network that the user brings, or
from the last layer but one of a planes classifier; only those of one network can be compared.
Shapes: N images, C channels, H = W = side pixels, F features.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stylegan2_ada import metrics
from stylegan2_ada.detector import Detector, load_detector
from stylegan2_ada.features import FeatureStatistics, statistics_of
from torch import Tensor, nn

from components.judge_synthetic.likeness import shrunk
from components.shared import classifier as classifiers
from components.shared import storage
from components.shared.accelerator import accelerator
from components.shared.planes import PlaneRow, PlaneSet

ENOUGH = 2048  # images below which FID says more about their number than about them
NEIGHBOURS = 3  # of precision and recall
FEWEST = 4  # images of a kind, for an interval and for neighbours


@dataclass(frozen=True, kw_only=True)
class ClassifierDetector:
    """The features of a planes classifier: what its last layer decides by."""

    network: nn.Module  # without its last layer
    size_px: int
    mean: float
    std: float
    name: str
    digest: str  # of its weights

    @torch.inference_mode()
    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Return features, float32 N x F, of grey images, uint8 N x 1 x H x W."""
        at = accelerator()
        grey_NCHW = images_NCHW.to(at).float() / 255
        size = (self.size_px, self.size_px)
        grey_NCHW = nn.functional.interpolate(grey_NCHW, size=size, mode="bilinear", antialias=True)
        with classifiers.precision(at):
            features_NF = self.network(classifiers.as_input(grey_NCHW[:, 0], self.mean, self.std))
        return Tensor(features_NF.float())


def classifier_detector(folder: Path) -> ClassifierDetector:
    """Open a classifier for its features."""
    opened = classifiers.load(folder)
    last = classifiers.HEADS[opened.architecture].removesuffix(".")
    opened.network.set_submodule(last, nn.Identity())
    return ClassifierDetector(
        network=opened.network.to(accelerator()).eval(),
        size_px=opened.size_px,
        mean=opened.mean,
        std=opened.std,
        name=f"{opened.architecture} on planes",
        digest=classifiers.describe(folder)["digest"],
    )


def file_detector(uri: str) -> Detector:
    """Fetch and read the network that the user brings; nothing in it is unpickled."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / uri.rstrip("/").rpartition("/")[2]
        storage.download(uri, path)
        return load_detector(path, device=accelerator())


def features_of(
    planes: PlaneSet, rows: Sequence[PlaneRow], side: int, detector: Detector, batch: int
) -> Tensor:
    """Return the features of planes that are first brought to a side in pixels, N x F on the CPU."""
    return statistics_of(_batches(planes, rows, side, batch), detector, kept=len(rows)).features_NF.cpu()


def _batches(planes: PlaneSet, rows: Sequence[PlaneRow], side: int, batch: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), batch):
        images = planes.images(rows[start : start + batch])
        yield torch.from_numpy(np.stack([shrunk(image_HW, side) for image_HW in images])[:, None])


def compare(real_NF: Tensor, fake_MF: Tensor, seed: int) -> dict[str, Any]:
    """Return FID, KID with its 95 % interval, improved precision and recall; all None with too few images."""
    if min(len(real_NF), len(fake_MF)) < FEWEST:
        return dict.fromkeys(("fid", "kid", "kid_interval", "precision", "recall"))
    fid = metrics.frechet_distance(*_moments(real_NF), *_moments(fake_MF))
    low, high = metrics.kernel_distance_interval(real_NF, fake_MF, seed=seed)
    precision, recall = metrics.precision_recall(real_NF, fake_MF, neighbours=NEIGHBOURS)
    return {
        "fid": max(fid, 0.0),
        "kid": metrics.kernel_distance(real_NF, fake_MF, seed=seed),
        "kid_interval": [low, high],
        "precision": precision,
        "recall": recall,
    }


def halves(rows: Sequence[PlaneRow], seed: int) -> dict[str, NDArray[np.bool_]]:
    """Return two ways to halve the training planes: planes at random, and whole patients (N each).

    The first is what an ideal copy of the training set would get, the second what new patients would.
    Patients are taken as they come: names depend on a secret key, results must not.
    """
    rng = np.random.default_rng(seed)
    names = np.array([row.patient for row in rows])
    patients = rng.permutation(list(dict.fromkeys(names.tolist())))
    of_planes = rng.permutation(len(rows)) < len(rows) // 2
    return {"planes": of_planes, "patients": np.isin(names, patients[: len(patients) // 2])}


def _moments(features_NF: Tensor) -> tuple[Tensor, Tensor]:
    gathered = FeatureStatistics(features_NF.shape[1], 0, features_NF.device)
    gathered.append(features_NF)
    return gathered.moments()
