"""Classifier: a torchvision network, what it was made from, and how it reads a plane.

    classifier.safetensors   the weights
    classifier.json          architecture, classes, preprocessing, every patient seen; written last

Shapes: N planes, C classes, H = W = size_px.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision import models

from components.shared import stored_json
from components.shared.accelerator import accelerator
from components.shared.calibration import logs_of, tempered
from components.shared.faults import InputError
from components.shared.planes import CLASSES, PlaneRow, PlaneSet, Seen
from components.shared.progress import Progress, silent
from components.shared.storage import hash_file
from components.shared.weights import ABOUT, DESCRIBED, WEIGHTS, behind, known_seen, weights_digest

ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {
    "convnext_tiny": models.convnext_tiny,
    "resnet18": models.resnet18,
}
HEADS = {"convnext_tiny": "classifier.2.", "resnet18": "fc."}  # state dict prefix of the last layer
_DESCRIBED = ("architecture", "classes", "size_px", "mean", "std", "temperature")
_ZOOM = 0.9  # side of the central crop that is the second view in test-time augmentation


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A network with the preprocessing it was trained on."""

    network: nn.Module
    architecture: str
    classes: Sequence[str]  # of the network's outputs, in order
    size_px: int
    seen: Seen
    chosen_by: Seen  # what it was validated on
    mean: float = 0.449  # of ImageNet's luminance: pretrained weights expect it
    std: float = 0.226
    temperature: float = 1.0  # that its probabilities' logarithms are divided by


def build(architecture: str, classes: int) -> nn.Module:
    """Return a network with random weights."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"classifier={architecture}: unknown; valid: {' or '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](weights=None, num_classes=classes)


def precision(at: torch.device) -> torch.autocast:
    """Return the context networks run in: bfloat16 on an accelerator, float32 on the CPU."""
    return torch.autocast(at.type, dtype=torch.bfloat16, enabled=at.type == "cuda")


def load_pixels(planes: PlaneSet, rows: Sequence[PlaneRow], size_px: int) -> Tensor:
    """Decode planes once, shrunk with antialias: a byte a pixel, N x H x W."""
    images_NHW = np.empty((len(rows), size_px, size_px), np.uint8)
    for image_HW, plane in zip(images_NHW, planes.images(rows), strict=True):
        image_HW[:] = np.asarray(Image.fromarray(plane).resize((size_px, size_px), Image.Resampling.BILINEAR))
    return torch.from_numpy(images_NHW)


def load_sizes(
    planes: PlaneSet, rows: Sequence[PlaneRow], models: Mapping[str, Classifier]
) -> dict[int, Tensor]:
    """Decode planes once for each size that the models read, N x H x W by size."""
    return {size: load_pixels(planes, rows, size) for size in {model.size_px for model in models.values()}}


def as_input(grey_NHW: Tensor, mean: float, std: float) -> Tensor:
    """Normalise grey levels 0..1 and repeat them to the three channels of the architectures."""
    grey_N3HW = ((grey_NHW - mean) / std)[:, None].expand(-1, 3, -1, -1)
    return grey_N3HW.contiguous(memory_format=torch.channels_last)


def probabilities(
    classifier: Classifier, images_NHW: Tensor, batch: int, progress: Progress = silent
) -> NDArray[np.float32]:
    """Return N x CLASSES calibrated probabilities; a class it does not know gets 0."""
    return calibrated(classifier, uncalibrated(classifier, images_NHW, batch, progress))


@torch.inference_mode()
def uncalibrated(
    classifier: Classifier, images_NHW: Tensor, batch: int, progress: Progress = silent
) -> NDArray[np.float32]:
    """Return N x CLASSES probabilities as the network gives them, averaged over two views."""
    at = accelerator()
    network = classifier.network.to(at, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    columns = known_columns(classifier)
    shares_NC = np.zeros((len(images_NHW), len(CLASSES)), np.float32)
    for start in range(0, len(images_NHW), batch):
        grey_NHW = images_NHW[start : start + batch].to(at).float() / 255
        views = [_softmax(network, classifier, view) for view in (grey_NHW, _second_view(grey_NHW))]
        shares_NC[start : start + batch, columns] = torch.stack(views).mean(0).cpu().numpy()
        progress(min(start + batch, len(images_NHW)), len(images_NHW))
    return shares_NC


def calibrated(classifier: Classifier, shares_NC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Temper what `uncalibrated` returned: the views' mean, which the temperature was fitted on."""
    columns = known_columns(classifier)
    probabilities_NC = np.zeros_like(shares_NC)
    probabilities_NC[:, columns] = tempered(logs_of(shares_NC[:, columns]), classifier.temperature)
    return probabilities_NC


def known_columns(classifier: Classifier) -> list[int]:
    """Return the places among CLASSES of the classes that a classifier tells apart."""
    return [CLASSES.index(label) for label in classifier.classes]


def save(classifier: Classifier, notes: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write weights, then the JSON with the notes of its maker; return the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)
    state = {name: value.cpu().contiguous() for name, value in classifier.network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={DESCRIBED: ABOUT})
    about = {name: getattr(classifier, name) for name in _DESCRIBED} | dict(notes)
    about |= {**classifier.seen.told(), **classifier.chosen_by.told("validated_on")}
    about["digest"] = hash_file(folder / WEIGHTS)
    stored_json.write(folder / ABOUT, about)
    return about


def is_whole(folder: Path) -> bool:
    """Tell whether a folder holds a classifier whose weights are those its JSON describes."""
    return weights_digest(folder / ABOUT) is not None


def describe(folder: Path) -> dict[str, Any]:
    """Return the JSON of a classifier, or raise InputError when it is not whole."""
    if not is_whole(folder):
        raise InputError(f"{folder}: not a complete classifier; valid: a folder that train_classifier wrote")
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
    behind(about, str(folder))
    if absent := [name for name in _DESCRIBED if name not in about]:
        raise InputError(f"{folder}: does not say {', '.join(absent)}; valid: one that this version wrote")
    return about


def load(folder: Path) -> Classifier:
    """Open a classifier for reading planes."""
    about = describe(folder)
    network = build(about["architecture"], len(about["classes"]))
    network.load_state_dict(load_file(folder / WEIGHTS))
    told = {name: about[name] for name in _DESCRIBED}
    seen, chosen_by = (known_seen(about, str(folder), how) for how in ("seen", "validated_on"))
    return Classifier(network=network, seen=seen, chosen_by=chosen_by, **told)


def _softmax(network: nn.Module, classifier: Classifier, grey_NHW: Tensor) -> Tensor:
    with precision(grey_NHW.device):
        logits_NC: Tensor = network(as_input(grey_NHW, classifier.mean, classifier.std))
    return logits_NC.float().softmax(dim=1)


def _second_view(grey_NHW: Tensor) -> Tensor:
    """Return the mirrored central crop: left and right of a plane are the same to its class."""
    size = grey_NHW.shape[-1]
    margin = round(size * (1 - _ZOOM) / 2)
    crop_N1HW = grey_NHW[:, None, margin : size - margin, margin : size - margin].flip(-1)
    return nn.functional.interpolate(crop_N1HW, size=(size, size), mode="bilinear", align_corners=False)[:, 0]
