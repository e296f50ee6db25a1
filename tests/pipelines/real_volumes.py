"""The laptop profile on volumes that were not made for these tests: a shorter GAN."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import components

DATA = Path(__file__).parents[3] / "shared/data"
SCHEMA = json.loads((Path(components.__path__[0]) / "report/metrics.schema.json").read_text())
REAL = [
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
