"""Scheduled reruns: what is new is done, what is not is not, and it is tasks that are counted."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from components.shared.phantom import simulate_patients
from components.shared.splits import Splits
from components.shared.volumes import read_volume, write_volume
from tests.pipelines.small_run import SMALL, events, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GPU_STAGES = {"train_classifier", "train_gan", "generate_images", "judge_synthetic", "evaluate"}
WARM = SMALL | {
    "gan_kimg": 0.2,
    "warm_start": "true",
    "warm_start_kimg": 0.1,
    "max_rounds": 1,
    "audit": "off",
}


def add(folder, **given):
    """Simulate patients and put them beside those that are there; their names say who they are."""
    with TemporaryDirectory() as apart:
        return [
            shutil.move(path, folder / path.name) for path in simulate_patients(Path(apart), size=48, **given)
        ]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    _, second_session, *_ = add(folder, patients=15, seed=3)
    second_session.unlink()
    return folder


@pytest.fixture(scope="module")
def runs(volumes, tmp_path_factory):
    """Run on 15 volumes, again, then with a sixteenth of a new patient; return what each did, and where."""
    root, seen = tmp_path_factory.mktemp("root"), []
    for step in range(3):
        if step == 2:
            _, second_session = add(volumes, patients=1, seed=9, name="new")
            second_session.unlink()
        told = run("augmentation", root, volumes_uri=volumes, **WARM).stdout
        metrics = json.loads((root / "report/metrics.json").read_text())
        cells = {path.name for path in (root / "state/planes").glob("*.zip")}
        seen.append((dict(events(root)), metrics, cells, told))
    return root, seen


def worked(done):
    """Return the stages that computed: neither taken from the cache, nor a gate."""
    return {stage for stage, event in done.items() if event == "done"}


def test_nothing_new_runs_no_gpu_stage_and_says_so(runs):
    _, (first, again, _) = runs
    assert worked(first[0]) >= GPU_STAGES
    assert not GPU_STAGES & worked(again[0])
    assert not [stage for stage in worked(again[0]) if "train" in stage or "classify" in stage]
    assert "nothing is new" in again[3]
    assert again[1] == first[1]


def test_one_new_volume_costs_one_extraction(runs):
    _, (first, _, third) = runs
    assert len(first[2]) == 15
    assert first[2] < third[2]
    assert len(third[2] - first[2]) == 1


def test_nobody_changes_side(runs):
    root, (first, _, third) = runs
    for side in ("train", "validation", "test"):
        assert set(first[1]["patients"][side]) <= set(third[1]["patients"][side])
    versions = sorted((root / "state/splits").glob("*.csv"))
    known, now = (Splits.read(version).folds for version in versions)
    assert known.items() < now.items()


def test_the_new_gan_starts_from_the_last_one_and_the_report_compares(runs):
    root, (first, _, third) = runs
    assert first[1]["gan"]["kimg"] > third[1]["gan"]["kimg"]
    assert "warm start: " in third[3]
    assert "no earlier generator" not in third[3]
    assert third[1]["previous"]["run"] == first[1]["run"]
    assert third[1]["previous"]["common_patients"] == len(first[1]["patients"]["test"])
    assert len(list((root / "state/generators").glob("*.json"))) == 2


def test_a_warm_start_from_who_is_tested_now_is_refused(runs, volumes, tmp_path):
    """A forced move: the sides are edited so that a training patient is tested."""
    root, (_, _, third) = runs
    latest = sorted((root / "state/splits").glob("*.csv"))[-1]
    text = latest.read_text()
    splits = Splits.parse(text)
    trained, tested = third[1]["patients"]["train"][0], third[1]["patients"]["test"][0]
    folds = {**splits.folds, trained: 0, tested: 2}
    sides = {**splits.sides, trained: "test", tested: "train"}
    latest.write_text(Splits(folds, sides).text())
    try:
        add(volumes, patients=1, seed=11, name="newer")
        told = run("augmentation", root, check=False, volumes_uri=volumes, **WARM)
    finally:
        latest.write_text(text)
        for version in latest.parent.glob("*.csv"):
            if version > latest:  # which the refused run began
                version.unlink()
        for path in volumes.glob("newer*"):
            path.unlink()
    assert told.returncode == 1
    assert f"made from patients {trained} (test)" in told.stderr


def test_a_volume_overwritten_in_place_is_noticed(runs, volumes):
    root, (_, _, third) = runs
    path = sorted(volumes.glob("sim02*.nrrd"))[0]
    before = {found.name for found in (root / "state/planes").glob("*.zip")}
    volume = read_volume(path)
    write_volume(path, type(volume)(data_XYZ=np.flip(volume.data_XYZ, 0).copy(), affine=volume.affine))
    run("augmentation", root, volumes_uri=volumes, **WARM)
    after = json.loads((root / "report/metrics.json").read_text())
    assert after["snapshot"] != third[1]["snapshot"]
    cells = {found.name for found in (root / "state/planes").glob("*.zip")}
    assert len(cells - before) == 1


def test_a_forgotten_patient_is_gone_and_the_rest_is_made_anew(runs, volumes):
    root, (_, _, third) = runs
    gone = third[1]["patients"]["train"][0]
    run("augmentation", root, volumes_uri=volumes, forget_patient=gone, **WARM)
    after = json.loads((root / "report/metrics.json").read_text())
    assert gone not in json.dumps(after["patients"])
    assert worked(dict(events(root))) >= GPU_STAGES
    left = [
        path for path in (root / "state").rglob("*") if path.is_file() and path.parent.name != "forgotten"
    ]
    assert not [path for path in left if gone.encode() in path.read_bytes()]
