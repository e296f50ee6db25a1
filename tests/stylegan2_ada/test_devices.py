import ctypes
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stylegan2_ada import UsageError, devices, training_loop
from stylegan2_ada.__main__ import main
from stylegan2_ada.config import derived
from stylegan2_ada.devices import (
    computed_in,
    device_of,
    keep_freed_memory,
    own_device,
    search_convolutions,
)
from stylegan2_ada.training_state import TrainingState

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.test_training_loop import TINY


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


@pytest.mark.parametrize(("device", "searched"), [("cpu", False), ("cuda", True), ("cuda:0", True)])
def test_ways_to_convolve_are_searched_on_a_gpu_alone(
    device: str, searched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # undone afterwards
    search_convolutions(torch.device(device))
    assert torch.backends.cudnn.benchmark == searched


def test_a_run_searches_on_its_own_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []
    monkeypatch.setattr(training_loop, "search_convolutions", seen.append)
    write_archive(tmp_path / "a.zip")
    training_loop.train(replace(TINY, kimg=0.004), tmp_path / "a.zip", None, tmp_path / "run", device="cpu")
    assert seen == [torch.device("cpu")]


FAULTS = """
import resource, torch
from stylegan2_ada import devices
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(2**24) for _ in range(4)]  # 64 MB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
freed = [faults() for _ in range(8)][-1]
devices.keep_freed_memory()
print(freed, [faults() for _ in range(8)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries treat memory otherwise")
def test_freed_memory_is_kept_and_not_faulted_in_again() -> None:
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    freed, kept = map(int, found.stdout.split())
    assert freed > 100 and kept < freed / 10  # pages may be of 4 KB or of 2 MB


def test_other_libraries_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.delattr(ctypes, "CDLL")
    keep_freed_memory()


def test_commands_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: asked.append(True))
    assert main(["generate"]) == 2 and asked == [True]


INTEL, AMD = "GenuineIntel fpu avx512f", "AuthenticAMD fpu avx512f"


@pytest.mark.parametrize(
    ("dtype", "here", "expected"),
    [
        ("bf16", AMD, torch.float32),
        ("bf16", f"{AMD} avx512_bf16", torch.bfloat16),
        ("bf16", f"{INTEL} avx512_bf16 amx_bf16", torch.bfloat16),
        ("bf16", f"{INTEL} avx512_bf16 avx512_fp16", torch.float32),
        ("bf16", "", torch.float32),  # on Windows
        ("fp16", f"{INTEL} avx512_fp16 amx_fp16", torch.float32),
        ("fp16", "", torch.float32),
        ("fp32", INTEL, torch.float32),
    ],
)
def test_a_type_that_takes_a_processor_longer_is_computed_in_float32(
    dtype: str, here: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "processor", lambda: frozenset(here.split()))
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    assert computed_in(dtype, torch.device("cpu")) == expected
    assert computed_in("bf16", torch.device("cuda")) == torch.bfloat16
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(devices, "processor", frozenset)
    assert computed_in("bf16", torch.device("cpu")) == torch.bfloat16


CPUINFO = """processor\t: {}
vendor_id\t: GenuineIntel
model name\t: Intel\xae Xeon\xae Processor
flags\t\t: fpu avx512_bf16 {}
vmx flags\t: ept
bugs\t\t: spectre_v1

"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CPUINFO.format(0, "amx_bf16") + CPUINFO.format(1, "other"), "GenuineIntel fpu avx512_bf16 amx_bf16"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16\n\n", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_processor_is_known_by_what_linux_lets_programs_use(
    text: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text, encoding="latin-1")  # whoever makes a virtual machine names its model
    monkeypatch.setattr(devices, "_CPUINFO", path)
    assert devices.processor.__wrapped__() == frozenset(expected.split())


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no Linux")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="no x86")
def test_this_processor_is_known() -> None:
    assert "sse2" in devices.processor()


@pytest.mark.parametrize(("amx", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_run_computes_in_what_its_processor_gains_by(
    amx: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = f"{INTEL} avx512_bf16" + " amx_bf16" * amx
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(devices, "processor", lambda: frozenset(here.split()))
    state = TrainingState.fresh(derived(replace(TINY, dtype="bf16")), torch.device("cpu"))
    assert state.g.low == state.d.low == state.g_ema.low == expected
    assert state.config.dtype == "bf16"  # another machine may go on in it
    assert ("dtype=bf16: not known to be faster on this processor" in caplog.text) != amx
