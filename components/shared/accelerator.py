"""What a stage computes on."""

from pathlib import Path

import torch

from components.shared.faults import InputError
from components.shared.progress import in_pod

_GIVEN = Path("/dev/nvidiactl")  # in a container that NVIDIA's device plugin gave a GPU


def accelerator() -> torch.device:
    """Return the accelerator where there is one, else the CPU.

    Raises InputError in a pod that was given a GPU which PyTorch cannot use: its CPU would take weeks for a
    GAN, and the node is paid for.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if in_pod() and _GIVEN.exists():
        raise InputError(
            "gpu_count: PyTorch cannot use the GPU of this pod; valid: nodes whose NVIDIA driver knows CUDA"
            f" {torch.version.cuda}, or 0"
        )
    return torch.device("cpu")
