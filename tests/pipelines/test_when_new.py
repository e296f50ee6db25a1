"""The gated pipeline, run by kfp.local: nothing new ends at the gate, one new scan goes through it."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from components.shared import progress
from components.shared.phantom import simulate_patients
from components.validate_parameters.stage import Parameters
from pipelines import profiles
from pipelines.submission import parse
from tests.pipelines.small_run import SMALL, events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GATE = [("validate_parameters", "done"), ("anything_new", "done")]


def gated_run(root, volumes):
    """Run the gated pipeline; return the stages that were done, and what was said."""
    given = [f"{name}={value}" for name, value in SMALL.items()]
    values = {**profiles.values("demo", Parameters), **parse(given, Parameters)}
    parameters = Parameters(**values, volumes_uri=str(volumes), state_uri=str(root / "state"))
    (root / "arguments.json").write_text(json.dumps(asdict(parameters)))
    (root / "events.jsonl").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.pipelines.gated_work"]
    command += [root / "arguments.json", root / "artifacts"]
    environment = os.environ | {progress.EVENTS: str(root / "events.jsonl")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return events(root), (root / "events.jsonl").read_text()


def test_only_what_is_new_passes_the_gate(tmp_path):
    volumes = tmp_path / "volumes"
    simulate_patients(volumes, patients=4, seed=3, size=48)
    first, _ = gated_run(tmp_path, volumes)
    assert first[:2] == GATE
    assert ("report", "done") in first
    assert first[-1] == ("keep_finished", "done")
    again, said = gated_run(tmp_path, volumes)
    assert again == GATE
    assert "nothing is new: a run of the same volumes, parameters and code ended on" in said
    sorted(volumes.glob("*.nrrd"))[0].rename(volumes / "sim99.nrrd")  # another patient, for all that is known
    (volumes / "volumes.csv").unlink()
    third, _ = gated_run(tmp_path, volumes)
    assert ("report", "done") in third
