"""Networks as folders: safetensors and a JSON beside them that is written last.

generator.safetensors      the running mean of the generator's weights
discriminator.safetensors  for transfer to another run
generator_raw.safetensors  the generator as its last step left it, where the folder has it; for transfer
generator.json             architecture, digests and what the run was
"""

import hashlib
import json
import logging
import math
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stylegan2_ada.errors import UsageError
from stylegan2_ada.networks import Architecture, Discriminator, Generator

GENERATOR, DISCRIMINATOR, INFO = "generator.safetensors", "discriminator.safetensors", "generator.json"
RAW = "generator_raw.safetensors"
_DIGESTS = MappingProxyType({
    GENERATOR: "digest", DISCRIMINATOR: "discriminator_digest", RAW: "raw_digest",
})  # fmt: skip
# What decides which tensors there are; the image channels, too, but those can be converted.
_STRUCTURE = (
    "resolution", "labels", "channel_base", "channel_max", "mapping_layers", "d_mapping_layers", "g_blocks",
    "d_blocks",
)  # fmt: skip
_BY_DATA = frozenset({"resolution", "labels"})

log = logging.getLogger(__name__)


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
    folder: Path,
    g_ema: nn.Module,
    d: nn.Module,
    architecture: Architecture,
    about: Mapping[str, Any],
    *,
    g: nn.Module | None = None,
) -> None:
    """Write a folder that `load_generator` and a transfer can read; g, where given, for an exact transfer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INFO).unlink(missing_ok=True)
    (folder / RAW).unlink(missing_ok=True)
    networks = {GENERATOR: g_ema, DISCRIMINATOR: d, **({} if g is None else {RAW: g})}
    for name, network in networks.items():
        # The format knows no strides, so layouts are made plain.
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, folder / name)
    digests = {_DIGESTS[name]: sha256(folder / name) for name in networks}
    write_json(folder / INFO, {**about, **digests, "architecture": vars(architecture)})


def read_info(folder: Path) -> dict[str, Any]:
    """Read a folder's JSON, or raise UsageError where there is none."""
    path = folder / INFO
    if not path.is_file():
        raise UsageError(f"{folder}: no {INFO} in it; valid: a folder written by stylegan2_ada")
    try:
        info: dict[str, Any] = json.loads(path.read_text())
        architecture_in(info)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not readable ({error}); valid: JSON written by stylegan2_ada") from error
    return info


def architecture_in(info: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a folder's JSON describes; what an older one lacks is at its default."""
    return Architecture(**info["architecture"])


def is_whole(folder: Path) -> bool:
    """Tell whether a folder holds all networks that its JSON describes."""
    try:
        info = read_info(folder)
    except UsageError:
        return False
    wanted = {name: info.get(key) for name, key in _DIGESTS.items() if name != RAW or key in info}
    return all((folder / name).is_file() and sha256(folder / name) == wanted[name] for name in wanted)


def load_generator(folder: Path, device: torch.device | str = "cpu") -> tuple[Generator, dict[str, Any]]:
    """Return the generator of a folder, ready to generate, and what its JSON says."""
    info = read_info(folder)
    network = architecture_in(info).generator()
    network.load_state_dict(read_tensors(folder, info, GENERATOR))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval().requires_grad_(False)
    return network, info


def read_tensors(folder: Path, info: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Return the tensors of one file of a folder; UsageError where it is not the one that was written."""
    path, digest = folder / name, str(info.get(_DIGESTS[name]))
    if not path.is_file() or sha256(path) != digest:
        raise UsageError(f"{path}: missing or changed; valid: the file of digest {digest[:12]}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path}: {error}; valid: a safetensors file") from error


def transferred(wanted: Architecture, given: Collection[str], folder: Path) -> Architecture:
    """Return the architecture of a run that starts from a folder's networks.

    It is the folder's, but for the image channels and the precision, which stay as wanted. Fields in `given`
    are set by the user, resolution and labels by the data: where these differ, UsageError names each.
    """
    there = architecture_in(read_info(folder))
    different = [name for name in _STRUCTURE if getattr(there, name) != getattr(wanted, name)]
    _refuse([name for name in different if name in _BY_DATA or name in given], there, wanted, folder)
    for name in different:
        log.info("%s %s, as in %s, not %s", name, getattr(there, name), folder, getattr(wanted, name))
    if there.channels != wanted.channels:
        log.info("image channels %d, converted from %d in %s", wanted.channels, there.channels, folder)
    return replace(wanted, **{name: getattr(there, name) for name in different})


def transfer(
    folder: Path,
    architecture: Architecture,
    g: Generator,
    d: Discriminator,
    g_ema: Generator | None = None,
) -> None:
    """Start networks from those of a folder, g from the last step's generator where the folder has it.

    Another number of image channels is converted; every other difference is refused, none is skipped.
    """
    info = read_info(folder)
    there = architecture_in(info)
    different = [name for name in _STRUCTURE if getattr(there, name) != getattr(architecture, name)]
    _refuse(different, there, architecture, folder)
    raw = RAW if _DIGESTS[RAW] in info else GENERATOR
    for network, name in ((g, raw), (d, DISCRIMINATOR), (g_ema, GENERATOR)):
        if network is not None:
            tensors = read_tensors(folder, info, name)
            network.load_state_dict(with_channels(tensors, there.channels, architecture.channels))


def _refuse(different: Collection[str], there: Architecture, here: Architecture, folder: Path) -> None:
    if different:
        text = "; ".join(f"{key} {getattr(there, key)} there, {getattr(here, key)} here" for key in different)
        raise UsageError(f"{folder}: another architecture ({text}); valid: an equal one")


def with_channels(tensors: Mapping[str, Tensor], before: int, after: int) -> dict[str, Tensor]:
    """Return a network's tensors for images of another number of channels.

    A generator makes the mean of its channels; a discriminator sees each channel as the mean of the new ones.
    So grey images, in as many equal channels, keep their logits.
    """
    if before == after:
        return dict(tensors)
    converted = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith("fromrgb.weight"):
            # At run time weights are divided by the root of their inputs, which becomes another one.
            total = tensor.sum(dim=1, keepdim=True) * (math.sqrt(after / before) / after)
            converted[name] = total.repeat(1, after, 1, 1)
        elif name.endswith(("torgb.weight", "torgb.bias")):
            repeats = (after,) + (1,) * (tensor.dim() - 1)
            converted[name] = tensor.mean(dim=0, keepdim=True).repeat(repeats)
    return converted
