"""A run that is killed, wherever, and started again ends as one that never was."""

import re
import signal
import subprocess
import time

import pytest

from components.shared.phantom import simulate_patients
from tests.pipelines.small_run import SMALL, command, events, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=4, seed=3, size=48)
    return folder


@pytest.fixture(scope="module")
def unbroken(volumes, tmp_path_factory):
    root = tmp_path_factory.mktemp("unbroken")
    run("augmentation", root, volumes_uri=volumes, **SMALL)
    return said(root)


def said(root):
    page = (root / "report/report.html").read_text()
    return (root / "report/metrics.json").read_text(), re.sub(r"<time[^>]*>.*?</time>", "", page)


def kill_at(volumes, root, words):
    """Start a run and kill it, with SIGKILL, as soon as its events hold some words."""
    file = root / "events.jsonl"
    file.unlink(missing_ok=True)  # those of the run before
    process = subprocess.Popen(
        command("augmentation", root, volumes_uri=volumes, **SMALL),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (file.exists() and words in file.read_text()):
        assert process.poll() is None, f"the run ended before {words}"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def of_rounds(root, file):
    """Return the numbers of the rounds that have a file."""
    return {int(path.parent.name) for path in root.glob(f"state/*/rounds/*/{file}")}


SYNTHETIC = ["extract_planes", "train_gan", "generate_images"]
# Where a run is killed, one after the other; what it has kept by then; the rounds that are sealed.
KILLS = (
    ('"extract_shard 0", "event": "start"', [], set()),
    ('"audit_shortcuts", "event": "start"', ["extract_planes"], set()),
    ('"train_gan", "event": "progress"', ["extract_planes"], set()),
    ('"round 1: train_classifier", "event": "start"', SYNTHETIC, {0}),
    ('"round 1: classify_images", "event": "start"', SYNTHETIC, {0}),
    ('"report", "event": "start"', [*SYNTHETIC, "train_classifier", "evaluate"], {0, 1, 2}),
)


def test_a_run_killed_at_stage_after_stage_goes_on_and_says_the_same(unbroken, volumes, tmp_path):
    root, kept, sealed, trained = tmp_path / "root", [], set(), set()
    for words, keeps, seals in (*KILLS, ("", [], {0, 1, 2})):
        if words:
            kill_at(volumes, root, words)
        else:
            run("augmentation", root, volumes_uri=volumes, **SMALL)
        again = dict(events(root))
        assert {stage: again.get(stage) for stage in kept} == dict.fromkeys(kept, "cached"), words
        for number in sealed:
            assert f"round {number}: train_classifier" not in again
        for number in trained - sealed:  # its stage runs again, and takes the classifier that is there
            assert f"round {number}: train_classifier" in again
        kept, sealed, trained = keeps, of_rounds(root, "round.json"), of_rounds(root, "classifier.json")
        assert sealed == seals, words
        assert (1 in trained - sealed) == ("classify_images" in words)
    assert said(root) == unbroken


def test_two_runs_at_once_do_not_share_a_root(volumes, tmp_path):
    root = tmp_path / "root"
    call = command("augmentation", root, volumes_uri=volumes, **SMALL)
    first = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (root / "events.jsonl").exists():
        time.sleep(0.05)
    second = run("augmentation", root, check=False, volumes_uri=volumes, **SMALL)
    first.kill()
    first.wait()
    assert second.returncode == 1
    assert f"--root {root}: in use by another run" in second.stderr
