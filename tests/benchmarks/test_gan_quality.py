import json
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stylegan2_ada import devices
from stylegan2_ada.files import write_json

from benchmarks import gan_quality

STORED = Path(__file__).parents[2] / "stylegan2-ada-pytorch"


def test_the_length_that_is_written_down_is_that_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs are finished, as if made before: neither planes nor networks are needed."""
    for dtype in gan_quality.DTYPES:
        for seed in (0, 1):
            row = {"resolution": 32, "dtype": dtype, "seed": seed, "kid": [(0.0, 9.0), (3.0, 1.0 + seed)]}
            write_json(tmp_path / f"32-{dtype}-{seed}.json", row | {"cpu_seconds": 1.0})
    planes = SimpleNamespace(rows_of=lambda patients: [])
    splits = SimpleNamespace(patients=lambda side: [])
    detector = SimpleNamespace(name="none", digest="0")
    monkeypatch.setattr(gan_quality, "prepared", lambda volumes, work: (planes, splits))
    monkeypatch.setattr(gan_quality, "PlaneFeatures", lambda folder: detector)
    monkeypatch.setattr(gan_quality, "images_of", lambda *_: torch.zeros(0))
    monkeypatch.setattr(gan_quality, "of_real", lambda *_: {})
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(devices, "processor", lambda: frozenset({"amx_bf16"}))
    out = tmp_path / "kid.json"
    command = f"gan_quality --volumes x --work {tmp_path} --out {out} --sizes 32 --seeds 0 1 --kimg 3"
    monkeypatch.setattr(sys, "argv", command.split())
    gan_quality.main()
    written = json.loads(out.read_text())
    assert written["settings"]["runs"] == {"32": {**gan_quality.RUNS[32], "kimg": 3.0}}
    assert written["differences"][0]["kimg"] == 3.0
    assert gan_quality.run_settings(64, None) == gan_quality.RUNS[64]


def test_a_type_that_the_processor_lacks_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(devices, "processor", lambda: frozenset({"sse2"}))
    monkeypatch.setattr(sys, "argv", f"gan_quality --volumes x --work {tmp_path} --out y".split())
    with pytest.raises(SystemExit):
        gan_quality.main()
    assert "dtypes=bf16: this processor computes it in float32; valid: fp32" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["kid_curve_mri.json", "kid_curve_mri64.json"])
def test_the_stored_curves_have_the_length_and_the_interval_that_they_name(name: str) -> None:
    stored = json.loads((STORED / name).read_text())
    for difference in stored["differences"]:
        size = difference["resolution"]
        curves = [curve for curve in stored["curves"] if curve["resolution"] == size]
        kimg = stored["settings"]["runs"][str(size)]["kimg"]
        assert kimg == difference["kimg"] == min(curve["kid"][-1][0] for curve in curves)
        assert {(curve["dtype"], curve["seed"]) for curve in curves} == {
            (dtype, seed) for dtype in difference["kid"] for seed in range(3)
        }
        found = gan_quality.compared(stored["curves"], size)
        assert {dtype: kid for dtype, kid in found["kid"].items() if kid} == difference["kid"]
        for what in {*found, *difference} - {"resolution", "kimg", "kid"}:
            assert found[what] == pytest.approx(difference[what])
