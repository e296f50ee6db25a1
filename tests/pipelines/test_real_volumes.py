"""The laptop profile on volumes that were not made for these tests; skipped where they are absent."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import components

DATA = Path(__file__).parents[3] / "shared/data"
SCHEMA = json.loads((Path(components.__path__[0]) / "report/metrics.schema.json").read_text())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data"),
]


def study(root, volumes, **parameters):
    command = [sys.executable, "-m", "pipelines", "run", "augmentation", "--root", str(root)]
    command += ["--profile", "laptop", "-p", f"volumes_uri={volumes}"]
    command += [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads((root / "report/metrics.json").read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def test_simulated_ultrasound_of_twelve_patients(tmp_path):
    found = study(tmp_path, DATA / "ultrasound_like")
    assert sum(len(found["patients"][side]) for side in ("train", "validation", "test")) == 12
    assert found["models"]["supervised"]["balanced_accuracy"] >= 0.85
    page = (tmp_path / "report/report.html").read_text()
    assert f"n = {found['test_patients']} patients: no claim possible" in page


def test_fetal_mri_templates(tmp_path):
    found = study(tmp_path, DATA / "mri/sb_*.nrrd", gan_kimg=0.5, images=400, epochs=2)
    assert sum(len(found["patients"][side]) for side in ("train", "validation", "test")) == 15
    assert found["planes"]["noise"]["train"] > 0
    assert 1 <= len(found["rounds"]) <= 4
    assert found["rounds"][-1]["stop_reason"]
