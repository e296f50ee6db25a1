"""Writes pickles as published networks have them, by Python's own pickler, and hostile ones.

The modules that such a file names are made for the moment of writing; they hold names and nothing else.
"""

import copyreg
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from stylegan2_ada.networks import Architecture
from stylegan2_ada.official import discriminator_kwargs, generator_kwargs
from torch import Tensor, nn

Content = dict[str, Any]
SMALL = Architecture(
    resolution=16, channels=1, labels=3, channel_base=256, channel_max=16, mapping_layers=3, clamp=256.0,
    low_blocks=4,
)  # fmt: skip
BUFFERS = ("resample_filter", "noise_const", "w_avg", "p")
SOURCE = "raise RuntimeError('the source of a network was run')"


class EasyDict(dict):  # type: ignore[type-arg]
    """A dictionary under the name that published files use, with a state as older interpreters write it."""

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        return copyreg.__newobj__, (EasyDict,), {}, None, iter(self.items())  # type: ignore[attr-defined]


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("called")


class Module:
    """A module as it is written: a call with its source, class and attributes."""

    def __init__(self, class_name: str, state: Mapping[str, Any]) -> None:
        self.class_name = class_name
        self.state = dict(state)

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name}
        return _reconstruct_persistent_obj, ({**meta, "state": self.state},)


class Calls:
    """An object that its loader would make by calling a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made_by = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made_by


@contextmanager
def published_names() -> Iterator[None]:
    """Let the pickler find what it writes under the names of the published code."""
    places: dict[str, Any] = {"dnnlib.util": EasyDict, "torch_utils.persistence": _reconstruct_persistent_obj}
    names = [*places, *(place.partition(".")[0] for place in places)]
    sys.modules.update({name: ModuleType(name) for name in names})
    for place, thing in places.items():
        thing.__module__ = place
        setattr(sys.modules[place], thing.__name__, thing)
    try:
        yield
    finally:
        for thing in places.values():
            thing.__module__ = __name__
        for name in names:
            del sys.modules[name]


def module(kind: str, tensors: Mapping[str, Tensor], init_kwargs: Mapping[str, Any] | None = None) -> Module:
    """Return a tree of modules from the names of a state dict."""
    own = {name: tensor.detach() for name, tensor in tensors.items() if "." not in name}
    children: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        head, dot, tail = name.partition(".")
        if dot:
            children.setdefault(head, {})[tail] = tensor
    state = {
        "training": False,
        "_parameters": OrderedDict((n, nn.Parameter(t)) for n, t in own.items() if n not in BUFFERS),
        "_buffers": OrderedDict((n, t) for n, t in own.items() if n in BUFFERS),
        "_non_persistent_buffers_set": set(),
        "_forward_hooks": OrderedDict(),
        "_modules": OrderedDict((name, module("SynthesisLayer", part)) for name, part in children.items()),
        "_init_args": (),
        "_init_kwargs": EasyDict(init_kwargs or {}),
        "weight_gain": np.float64(1) / np.sqrt(512),
    }
    return Module(kind, state)


def three_networks() -> Content:
    """Return what a published file holds of three small networks, each of its own weights."""
    g, g_ema = ((generator_kwargs(SMALL), SMALL.generator().state_dict()) for _ in range(2))
    return snapshot(g, (discriminator_kwargs(SMALL, 8), SMALL.discriminator(8).state_dict()), g_ema)


def snapshot(g: Any, d: Any, g_ema: Any) -> Content:
    """Return what a published file holds, of pairs of settings and tensors."""
    return {
        "G": module("Generator", g[1], easy(g[0])),
        "D": module("Discriminator", d[1], easy(d[0])),
        "G_ema": module("Generator", g_ema[1], easy(g_ema[0])),
        "augment_pipe": module("AugmentPipe", {"p": torch.tensor(0.25)}, {"xflip": 1}),
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", use_labels=False),
    }


def easy(settings: Mapping[str, Any]) -> EasyDict:
    """Return settings as dictionaries of the published kind."""
    return EasyDict((key, easy(item) if isinstance(item, dict) else item) for key, item in settings.items())


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    """Write a pickle under the published names."""
    with published_names():
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path
