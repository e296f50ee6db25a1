"""What a file may say of networks: sizes within bounds, tensors of these sizes; before any is allocated."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args

from torch import Tensor, float32, nn

from stylegan2_ada.errors import UsageError
from stylegan2_ada.networks import Blocks
from stylegan2_ada.pickle_machine import shown

LEAST_MOST: Mapping[str, tuple[int, int]] = MappingProxyType({
    "resolution": (8, 2048), "channels": (1, 64), "labels": (0, 100_000), "channel_base": (1, 2**20),
    "channel_max": (1, 8192), "low_blocks": (0, 16), "mapping_layers": (1, 64), "d_mapping_layers": (1, 64),
    "group": (1, 1024),
})  # fmt: skip


def check_sizes(fields: Mapping[str, Any]) -> None:
    """Raise UsageError where a field of an Architecture, or the group, is of no use; absent ones pass."""
    for name, (least, most) in LEAST_MOST.items():
        value = fields.get(name, least)
        if type(value) is not int or not least <= value <= most:
            raise UsageError(f"{name}={shown(value)}: not possible; valid: a whole number, {least} to {most}")
    size = fields["resolution"]
    if size.bit_count() != 1 or fields["channel_base"] < size:
        raise UsageError(f"resolution={size}: not possible; valid: a power of two, at most channel_base")
    _check_clamp(fields.get("clamp"))
    for name in ("g_blocks", "d_blocks"):
        if fields.get(name, "skip") not in get_args(Blocks):
            valid = ", ".join(get_args(Blocks))
            raise UsageError(f"architecture={shown(fields[name])}: not possible; valid: {valid}")


def _check_clamp(clamp: Any) -> None:
    number = isinstance(clamp, int | float) and not isinstance(clamp, bool)
    if clamp is not None and not (number and 0 < clamp < math.inf):
        raise UsageError(f"conv_clamp={shown(clamp)}: not possible; valid: None or a number above 0")


def check_tensors(kind: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise UsageError with every tensor that is missing, unknown, or of another shape or type.

    Network and tensors may both be on the device `meta`, where nothing is allocated.
    """
    wanted = network.state_dict()
    wrong = [f"{name} is missing" for name in wanted.keys() - tensors.keys()]
    wrong += [f"{name!a} is unknown" for name in tensors.keys() - wanted.keys()]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted.keys() & tensors.keys()
        if tensors[name].shape != wanted[name].shape
    ]
    wrong += [f"{key!a} is {tensor.dtype}" for key, tensor in tensors.items() if tensor.dtype != float32]
    if wrong:
        raise UsageError(f"{kind}: {'; '.join(sorted(wrong))}; valid: the tensors that its settings describe")
