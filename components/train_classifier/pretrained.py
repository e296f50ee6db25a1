"""Starting weights that the user names: a state dict of the architecture, as a file or an object."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from components.shared import storage
from components.shared.classifier import HEADS
from components.shared.faults import InputError


def start_from(uri: str, network: nn.Module, architecture: str) -> dict[str, Any]:
    """Load the weights at uri into network; tell what they were and whether their head was kept."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(uri).name
        _fetch(uri, path)
        state = _read(uri, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    own = network.state_dict()
    head = {name for name in own if name.startswith(HEADS[architecture])}
    kept = all(name in state and state[name].shape == own[name].shape for name in head)
    body = {name: value for name, value in state.items() if kept or not name.startswith(HEADS[architecture])}
    _require_fit(uri, architecture, body, own if kept else {n: v for n, v in own.items() if n not in head})
    network.load_state_dict(body, strict=False)
    return {"name": Path(uri).name, "digest": digest, "head": "kept" if kept else "replaced"}


def _fetch(uri: str, path: Path) -> None:
    try:
        storage.download(uri, path)
    except FileNotFoundError:
        raise InputError(f"pretrained_uri={uri}: not there; valid: a file or object of weights") from None


def _read(uri: str, path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - the readers' own errors have no common base
        raise InputError(
            f"pretrained_uri={uri}: cannot be read ({type(error).__name__}); valid: a state dict in a"
            " .safetensors file, or in a file of torch.save that holds tensors alone"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"pretrained_uri={uri}: holds no state dict; valid: tensors by name")
    return state


def _require_fit(
    uri: str, architecture: str, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    wrong = sorted(
        name for name in given.keys() | wanted.keys() if _shape(given, name) != _shape(wanted, name)
    )
    if wrong:
        raise InputError(
            f"pretrained_uri={uri}: does not fit {architecture} at {wrong[0]} ({len(wrong)} tensors differ);"
            f" valid: a state dict of torchvision's {architecture}"
        )


def _shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None
