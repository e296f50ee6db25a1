"""Feature networks from files that the user brings: none is shipped, none is downloaded.

A detector takes uint8 images and does its own resizing and scaling. Its name and hash belong beside every
figure made from its features. Shapes: N images, C channels, H x W pixels, F features.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from stylegan2_ada.errors import UsageError
from stylegan2_ada.files import sha256

_MOST_CHANNELS = 64
_VALID = "a TorchScript file (.pt, .pth, .jit) or an exported program (.pt2)"
# What the published TorchScript detectors call their outputs; a file without such an argument has one output.
_ARGUMENTS = {"features": "return_features", "probabilities": "no_output_bias"}

Output = Literal["features", "probabilities"]


class Detector(Protocol):
    """Anything that maps images, uint8 N x C x H x W, to features, float N x F, on a device of its choice."""

    @property
    def name(self) -> str:
        """What the figures are said to be made with."""

    @property
    def digest(self) -> str:
        """A hash that two detectors share only if they give equal features."""

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Return the features of images."""


@dataclass(frozen=True, kw_only=True)
class FileDetector:
    """A network read from a file."""

    network: Callable[..., Tensor]
    name: str  # of the file
    digest: str  # sha256 of the file
    device: torch.device
    channels: int = 3  # that it takes; grey images are shown to three equally
    arguments: Mapping[str, bool] = field(default_factory=dict)

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Return features, float32 N x F; UsageError where the network takes no such images."""
        images_NCHW = self._with_channels(images_NCHW.to(self.device))
        shape = tuple(images_NCHW.shape)
        try:
            with torch.inference_mode():
                features_NF = self.network(images_NCHW, **self.arguments)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, torch.jit.Error) as error:
            raise self._refusal(f"cannot take images {shape} ({_last_line(error)})") from error
        if features_NF.ndim != 2 or len(features_NF) != len(images_NCHW):
            raise self._refusal(f"gave {tuple(features_NF.shape)} for images {shape}")
        return features_NF.float()

    def _with_channels(self, images_NCHW: Tensor) -> Tensor:
        if images_NCHW.shape[1] == self.channels:
            return images_NCHW
        if images_NCHW.shape[1] != 1:
            raise self._refusal(f"takes {self.channels} channel(s), images have {images_NCHW.shape[1]}")
        return images_NCHW.expand(-1, self.channels, -1, -1)

    def _refusal(self, what: str) -> UsageError:
        valid = f"uint8 N x C x H x W in, C = detector_channels (now {self.channels}), float N x F out"
        return UsageError(f"detector={self.name}: {what}; valid: {valid}")


def load_detector(
    path: Path, *, device: torch.device | str = "cpu", channels: int = 3, output: Output = "features"
) -> FileDetector:
    """Read a detector: TorchScript by .pt, .pth or .jit, torch.export by .pt2.

    An exported program must leave its batch size open (`dynamic_shapes`). Pickled objects and machine code
    in it are refused; torch still evaluates expressions in it, so read only files whose maker you trust.
    """
    check_detector(path, channels)
    device, read = torch.device(device), _read_program if path.suffix == ".pt2" else _read_script
    try:
        network = read(path, device)
    except (RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"detector={path}: not readable ({_last_line(error)}); valid: {_VALID}") from error
    return FileDetector(
        network=network, name=path.name, digest=sha256(path), device=device, channels=channels,
        arguments=_arguments(network, output),
    )  # fmt: skip


def check_detector(path: Path, channels: int) -> None:
    """Refuse what is not even a detector's file, without opening it."""
    if not 1 <= channels <= _MOST_CHANNELS:
        raise UsageError(f"detector_channels={channels}: not possible; valid: 1 to {_MOST_CHANNELS}")
    if not path.is_file():
        raise UsageError(f"detector={path}: no such file; valid: {_VALID}")
    if path.suffix not in (".pt", ".pth", ".jit", ".pt2"):
        raise UsageError(f"detector={path}: of unknown kind; valid: {_VALID}")


def _read_script(path: Path, device: torch.device) -> Any:
    with warnings.catch_warnings():
        # Upstream wants scripts exported anew, which who is given one cannot do.
        warnings.filterwarnings("ignore", "`torch.jit.* is deprecated")
        return torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]


def _read_program(path: Path, device: torch.device) -> Any:
    _refuse_code(path)
    program = torch.export.load(path)
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    return program.module()


def _refuse_code(path: Path) -> None:
    """Raise ValueError where torch would unpickle, or load machine code."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("/aotinductor/" in name or name.endswith((".so", ".pyd", ".dll")) for name in names):
            raise ValueError("it holds machine code")
        for name in names:
            if name.endswith("_config.json"):
                entries = json.loads(archive.read(name))["config"].values()
                if any(entry["use_pickle"] for entry in entries):
                    raise ValueError(f"{name} names pickled tensors")
            elif "/sample_inputs/" in name:
                _refuse_objects(archive.read(name))


def _refuse_objects(pickled: bytes) -> None:
    """Raise where more than tensors are pickled; torch would fall back to unpickling anything."""
    try:
        torch.load(BytesIO(pickled), weights_only=True)
    except Exception as error:
        raise ValueError("its sample inputs are more than tensors") from error


def _arguments(network: Any, output: Output) -> dict[str, bool]:
    if not isinstance(network, torch.jit.ScriptModule):
        return {}
    schema: Any = network.forward  # whose schema the stubs do not know
    known = {argument.name for argument in schema.schema.arguments}
    return {_ARGUMENTS[output]: True} if _ARGUMENTS[output] in known else {}


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
