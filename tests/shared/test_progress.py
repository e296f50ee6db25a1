"""What a stage says of itself."""

import json
import subprocess
import sys

import pytest

from components.shared.faults import AwayError
from components.shared.progress import stage

STAGE = """
from components.shared.progress import stage
with stage("train_gan"):
    pass
"""


def test_in_a_pod_a_stage_says_how_long_its_inputs_were_copied(tmp_path):
    launcher = tmp_path / "kfp-launcher" / "launch"
    launcher.parent.mkdir()
    launcher.write_text(f"#!/bin/sh\nsleep 3\n'{sys.executable}' -c '{STAGE}{STAGE}'\ntrue\n")
    launcher.chmod(0o755)
    told = subprocess.run([launcher], capture_output=True, text=True, check=True)
    start, first, _, second = (json.loads(line) for line in told.stdout.splitlines())
    assert start["event"] == "start"
    assert 3 <= first["copied_s"] < 60
    assert first["copied_share"] > 0.5
    assert second["copied_s"] == first["copied_s"]  # what the process did before is no copying


def test_without_a_launcher_it_says_nothing_of_copies(capsys):
    exec(STAGE, {})
    assert "copied" not in capsys.readouterr().out


VANISHED = """
from components.shared import storage
from components.shared.progress import stage
with stage("evaluate"):
    storage.read_bytes("nowhere/planes.zip")
"""


def test_a_vanished_object_is_one_line(tmp_path):
    told = subprocess.run([sys.executable, "-c", VANISHED], capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 1 and not told.stderr
    assert json.loads(told.stdout.splitlines()[-1])["message"].endswith("nowhere/planes.zip: no such object")


def test_a_store_that_stays_away_is_one_line(capsys):
    said = "gs://b/x: bucket gs://b cannot be used (ServiceUnavailable 503); valid: another"
    with pytest.raises(SystemExit), stage("evaluate"):
        raise AwayError(said)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line.get("message")) for line in told] == [("start", None), ("error", said)]
