"""Networks as folders: safetensors and a JSON beside them that is written last.

generator.safetensors      the running mean of the generator's weights
discriminator.safetensors  for transfer to another run
generator.json             architecture, digests and what the run was
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stylegan2_ada.errors import UsageError
from stylegan2_ada.networks import Architecture, Discriminator, Generator

GENERATOR, DISCRIMINATOR, INFO = "generator.safetensors", "discriminator.safetensors", "generator.json"


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: the file is whole or absent."""
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    part.replace(path)


def save(
    folder: Path, g_ema: nn.Module, d: nn.Module, architecture: Architecture, about: Mapping[str, Any]
) -> None:
    """Write a folder that `load_generator` and a transfer can read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INFO).unlink(missing_ok=True)
    for name, network in ((GENERATOR, g_ema), (DISCRIMINATOR, d)):
        # The format knows no strides, so layouts are made plain.
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, folder / name)
    digests = {"digest": sha256(folder / GENERATOR), "discriminator_digest": sha256(folder / DISCRIMINATOR)}
    write_json(folder / INFO, {**about, **digests, "architecture": vars(architecture)})


def read_info(folder: Path) -> dict[str, Any]:
    """Read a folder's JSON, or raise UsageError where there is none."""
    path = folder / INFO
    if not path.is_file():
        raise UsageError(f"{folder}: no {INFO} in it; valid: a folder written by stylegan2_ada")
    try:
        info: dict[str, Any] = json.loads(path.read_text())
        Architecture(**info["architecture"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not readable ({error}); valid: JSON written by stylegan2_ada") from error
    return info


def is_whole(folder: Path) -> bool:
    """Tell whether a folder holds both networks that its JSON describes."""
    try:
        info = read_info(folder)
    except UsageError:
        return False
    wanted = {GENERATOR: info.get("digest"), DISCRIMINATOR: info.get("discriminator_digest")}
    return all((folder / name).is_file() and sha256(folder / name) == wanted[name] for name in wanted)


def load_generator(folder: Path, device: torch.device | str = "cpu") -> tuple[Generator, dict[str, Any]]:
    """Return the generator of a folder, ready to generate, and what its JSON says."""
    info = read_info(folder)
    network = Architecture(**info["architecture"]).generator()
    network.load_state_dict(_read_tensors(folder / GENERATOR, info["digest"]))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval().requires_grad_(False)
    return network, info


def transfer(folder: Path, architecture: Architecture, g: Generator, d: Discriminator) -> None:
    """Start networks from those of a folder; every difference in architecture is refused, none is skipped."""
    info = read_info(folder)
    differences = [
        f"{name} {info['architecture'][name]} there, {wanted} here"
        for name, wanted in vars(architecture).items()
        if info["architecture"][name] != wanted
    ]
    if differences:
        raise UsageError(f"{folder}: another architecture ({'; '.join(differences)}); valid: an equal one")
    g.load_state_dict(_read_tensors(folder / GENERATOR, info["digest"]))
    d.load_state_dict(_read_tensors(folder / DISCRIMINATOR, info["discriminator_digest"]))


def _read_tensors(path: Path, digest: str) -> dict[str, Tensor]:
    if not path.is_file() or sha256(path) != digest:
        raise UsageError(f"{path}: missing or changed; valid: the file of digest {digest[:12]}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path}: {error}; valid: a safetensors file") from error
