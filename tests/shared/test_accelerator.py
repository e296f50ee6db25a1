"""What a stage computes on."""

import pytest
import torch

from components.shared import accelerator as accelerators
from components.shared.accelerator import accelerator
from components.shared.faults import InputError


@pytest.fixture
def in_pod(monkeypatch, tmp_path):
    """A pod that was given a GPU, as its device file shows, on a node whose driver PyTorch cannot use."""
    given = tmp_path / "nvidiactl"
    given.touch()
    monkeypatch.setattr(accelerators, "_GIVEN", given)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(accelerators, "in_pod", lambda: True)
    return given


def test_a_pod_whose_gpu_cannot_be_used_is_refused(in_pod):
    with pytest.raises(
        InputError, match=r"gpu_count: PyTorch cannot use the GPU of this pod; valid: .* or 0"
    ):
        accelerator()


def test_a_pod_without_a_gpu_computes_on_its_cpu(in_pod):
    in_pod.unlink()
    assert accelerator() == torch.device("cpu")


def test_a_machine_of_ones_own_computes_on_its_cpu(in_pod, monkeypatch):
    monkeypatch.setattr(accelerators, "in_pod", lambda: False)
    assert accelerator() == torch.device("cpu")


def test_where_pytorch_can_use_it_the_gpu_is_taken(in_pod, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert accelerator() == torch.device("cuda")
