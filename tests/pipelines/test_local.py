"""The whole study on a laptop: a small real run through the graph, its rounds counted, its state kept."""

import itertools
import json
from pathlib import Path

import jsonschema
import pytest

import components
from components.shared.descendants import OF_RUNS
from components.shared.phantom import simulate_patients
from components.shared.pseudonyms import read_pseudonyms
from tests.pipelines.small_run import SMALL, events, kept_by_runs, run

SCHEMA = Path(components.__path__[0]) / "report/metrics.schema.json"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=4, seed=3, size=48)
    return folder


@pytest.fixture(scope="module")
def finished(volumes, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    done = run("augmentation", root, volumes_uri=volumes, **SMALL)
    return root, done.stdout, events(root), (root / "report/metrics.json").read_bytes()


def test_round_0_and_two_pseudo_label_rounds_ran(finished):
    root, _, seen, metrics = finished
    sealed = sorted(path.parent.name for path in (root / "state").glob("*/rounds/*/round.json"))
    assert sealed == ["000", "001", "002"]
    trained = [stage for stage, _ in seen if stage.startswith("round") and "train_classifier" in stage]
    assert trained == [f"round {k}: train_classifier" for k in range(3)]
    rounds = json.loads(metrics)["rounds"]
    assert [entry["round"] for entry in rounds] == [0, 1, 2]
    assert [entry["stop_reason"] for entry in rounds] == ["", "", "max_rounds"]


def test_forgetting_knows_all_that_a_run_keeps(finished):
    """What it does not know of a run's folder it would take for somebody else's, and leave."""
    (kept,) = kept_by_runs(finished[0] / "state")
    assert kept <= OF_RUNS


def test_what_a_round_accepted_the_next_was_trained_on(finished):
    rounds = json.loads(finished[3])["rounds"]
    assert sum(rounds[0]["accepted"].values()) > 0
    for before, after in itertools.pairwise(rounds):
        trained = {name: count for name, count in after["trained_on_pseudo"].items() if name != "noise"}
        assert trained == before["accepted"]


def test_metrics_keep_the_schema_and_name_every_model(finished):
    found = json.loads(finished[3])
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(found, schema)
    assert set(found["models"]) == {"supervised", "labelled_only", "round_000", "round_001", "round_002"}
    assert found["models"]["labelled_only"] == found["models"]["round_000"]


def test_patients_are_on_one_side_each(finished):
    patients = json.loads(finished[3])["patients"]
    sides = [set(patients[side]) for side in ("train", "validation", "test")]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 4


def test_the_terminal_names_stages_and_the_report_and_not_kfps_log(finished):
    root, said, _, _ = finished
    assert "extract_planes" in said
    assert f"{root}/report/report.html" in said
    assert "INFO" not in said


def test_the_most_doubtful_images_are_left_for_an_expert(finished):
    root = finished[0]
    lines = (root / "report/doubtful.csv").read_text().splitlines()
    assert lines[0] == "number,image,generator,predicted,confidence,label"
    assert 1 < len(lines) <= 61
    assert all(line.endswith(",") for line in lines[1:])


def test_a_second_run_repeats_nothing_and_says_the_same(finished, volumes):
    root, _, _, metrics = finished
    run("augmentation", root, volumes_uri=volumes, **SMALL)
    again = dict(events(root))
    for stage in (
        "split_patients",
        "extract_planes",
        "train_classifier",
        "train_gan",
        "generate_images",
        "judge_synthetic",
        "evaluate",
    ):
        assert again[stage] == "cached"
    assert not [stage for stage in again if stage.startswith("round") and "open_round" not in stage]
    assert (root / "report/metrics.json").read_bytes() == metrics


def test_published_classifiers_apply_to_other_scans_and_refuse_known_patients(finished, volumes, tmp_path):
    root, *_ = finished
    published = next((root / "state").glob("*/published"))
    geometry = {name: SMALL[name] for name in ("plane_angles_deg", "plane_spacing_mm", "pseudonym_key_uri")}
    refused = run(
        "apply", tmp_path / "a", check=False, volumes_uri=volumes, classifiers_uri=published, **geometry
    )
    assert refused.returncode == 1
    assert "has seen patients" in refused.stderr
    simulate_patients(tmp_path / "other", patients=1, seed=9, size=48, name="new")
    run("apply", tmp_path / "b", volumes_uri=tmp_path / "other", classifiers_uri=published, **geometry)
    found = json.loads((tmp_path / "b/report/metrics.json").read_text())
    new = read_pseudonyms(SMALL["pseudonym_key_uri"], "").of("patient", "new01")
    assert found["patients"] == [new]
    assert set(found["models"]) == {"supervised", "round_002"}
    predictions = (tmp_path / "b/report/predictions.csv").read_text()
    assert new in predictions
    assert "new01" not in predictions
    other_key = run(
        "apply",
        tmp_path / "d",
        check=False,
        volumes_uri=tmp_path / "other",
        classifiers_uri=published,
        **{**geometry, "pseudonym_key_uri": Path(__file__)},
    )
    assert other_key.returncode == 1
    assert "patients are named under key" in other_key.stderr
    rescaled = run(
        "apply",
        tmp_path / "c",
        check=False,
        volumes_uri=tmp_path / "other",
        classifiers_uri=published,
        field_of_view_mm=70,
        **geometry,
    )
    assert rescaled.returncode == 1
    assert "field_of_view_mm=70: classifier" in rescaled.stderr
