"""Which device a run, a metric or a generator works on: the one place where a device's name is read."""

import os
import re

import torch

from stylegan2_ada.errors import UsageError

HELP = "auto, cpu, cuda or cuda:N; default %(default)s"
_VALID = "auto, cpu, cuda or cuda:N"


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


def search_convolutions(device: torch.device) -> None:
    """Let cuDNN time its ways to convolve a shape when it first comes: training has few shapes."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
