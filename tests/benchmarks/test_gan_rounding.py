import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from stylegan2_ada import devices, winograd
from torch import Tensor

FOLDER = Path(__file__).parents[2] / "benchmarks"
TINY = {"res": 16, "batch": 4, "channel_base": 128, "pipe": "bg", "p": 0.3}


@pytest.fixture
def gan_rounding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the script as it finds its neighbours: beside it."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in ("gan_rounding", "gan_training"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("gan_rounding")


def test_ways_of_thin_layers_are_one_and_others_are_not(
    gan_rounding: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "processor", lambda: frozenset({"avx512_bf16"}))
    benches = {way: gan_rounding.make({**TINY, "dtype": dtype}) for way, dtype in gan_rounding.WAYS.items()}
    for phase in ("Gmain", "Dreg"):
        found = gan_rounding.differences(benches, phase)
        assert 0 < found["direct"] == found["tiles"] < 0.5

    def wide(weight_OIKK: Tensor, _: tuple[int, int], stride: int) -> bool:
        return weight_OIKK.dtype == torch.bfloat16 and stride == 1 and winograd._has_vectors_for_bfloat16()

    monkeypatch.setattr(winograd, "_wide", wide)
    found = gan_rounding.differences(benches, "Dmain")
    assert 0 < found["direct"] != found["tiles"] < 0.5
