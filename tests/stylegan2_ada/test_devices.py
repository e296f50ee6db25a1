import pytest
import torch
from stylegan2_ada import UsageError
from stylegan2_ada.devices import device_of, own_device


@pytest.mark.parametrize(
    "name", ["", "foo", "CPU", "meta", "mps", "cpu:0", "cuda:", "cuda:-1", "cuda:99", "auto "]
)
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^device={name}: .*; valid: auto, cpu"):
        device_of(name)


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu") == own_device(device_of("cpu")) == torch.device("cpu")


def test_each_of_torchruns_processes_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    alone = torch.device("cuda", 1)
    assert own_device(alone) == alone and not chosen
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device(torch.device("cuda")) == alone and chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match=r"nproc-per-node=3: 2 GPU\(s\) here; valid: at most 2"):
        own_device(torch.device("cuda"))
