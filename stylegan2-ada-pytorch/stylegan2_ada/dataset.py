"""Training images: all of them in memory, as bytes.

Shapes: N images, C channels, H = W = resolution, K numbers per label.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylegan2_ada.decoding import Fit, Header, headers, pictures
from stylegan2_ada.devices import moved
from stylegan2_ada.image_files import Files, opened
from stylegan2_ada.labels import label_tensor, read_labels
from stylegan2_ada.sampler import Indices, subset_of

log = logging.getLogger(__name__)

MEMORY = 8 * 2**30  # bytes of pixels
FEWEST = 8  # images
RESIDENT = 0.25  # of what a GPU has free: the most that images kept there may take


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All images at the training resolution."""

    images: Tensor  # uint8, N x C x H x W
    labels: Tensor | None = None  # float, N x K
    digest: str  # of names, pixels and labels, in order
    mirror: bool  # every image also stands mirrored: index i + N is image i mirrored
    resident: Tensor | None = None  # the images once more, on the GPU that trains

    @property
    def size(self) -> int:
        """Number of indices: N, or 2 N with the mirrored ones."""
        return len(self.images) * (2 if self.mirror else 1)

    @property
    def has_classes(self) -> bool:
        """Tell whether labels are classes, one 1 among zeros, and no vectors of other numbers."""
        if self.labels is None:
            return False
        of_classes = torch.eye(self.labels.shape[1])[self.labels.argmax(dim=1)]
        return bool((self.labels == of_classes).all())

    def batch(self, indices: Indices, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return images, float in -1..1, and their labels where there are any, on a device."""
        chosen = torch.from_numpy(indices)
        rows = chosen % len(self.images)
        if self.resident is None:
            images = moved(self.images[rows], device)
        else:
            images = self.resident[moved(rows, device)]
        mirrored = moved((chosen >= len(self.images))[:, None, None, None], device)
        images = torch.where(mirrored, images.flip(3), images)
        labels = None if self.labels is None else moved(self.labels[rows], device)
        return images.float() / 127.5 - 1, labels

    def kept_on(self, device: torch.device) -> "Dataset":
        """Return the same images, kept on a GPU too where they take little of it."""
        if device.type != "cuda" or self.images.nbytes > RESIDENT * torch.cuda.mem_get_info(device)[0]:
            return self
        return replace(self, resident=self.images.to(device))


def load(
    path: Path,
    *,
    resolution: int,
    channels: int,
    mirror: bool,
    members: Sequence[str] | None = None,  # names of the images, in their order; None: all, sorted
    use_labels: bool = False,
    subset: int = 0,  # so many of the images, drawn by the seed; 0: all
    seed: int = 0,
    fit: Fit = "refuse",  # an image that is not square: refuse it, or crop it to its centre
    memory: int = MEMORY,
) -> Dataset:
    """Read images of a zip or folder; those of another size are resized.

    UsageError where a name, a file or a label cannot be used; all but damaged pixels are found before the
    first image is decoded.
    """
    with opened(path) as files:
        names = _drawn(files, _chosen(files, members), subset, seed)
        _check_count(files, len(names))
        _check_memory(files, len(names), channels * resolution**2, memory)
        labels = label_tensor(files, read_labels(files), names) if use_labels else None
        _tell_of_changes(path, headers(files, names, fit), resolution, channels)
        images = torch.empty(len(names), channels, resolution, resolution, dtype=torch.uint8)
        for number, pixels in enumerate(pictures(files, names, resolution=resolution, channels=channels)):
            images.numpy()[number] = pixels
        _check_count(files, _distinct(images), "different ")
    return Dataset(images=images, labels=labels, digest=_digest(names, images, labels), mirror=mirror)


def _tell_of_changes(path: Path, found: Sequence[Header], resolution: int, channels: int) -> None:
    """Say what images lose on their way."""
    coloured = sum(not header.grey for header in found)
    if channels == 1 and coloured:
        log.warning("%s: colour of %d in %d images dropped; channels=3 keeps it", path, coloured, len(found))
    resized = sum(min(header.width, header.height) != resolution for header in found)
    if resized:
        log.info("%s: %d in %d images resized to %d pixels", path, resized, len(found), resolution)


def _chosen(files: Files, members: Sequence[str] | None) -> Sequence[str]:
    if members is None:
        return files.images()
    known, seen = set(files.names), set[str]()
    for name in members:
        if name not in known:
            raise files.fault(f"{name!r} is not in it", "names of its images")
        if name in seen:
            raise files.fault(f"{name} is named twice", "every image once")
        seen.add(name)
    return members


def _drawn(files: Files, names: Sequence[str], subset: int, seed: int) -> Sequence[str]:
    if not 0 <= subset <= len(names):
        raise files.fault(f"subset={subset} of {len(names)} images", f"0 for all, or up to {len(names)}")
    return [names[i] for i in subset_of(len(names), subset, seed).tolist()] if subset else names


def _check_count(files: Files, count: int, kind: str = "") -> None:
    if count < FEWEST:
        raise files.fault(f"{count} {kind}image(s), too few to train on", f"at least {FEWEST}")


def _check_memory(files: Files, count: int, each: int, memory: int) -> None:
    if count * each > memory:
        what = f"{count} images take {count * each / 2**30:.1f} GiB, {memory / 2**30:.1f} GiB are allowed"
        raise files.fault(what, f"subset={memory // each} or less, or a lower resolution")


def _distinct(images: Tensor) -> int:
    """Count images that differ, no further than it takes to have enough."""
    seen = set[bytes]()
    for image in images.numpy():
        seen.add(hashlib.sha256(image.tobytes()).digest())
        if len(seen) >= FEWEST:
            break
    return len(seen)


def _digest(names: Iterable[str], images: Tensor, labels: Tensor | None) -> str:
    shapes = [list(images.shape), None if labels is None else list(labels.shape)]
    digest = hashlib.sha256(json.dumps([list(names), shapes]).encode())
    digest.update(np.ascontiguousarray(images.numpy()).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels.numpy()).data)
    return digest.hexdigest()
