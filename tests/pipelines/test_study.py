"""A small study through its graph: every cell is run once, a failure is told, a repeated study is free."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from components.shared.descendants import OF_RUNS
from components.shared.failures import MOST_KILLED
from components.shared.phantom import simulate_patients
from tests.pipelines.small_run import SMALL, command, events, kept_by_runs, run

STUDY = {name: value for name, value in SMALL.items() if name != "label_fraction"} | {
    "label_fractions": 0.4,
    "folds": 1,
    "max_rounds": 1,
    "audit": "off",
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=7, seed=3, size=48)
    return folder


@pytest.fixture(scope="module")
def finished(volumes, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    run("study", root, volumes_uri=volumes, arms="ABCE", **STUDY)
    return root, events(root), (root / "report/metrics.json").read_bytes()


def test_every_cell_and_gan_is_run_once_in_its_order(finished):
    _, seen, _ = finished
    done = [stage for stage, _ in seen if stage.startswith(("arm ", "synthetic "))]
    cells = ["arm fold0_A_1_seed0", "arm fold0_B_0.4_seed0", "arm fold0_C_0.4_seed0", "arm fold0_E_0.4_seed0"]
    assert [stage for stage in done if stage.startswith("arm ")] == cells
    assert [stage for stage in done if stage not in cells] == ["synthetic fold0_all_gan0"]
    assert done.index("synthetic fold0_all_gan0") < done.index("arm fold0_E_0.4_seed0")


def test_forgetting_knows_all_that_a_run_keeps(finished):
    """What it does not know of a run's folder it would take for somebody else's, and leave."""
    (kept,) = kept_by_runs(finished[0] / "state")
    assert kept <= OF_RUNS


def test_the_answer_rests_on_the_patients_of_the_fold(finished):
    found = json.loads(finished[2])
    assert found["patients"] == len(found["folds"][0]["test"]) == 2
    assert found["verdict"][0] == "n = 2 patients: no claim possible"
    assert [arm["letter"] for arm in found["arms"]] == list("ABCE")
    page = (finished[0] / "report/report.html").read_text()
    assert "n = 2 patients: no claim possible" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_repeated_study_trains_nothing_and_says_the_same(finished, volumes):
    root, _, metrics = finished
    run("study", root, volumes_uri=volumes, arms="ABCE", **STUDY)
    assert (root / "report/metrics.json").read_bytes() == metrics
    sealed = list((root / "state").glob("*/cells/*/rounds/*/round.json"))
    assert len(sealed) == 3 + 2  # A, B, C and the two rounds of E: the second study sealed none


def test_an_experts_labels_of_a_study_are_taught_to_the_next_one(finished, volumes, tmp_path):
    root = finished[0]
    lines = (root / "report/doubtful.csv").read_text().splitlines()
    row = lines[1].split(",")
    asked = "coronal" if row[3] != "coronal" else "sagittal"  # against what the classifier says
    filled = tmp_path / "doubtful.csv"
    filled.write_text("\n".join([lines[0], lines[1] + asked, *lines[2:]]) + "\n")
    run("study", root, volumes_uri=volumes, arms="CE", expert_labels_uri=filled, **STUDY)
    found = json.loads((root / "report/metrics.json").read_text())
    assert {cell["arm"]: cell["expert_labels"] for cell in found["cells"]} == {"C": 0, "E": 1}
    kept = (root / "state").glob(f"{found['run']}/cells/fold0_E_0.4_seed0/rounds/000/labels-*.csv")
    assert f"{row[1]},{asked},1" in next(kept).read_text()
    assert len(list((root / "state").glob("*/report"))) == 2  # a study of its own: the first one is kept


def begun(root, cell):
    """Return how many attempts at a cell have begun, by what it counts itself."""
    found = list(root.glob(f"state/*/cells/{cell}/attempts.json"))
    return json.loads(found[0].read_text() or "{}").get("begun", 0) if found else 0


def kill_stages(words):
    """Kill, with SIGKILL, the processes of kfp's that work on what is named by some words."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"executor_main" in command and words.encode() in command:
                os.kill(int(process.name), signal.SIGKILL)


@pytest.mark.slow
def test_an_arm_that_is_killed_whenever_it_works_costs_no_other(volumes, tmp_path):
    """As for memory: after five times it is given up, in its row of the report."""
    root, cell, kills = tmp_path / "root", "fold0_B_0.4_seed0", 0
    process = subprocess.Popen(
        command("study", root, volumes_uri=volumes, arms="BC", **STUDY), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None:
        if begun(root, cell) > kills:
            kill_stages(cell)
            kills += 1
        time.sleep(0.05)
    _, told = process.communicate()
    assert (process.returncode, kills) == (1, MOST_KILLED)
    assert f"1 of 2 cells failed, {cell}: killed 5 times without a word" in told
    (report,) = (root / "state").glob("*/report")
    arms = json.loads((report / "metrics.json").read_text())["arms"]
    assert {arm["letter"]: arm["value"] is not None for arm in arms} == {"B": False, "C": True}


@pytest.mark.slow
def test_a_gan_that_fails_costs_its_arms_alone_and_the_report_is_kept(volumes, tmp_path):
    """A learning rate cannot be set from outside, so the GAN fails by a generator folder that is none."""
    generator = tmp_path / "start"
    generator.mkdir()
    about = {"patients_seen": [], "scans_seen": [], "architecture": {"resolution": 16, "channel_base": 1024}}
    (generator / "generator.json").write_text(json.dumps(about))
    root = tmp_path / "root"
    told = run("study", root, check=False, volumes_uri=volumes, arms="BCE", gan_resume_uri=generator, **STUDY)
    assert told.returncode == 1
    assert "1 of 3 cells failed, fold0_E_0.4_seed0: synthetic images fold0_all_gan0: not made" in told.stderr
    report = next((root / "state").glob("*/report"))
    assert "cells failed" in (report / "report.html").read_text()
    assert {
        arm["letter"]: arm["failed"] for arm in json.loads((report / "metrics.json").read_text())["arms"]
    } == {
        "B": 0,
        "C": 0,
        "E": 1,
    }
