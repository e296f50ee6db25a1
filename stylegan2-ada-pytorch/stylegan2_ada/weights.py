"""Networks as folders: safetensors and a JSON beside them that is written last.

generator.safetensors      the running mean of the generator's weights
discriminator.safetensors  for transfer to another run
generator_raw.safetensors  the generator as its last step left it, where the folder has it; for transfer
generator.json             architecture, digests and what the run was
"""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stylegan2_ada.devices import device_of
from stylegan2_ada.errors import UsageError
from stylegan2_ada.files import read_json, sha256, whole, write_json
from stylegan2_ada.networks import Architecture, Discriminator, Generator
from stylegan2_ada.sizes import check_sizes, check_tensors

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
_DTYPES = MappingProxyType({"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16})
_SETTLED = frozenset({"resolution", "labels", "d_mapping_layers"})  # by the data, and by no setting

log = logging.getLogger(__name__)


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
        with whole(folder / name) as part:
            save_file(tensors, part)
    digests = {_DIGESTS[name]: sha256(folder / name) for name in networks}
    write_json(folder / INFO, {**about, **digests, "architecture": vars(architecture)})


def read_info(folder: Path) -> dict[str, Any]:
    """Read a folder's JSON, or raise UsageError where there is none."""
    path = folder / INFO
    if not path.is_file():
        raise UsageError(f"{folder}: no {INFO} in it; valid: a folder written by stylegan2_ada")
    info = read_json(path)
    try:
        architecture_in(info)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not readable ({error}); valid: JSON written by stylegan2_ada") from error
    return info


def architecture_in(info: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a folder's JSON describes; what an older one lacks is at its default.

    UsageError where a size is out of bounds.
    """
    architecture = Architecture(**info["architecture"])
    check_sizes(info["architecture"])
    return architecture


def is_whole(folder: Path) -> bool:
    """Tell whether a folder holds all networks that its JSON describes."""
    try:
        info = read_info(folder)
    except UsageError:
        return False
    wanted = {name: info.get(key) for name, key in _DIGESTS.items() if name != RAW or key in info}
    return all((folder / name).is_file() and sha256(folder / name) == wanted[name] for name in wanted)


def load_generator(folder: Path, device: str = "auto") -> tuple[Generator, dict[str, Any]]:
    """Return the generator of a folder, ready to generate, and what its JSON says.

    The device is named as on the command line: auto, cpu, cuda or cuda:N.
    """
    place, info = device_of(device), read_info(folder)
    tensors = read_tensors(folder, info, GENERATOR)
    network = architecture_in(info).generator()
    network.load_state_dict(tensors)
    network.to(place).eval().requires_grad_(False)
    return network, info


def _check_files(folder: Path, info: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise UsageError where files hold other tensors than the architecture has; none is read."""
    for name in names:
        check_tensors(str(folder / name), _outline(info, name), _declared(folder / name))


def _outline(info: Mapping[str, Any], name: str) -> nn.Module:
    """Return the network of a file without values: nothing is allocated."""
    architecture = architecture_in(info)
    with torch.device("meta"):
        return architecture.discriminator(1) if name == DISCRIMINATOR else architecture.generator()


def _declared(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file without values, from its header alone."""
    if not path.is_file():
        raise UsageError(f"{path}: missing; valid: a folder written by stylegan2_ada")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            dtypes = {name: _DTYPES.get(part.get_dtype(), torch.uint8) for name, part in slices.items()}
            shapes = {name: part.get_shape() for name, part in slices.items()}
    except SafetensorError as error:
        raise UsageError(f"{path}: {error}; valid: a safetensors file") from error
    return {name: torch.empty(shapes[name], dtype=dtypes[name], device="meta") for name in slices}


def read_tensors(folder: Path, info: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Return the tensors of one file of a folder, those that its JSON describes.

    UsageError where it is not the file that was written, or the JSON describes others.
    """
    path, digest = folder / name, str(info.get(_DIGESTS[name]))
    if not path.is_file() or sha256(path) != digest:
        raise UsageError(f"{path}: missing or changed; valid: the file of digest {digest[:12]}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path}: {error}; valid: a safetensors file") from error
    check_tensors(str(path), _outline(info, name), tensors)
    return tensors


def transferred(wanted: Architecture, given: Collection[str], folder: Path) -> Architecture:
    """Return the architecture of a run that starts from a folder's networks.

    It is the folder's, but for the image channels and the precision, which stay as wanted. Fields in `given`
    are set by the user, others by the data or by nobody: where these differ, UsageError names each.
    """
    info = read_info(folder)
    there = architecture_in(info)
    _check_files(folder, info, (GENERATOR, DISCRIMINATOR, *((RAW,) if _DIGESTS[RAW] in info else ())))
    different = [name for name in _STRUCTURE if getattr(there, name) != getattr(wanted, name)]
    _refuse([name for name in different if name in _SETTLED or name in given], there, wanted, folder)
    for name in different:
        log.info("%s %s, as in %s, not %s", name, getattr(there, name), folder, getattr(wanted, name))
    if there.channels != wanted.channels:
        log.info("image channels %d, converted from %d in %s", wanted.channels, there.channels, folder)
    return replace(wanted, **{name: getattr(there, name) for name in different})


def transfer(folder: Path, g: Generator, d: Discriminator, g_ema: Generator) -> None:
    """Start networks from those of a folder, g from the last step's generator where the folder has it.

    Another number of image channels is converted; every other difference is refused, none is skipped.
    """
    info = read_info(folder)
    there, here = architecture_in(info), g.architecture
    different = [name for name in _STRUCTURE if getattr(there, name) != getattr(here, name)]
    _refuse(different, there, here, folder)
    raw = RAW if _DIGESTS[RAW] in info else GENERATOR
    for network, name in ((g, raw), (d, DISCRIMINATOR), (g_ema, GENERATOR)):
        tensors = read_tensors(folder, info, name)
        network.load_state_dict(with_channels(tensors, there.channels, here.channels))


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
