"""Which device a run, a metric or a generator works on, how values get there, and the types that it knows."""

import ctypes
import logging
import os
import platform
import re
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from stylegan2_ada.errors import UsageError

log = logging.getLogger(__name__)

HELP = "auto, cpu, cuda or cuda:N; default %(default)s"
_VALID = "auto, cpu, cuda or cuda:N"
TYPES = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})
INTEL = "GenuineIntel"
_CPUINFO = Path("/proc/cpuinfo")
# glibc's mallopt(3): M_MMAP_MAX, no block is the system's own; M_TRIM_THRESHOLD, the heap's free end stays.
_KEEP = ((-4, 0), (-1, 2**31 - 1))


def device_of(name: str) -> torch.device:
    """Return a device by its name; auto: the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,4})?", name):
        raise UsageError(f"device={name}: no such device; valid: {_VALID}")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}: no GPU that this PyTorch can use; valid: auto, cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device={name}: {torch.cuda.device_count()} GPU(s) here; valid: {_VALID}")
    return device


def own_device(device: torch.device) -> torch.device:
    """Return the GPU of this one of torchrun's processes; alone, and on a CPU, the device stays."""
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    index, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if index >= present:
        raise UsageError(f"nproc-per-node={index + 1}: {present} GPU(s) here; valid: at most {present}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Copy host values to a device; to a GPU from pinned memory, so that nothing waits for it."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def search_convolutions(device: torch.device) -> None:
    """Let cuDNN time its ways to convolve a shape when it first comes: training has few shapes."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def keep_freed_memory() -> None:
    """Let this process keep, for good, what its main thread frees; under glibc, and nothing elsewhere.

    glibc hands each block over 32 MB back to the system, and the next activation of that size faults in anew,
    page by page (README, Speed). The price: the process keeps its peak, and more where sizes vary. Commands
    ask for it; a function would decide for its caller's process.
    """
    if platform.libc_ver()[0] == "glibc":
        for setting, value in _KEEP:
            ctypes.CDLL(None).mallopt(setting, value)


def computed_in(dtype: str, device: torch.device) -> torch.dtype:
    """Return the type that blocks of `dtype` compute in: float32 where a CPU is not known to gain by it."""
    if dtype == "fp32" or device.type != "cpu" or _gains_by(dtype):
        return TYPES[dtype]
    log.warning("dtype=%s: not known to be faster on this processor, which computes in float32", dtype)
    return torch.float32


def _gains_by(dtype: str) -> bool:
    """Tell whether a CPU is faster in 16 bits; of others than x86 bfloat16 is believed to be.

    No CPU in float16, whose gradients of weights PyTorch sums one by one: 31 s, not 40 ms. Intel's vectors
    multiply bfloat16 at half of float32's pace, where a virtual machine has their matrix units masked.
    """
    here = processor()
    vectors = "avx512_bf16" in here and INTEL not in here
    other = platform.machine() not in ("x86_64", "AMD64")
    return dtype == "bf16" and (other or vectors or "amx_bf16" in here)


@cache
def processor() -> frozenset[str]:
    """Return an x86's vendor and instructions by Linux's names; of other processors and systems nothing.

    PyTorch 2.11 does not tell, and later ones also tell what the system keeps from programs.
    """
    text = _CPUINFO.read_text(errors="replace") if _CPUINFO.exists() else ""
    first, *_ = text.split("\n\n")
    fields = dict(re.findall(r"^(vendor_id|flags)\s*: (.*)$", first, re.MULTILINE))
    return frozenset(" ".join(fields.values()).split()) if "flags" in fields else frozenset()
