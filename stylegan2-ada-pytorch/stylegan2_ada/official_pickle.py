"""The networks of a published .pkl as tensors and settings; no code of the file is run.

Such a file is a pickle of modules. Each carries its source as text, which the authors' loader executes; here
it stays text. A tensor is a call that names a nested stream: magic number, version, system, one storage, and
its elements.
"""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan2_ada.errors import UsageError
from stylegan2_ada.pickle_machine import Call, Machine, Name, RefusedError, shown

_MODULE = "torch_utils.persistence._reconstruct_persistent_obj"
_DICTIONARIES = ("dnnlib.util.EasyDict", "collections.OrderedDict")
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_STORAGE, _DTYPE = "torch.storage._load_from_bytes", "numpy.dtype"
_SCALARS = tuple(f"numpy{core}.multiarray.scalar" for core in ("", ".core", "._core"))
_NAMES = frozenset({
    _MODULE, *_DICTIONARIES, _TENSOR, _PARAMETER, _STORAGE, _DTYPE, *_SCALARS,
    "_codecs.encode", "builtins.set", "__builtin__.set",
})  # fmt: skip
_TENSORFLOW = "dnnlib.tflib.network.Network"
_CLASSES = frozenset({
    "Generator", "Discriminator", "AugmentPipe", "MappingNetwork", "SynthesisNetwork", "SynthesisBlock",
    "SynthesisLayer", "ToRGBLayer", "FullyConnectedLayer", "Conv2dLayer", "DiscriminatorBlock",
    "MinibatchStdLayer", "DiscriminatorEpilogue",
})  # fmt: skip
_ELEMENTS = MappingProxyType({
    "torch.FloatStorage": torch.float32, "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16, "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32, "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8, "torch.ByteStorage": torch.uint8, "torch.BoolStorage": torch.bool,
})  # fmt: skip
_MAGIC, _STREAM = 0x1950A86A20F9469CFC6C, 1001  # of a nested stream
_PERSISTENCE = 6  # version of the modules' envelope
_MOST_BYTES = 2**32
_MOST_MODULES, _MOST_ITEMS = 1000, 1000  # items of a dictionary
_MOST_SETTINGS, _MOST_DEPTH = 32, 3  # settings within each other: a list may hold another many times
_MOST_PARTS = 1000  # opcodes of what precedes the elements in a nested stream
_VALID = "a .pkl of networks by stylegan2-ada-pytorch, or of its networks by stylegan3"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a file: what it was built with, and its tensors by the names of its state dict."""

    init_kwargs: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a published file holds; g_ema is the running mean of g."""

    g: Network
    d: Network
    g_ema: Network
    augment_p: float | None  # probability of augmentation that the run had come to


def read_pickle(path: Path) -> Snapshot:
    """Read a published .pkl without running anything of it; raises UsageError where it is something else."""
    content = _content(path)
    try:
        top = _dictionary(Machine(_NAMES).read(io.BytesIO(content)))
        pipe = top.get("augment_pipe")
        return Snapshot(
            g=_network(top, "G", "Generator", len(content)),
            d=_network(top, "D", "Discriminator", len(content)),
            g_ema=_network(top, "G_ema", "Generator", len(content)),
            augment_p=None if pipe is None else _probability(pipe),
        )
    except RefusedError as error:
        valid = _VALID
        if _TENSORFLOW in str(error):
            valid = "the .pkl that legacy.py of stylegan2-ada-pytorch makes of one from TensorFlow"
        raise UsageError(f"{path}: {error}; valid: {valid}") from error


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; valid: {_VALID}")
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise UsageError(f"{path}: {size} bytes; valid: at most {_MOST_BYTES}")
    content = path.read_bytes()
    if content.startswith(b"PK\x03\x04"):
        raise UsageError(f"{path}: a zip archive, no pickle; valid: {_VALID}")
    return content


def _network(top: Mapping[str, Any], name: str, kind: str, most_bytes: int) -> Network:
    if name not in top:
        raise RefusedError(f"has no {name}")
    state = _state(top[name], kind)
    if state.get("_init_args"):
        raise RefusedError(f"built {name} with arguments that have no name")
    tensors: dict[str, Tensor] = {}
    for key, call in _tensor_calls(top[name]):
        tensors[key], read_bytes = _tensor(key, call)
        # Many tensors may share one storage, so that a small file could ask for much memory.
        if (most_bytes := most_bytes - read_bytes) < 0:
            raise RefusedError(f"has more elements in the tensors of {name} than its bytes can hold")
    return Network(init_kwargs=_plain(state["_init_kwargs"], 0), tensors=tensors)


def _state(module: Any, kind: str | None = None) -> Mapping[str, Any]:
    """Return the attributes of a module of that class."""
    arguments = _arguments(module, (_MODULE,), 1)
    envelope = _dictionary(arguments[0])
    if envelope.get("type") != "class" or envelope.get("version") != _PERSISTENCE:
        raise RefusedError(f"has modules of version {shown(envelope.get('version'))}, not {_PERSISTENCE}")
    name = envelope.get("class_name")
    if not isinstance(name, str) or name not in _CLASSES or kind not in (None, name):
        raise RefusedError(f"holds {shown(name)} where {kind or 'a layer'} belongs")
    state = _dictionary(envelope.get("state"))
    for part in ("_parameters", "_buffers", "_modules", "_init_kwargs"):
        _dictionary(state.get(part))
    return state


def _tensor_calls(network: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and calls in the order of a state dict: parameters, buffers, then modules."""
    waiting, seen = [("", network)], 0
    while waiting:
        prefix, module = waiting.pop()
        state, seen = _state(module), seen + 1
        if seen > _MOST_MODULES:
            raise RefusedError(f"has more than {_MOST_MODULES} modules")
        for part in ("_parameters", "_buffers"):
            for key, call in _dictionary(state[part]).items():
                if call is not None:
                    yield f"{prefix}{key}", call
        modules = [(f"{prefix}{key}.", value) for key, value in _dictionary(state["_modules"]).items()]
        waiting.extend(reversed([(key, value) for key, value in modules if value is not None]))


def _tensor(key: str, call: Any) -> tuple[Tensor, int]:
    """Return a tensor and how many bytes were read for it."""
    if isinstance(call, Call) and call.name == _PARAMETER:
        call = _arguments(call, (_PARAMETER,), 3)[0]
    try:
        storage, offset, size, stride = _arguments(call, (_TENSOR,), 6)[:4]
        stream = _bytes(_arguments(storage, (_STORAGE,), 1)[0])
        return _strided(_elements(io.BytesIO(stream)), offset, size, stride), len(stream)
    except RefusedError as error:
        raise RefusedError(f"has {shown(key)}, which {error}") from error


def _strided(storage: Tensor, offset: Any, size: Any, stride: Any) -> Tensor:
    """Return a copy of elements of a storage, where it has as many and all lie within it."""
    shape = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8
    if not shape or not all(type(n) is int and 0 <= n < 2**40 for n in (offset, *size, *stride)):
        raise RefusedError("has no shape of a tensor")
    if math.prod(size) == 0:
        return storage.new_empty(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(storage) or last >= len(storage):
        raise RefusedError(f"declares {math.prod(size)} elements up to the {last + 1}. of {len(storage)}")
    return storage.as_strided(size, stride, offset).clone()


def _elements(stream: io.BytesIO) -> Tensor:
    """Return the elements of a nested stream, one-dimensional."""
    magic, version, system = (Machine(()).read(stream, _MOST_PARTS) for _ in range(3))
    if magic != _MAGIC or version != _STREAM or _dictionary(system).get("little_endian") is not True:
        raise RefusedError("is no little-endian stream of version 1001")
    dtype, key, count = _declared(Machine(_ELEMENTS, references=True).read(stream, _MOST_PARTS))
    if Machine(()).read(stream, _MOST_PARTS) != [key] or stream.read(8) != count.to_bytes(8, "little"):
        raise RefusedError("has a storage of another name or size than it says")
    raw = bytearray(stream.read())
    if len(raw) != count * dtype.itemsize:
        raise RefusedError(f"declares {count} elements of {dtype.itemsize} bytes and has {len(raw)} bytes")
    return torch.frombuffer(raw, dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _declared(reference: Any) -> tuple[torch.dtype, str, int]:
    """Return what a nested stream says of its storage; the device that it was on is of no interest."""
    match reference:
        case Call("", (("storage", Name(kind), str() as key, str(), int() as count, None),)):
            if 0 <= count < 2**40:
                return _ELEMENTS[kind], key, count
    raise RefusedError("has no storage of a tensor")


def _arguments(value: Any, names: tuple[str, ...], least: int) -> tuple[Any, ...]:
    """Return the arguments of a call of one of these names."""
    if not isinstance(value, Call) or value.name not in names or len(value.arguments) < least:
        found = value.name if isinstance(value, Call) else type(value).__name__
        raise RefusedError(f"holds a {found} where {names[0]} belongs")
    return value.arguments


def _dictionary(value: Any) -> Mapping[str, Any]:
    items = value.items if isinstance(value, Call) and value.name in _DICTIONARIES else value
    if not isinstance(items, dict) or not all(isinstance(key, str) for key in items):
        raise RefusedError(f"holds a {type(value).__name__} where a dictionary of names belongs")
    if len(items) > _MOST_ITEMS:
        raise RefusedError(f"holds a dictionary of more than {_MOST_ITEMS} items")
    return items


def _bytes(value: Any) -> bytes:
    """Return bytes, which pickles of protocol 2 write as text."""
    match value:
        case bytes():
            return value
        case Call("_codecs.encode", (str() as text, "latin1")) if max(text, default="") < "\u0100":
            return text.encode("latin1")
    raise RefusedError(f"holds a {type(value).__name__} where bytes belong")


def _plain(value: Any, depth: int) -> Any:
    """Return a setting as JSON knows it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Call) and value.name in _SCALARS:
        return _scalar(value)
    items = value if isinstance(value, list | tuple) else _dictionary(value)
    if depth > _MOST_DEPTH or len(items) > _MOST_SETTINGS:
        raise RefusedError("has settings that are too deep or too many")
    if isinstance(items, list | tuple):
        return [_plain(item, depth + 1) for item in items]
    return {key: _plain(item, depth + 1) for key, item in items.items()}


def _scalar(call: Call) -> bool | int | float:
    """Return a number that numpy wrote."""
    kind, raw = _arguments(call, _SCALARS, 2)
    code = _arguments(kind, (_DTYPE,), 1)[0]
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if code not in [f"{letter}{size}" for letter in "fiu" for size in (2, 4, 8)] + ["i1", "u1", "b1"]:
        raise RefusedError(f"holds a number of type {shown(code)}")
    content = _bytes(raw)
    dtype = np.dtype(code).newbyteorder(">" if order == ">" else "<")
    if len(content) != dtype.itemsize:
        raise RefusedError(f"holds a number of {len(content)} bytes where {dtype.itemsize} belong")
    number: bool | int | float = np.frombuffer(content, dtype)[0].item()
    return number


def _probability(pipe: Any) -> float:
    buffers = _dictionary(_state(pipe, "AugmentPipe")["_buffers"])
    p, _ = _tensor("p", buffers.get("p"))
    if p.numel() != 1 or not p.isfinite().all():
        raise RefusedError("has an augment_pipe without a p")
    return float(p)
