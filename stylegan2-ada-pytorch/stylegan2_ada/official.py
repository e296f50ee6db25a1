"""Between published networks and our folders: the settings they were built with, import and export.

The names of settings are those of stylegan2-ada-pytorch, which nests a generator's, and of stylegan3, which
does not. The names of tensors are the same everywhere.
"""

import argparse
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from stylegan2_ada import weights
from stylegan2_ada.errors import UsageError
from stylegan2_ada.files import sha256, whole
from stylegan2_ada.networks import LATENT, Architecture, Discriminator, Generator
from stylegan2_ada.official_pickle import Snapshot, read_pickle
from stylegan2_ada.pickle_machine import shown
from stylegan2_ada.sizes import check_sizes, check_tensors

LICENCE = "weights keep the licence of their source"
# Settings that are fields of Architecture, or the group of minibatch deviation; with the value where unset.
_FIELDS: Mapping[str, tuple[str, Any]] = MappingProxyType({
    "img_resolution": ("resolution", None),
    "img_channels": ("channels", None),
    "c_dim": ("labels", 0),
    "channel_base": ("channel_base", 32768),
    "channel_max": ("channel_max", 512),
    "num_fp16_res": ("low_blocks", 0),
    "conv_clamp": ("clamp", None),
})  # fmt: skip
_LAYERS, _GROUP = "mapping_kwargs.num_layers", "epilogue_kwargs.mbstd_group_size"
_GENERATORS: Mapping[str, tuple[str, Any]] = MappingProxyType({
    **_FIELDS, _LAYERS: ("mapping_layers", 8), "architecture": ("g_blocks", "skip"),
})  # fmt: skip
_DISCRIMINATORS: Mapping[str, tuple[str, Any]] = MappingProxyType({
    **_FIELDS, _LAYERS: ("d_mapping_layers", 8), "architecture": ("d_blocks", "resnet"), _GROUP: ("group", 4),
})  # fmt: skip
# Where stylegan3 leaves its generators unset; it also builds their discriminators so, which cannot be told.
_UNNESTED: Mapping[str, Any] = MappingProxyType({"low_blocks": 4, "clamp": 256})
# Settings that ours know at these values alone; the first is the one where unset.
_FIXED: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "z_dim": (LATENT,),
    "w_dim": (LATENT,),
    "cmap_dim": (None, 512),
    "mapping_kwargs.embed_features": (None, 512),
    "mapping_kwargs.layer_features": (None, 512),
    "mapping_kwargs.activation": ("lrelu",),
    "mapping_kwargs.lr_multiplier": (0.01,),
    "activation": ("lrelu",),
    "kernel_size": (3,),
    "use_noise": (True,),
    "resample_filter": ([1, 3, 3, 1],),
    "epilogue_kwargs.mbstd_num_channels": (1,),
    "epilogue_kwargs.activation": ("lrelu",),
})  # fmt: skip
# Settings of speed or of training, which change no tensor and no image.
_FREE = frozenset({
    "fp16_channels_last", "fused_modconv_default", "freeze_layers", "mapping_kwargs.w_avg_beta",
})  # fmt: skip
_SECTIONS = MappingProxyType({
    "synthesis_kwargs": "", "block_kwargs": "", "layer_kwargs": "", "mapping_kwargs": "mapping_kwargs.",
    "epilogue_kwargs": "epilogue_kwargs.",
})  # fmt: skip
log = logging.getLogger(__name__)


def architecture_of(init_kwargs: Mapping[str, Any]) -> Architecture:
    """Return our architecture for the settings of a published generator, which have z_dim, or discriminator.

    What only the other network has stays at its default. UsageError names a setting that ours cannot take.
    """
    fields = _fields(init_kwargs)
    fields.pop("group", None)
    return Architecture(**fields)


def group_of(init_kwargs: Mapping[str, Any]) -> int:
    """Return the group of minibatch deviation of a published discriminator."""
    return int(_fields(init_kwargs)["group"])


def generator_from(init_kwargs: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> Generator:
    """Return our generator with a published one's tensors; UsageError names what does not fit."""
    architecture = architecture_of(init_kwargs)
    with torch.device("meta"):  # nothing is allocated before it is known to fit
        check_tensors("generator", architecture.generator(), state_dict)
    network = architecture.generator()
    network.load_state_dict(state_dict)
    return network


def discriminator_from(init_kwargs: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> Discriminator:
    """Return our discriminator with a published one's tensors; UsageError names what does not fit."""
    architecture, group = architecture_of(init_kwargs), group_of(init_kwargs)
    with torch.device("meta"):
        check_tensors("discriminator", architecture.discriminator(group), state_dict)
    network = architecture.discriminator(group)
    network.load_state_dict(state_dict)
    return network


def _fields(init_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of Architecture, and the group of a discriminator."""
    is_generator = "z_dim" in init_kwargs
    known = _GENERATORS if is_generator else _DISCRIMINATORS
    fields = dict(known.values())
    if is_generator and "synthesis_kwargs" not in init_kwargs:
        fields |= _UNNESTED
    without_mapping = not is_generator and not init_kwargs.get("c_dim")
    for name, value in _settings(init_kwargs):
        if name in known:
            fields[known[name][0]] = value
        elif not (without_mapping and name.startswith(("mapping_kwargs.", "cmap_dim"))):
            _check_setting(name, value, known)
    if without_mapping:  # whatever is said of it
        fields["d_mapping_layers"] = known[_LAYERS][1]
    check_sizes(fields)
    return fields


def _check_setting(name: str, value: Any, known: Collection[str]) -> None:
    """Refuse a setting that is no field of ours, at a value that ours cannot take."""
    if name in _FREE or value in _FIXED.get(name, ()):
        return
    values = _FIXED.get(name, (f"no setting but {', '.join(known)}",))
    valid = " or ".join(map(str, values))
    raise UsageError(f"{shown(name)[1:-1]}={shown(value)}: not possible here; valid: {valid}")


def _settings(init_kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every setting, by its section where a name has several meanings."""
    for name, value in init_kwargs.items():
        if name not in _SECTIONS:
            yield name, value
        elif not isinstance(value, Mapping):
            raise UsageError(f"{name}={shown(value)}: no settings; valid: names and values")
        else:
            yield from ((_SECTIONS[name] + key, inner) for key, inner in _settings(value))


def import_network(path: Path, folder: Path) -> None:
    """Write the networks of a published .pkl as a folder of ours, every tensor bit for bit."""
    if (folder / weights.INFO).exists():
        raise UsageError(f"out={folder}: holds a network already; valid: another folder")
    snapshot = read_pickle(path)
    try:
        architecture = _joint(snapshot)
        g, g_ema = (generator_from(n.init_kwargs, n.tensors) for n in (snapshot.g, snapshot.g_ema))
        d = discriminator_from(snapshot.d.init_kwargs, snapshot.d.tensors)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    weights.save(folder, g_ema, d, architecture, _about(path, snapshot, architecture), g=g)
    log.info("%s: %d pixels, %d channels, %d labels, mapping_layers %d; %s", folder, architecture.resolution,
             architecture.channels, architecture.labels, architecture.mapping_layers, LICENCE)  # fmt: skip


def _joint(snapshot: Snapshot) -> Architecture:
    """Return the one architecture of generator and discriminator."""
    g, d = (architecture_of(network.init_kwargs) for network in (snapshot.g_ema, snapshot.d))
    joint = replace(g, d_blocks=d.d_blocks, d_mapping_layers=d.d_mapping_layers)
    other = replace(
        d, g_blocks=g.g_blocks, mapping_layers=g.mapping_layers, clamp=g.clamp, low_blocks=g.low_blocks
    )
    if architecture_of(snapshot.g.init_kwargs) != g or joint != other:
        raise UsageError(f"networks of unlike settings ({joint}, {other}); valid: equal where both have them")
    return joint


def _about(path: Path, snapshot: Snapshot, architecture: Architecture) -> dict[str, Any]:
    return {
        "resolution": architecture.resolution,
        "channels": architecture.channels,
        "group": group_of(snapshot.d.init_kwargs),
        "augment_p": snapshot.augment_p,
        "source": {"file": path.name, "digest": sha256(path)},
        "licence": LICENCE,
    }


def export_network(folder: Path, path: Path) -> None:
    """Write a folder's networks as one file for the published code: state dicts by name, and settings.

    torch.load(weights_only=True) reads it: G, D, G_ema, G_init_kwargs, D_init_kwargs. A folder without the
    last step's generator gives its running mean for G too.
    """
    info = weights.read_info(folder)
    architecture = weights.architecture_in(info)
    mean = weights.read_tensors(folder, info, weights.GENERATOR)
    content = {
        "G": weights.read_tensors(folder, info, weights.RAW) if "raw_digest" in info else mean,
        "D": weights.read_tensors(folder, info, weights.DISCRIMINATOR),
        "G_ema": mean,
        "G_init_kwargs": generator_kwargs(architecture),
        "D_init_kwargs": discriminator_kwargs(architecture, _group(info)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        torch.save(content, part)


def _group(info: Mapping[str, Any]) -> int:
    """Return the group of minibatch deviation, which an import names at the top, a run in its settings."""
    config = info.get("config")
    group: int = info.get("group") or (isinstance(config, dict) and config.get("group")) or 4
    check_sizes({**info["architecture"], "group": group})
    return group


def generator_kwargs(architecture: Architecture) -> dict[str, Any]:
    """Return the settings with which the published code builds the same generator."""
    synthesis = _common(architecture)
    if architecture.g_blocks != "skip":
        synthesis["architecture"] = architecture.g_blocks
    return {
        "z_dim": LATENT,
        "c_dim": architecture.labels,
        "w_dim": LATENT,
        "img_resolution": architecture.resolution,
        "img_channels": architecture.channels,
        "mapping_kwargs": {"num_layers": architecture.mapping_layers},
        "synthesis_kwargs": synthesis,
    }


def discriminator_kwargs(architecture: Architecture, group: int) -> dict[str, Any]:
    """Return the settings with which the published code builds the same discriminator."""
    return {
        "c_dim": architecture.labels,
        "img_resolution": architecture.resolution,
        "img_channels": architecture.channels,
        "architecture": architecture.d_blocks,
        **_common(architecture),
        "mapping_kwargs": {"num_layers": architecture.d_mapping_layers},
        "epilogue_kwargs": {"mbstd_group_size": group},
    }


def _common(architecture: Architecture) -> dict[str, Any]:
    """Return the settings of both networks; without a clamp the published code overflows in float16."""
    return {
        "channel_base": architecture.channel_base,
        "channel_max": architecture.channel_max,
        "num_fp16_res": 0 if architecture.clamp is None else architecture.low_blocks,
        "conv_clamp": architecture.clamp,
    }


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `import NETWORK.pkl OUT`."""
    parser.add_argument(
        "network", type=Path, help=".pkl by stylegan2-ada-pytorch or stylegan3; none of it is run"
    )
    parser.add_argument("out", type=Path, help="folder to write")
    parser.set_defaults(run=lambda options: import_network(options.network, options.out))


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `export FOLDER OUT.pt`."""
    parser.add_argument("folder", type=Path, help="folder of a trained or imported network")
    parser.add_argument("out", type=Path, help="file to write, for torch.load(weights_only=True)")
    parser.set_defaults(run=lambda options: export_network(options.folder, options.out))
