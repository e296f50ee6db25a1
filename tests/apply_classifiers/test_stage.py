import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

from components.apply_classifiers.stage import METRICS, Config, apply_classifiers
from components.extract_planes.cut import Cuts
from components.shared import classifier as classifiers
from components.shared.classifier import Classifier
from components.shared.faults import InputError
from components.shared.metrics import PREDICTIONS
from components.shared.planes import CLASSES, UNCERTAIN, Seen
from components.shared.trained import (
    find_classifiers,
    looks_of,
    refuse_other_looks,
    refuse_seen,
)
from components.shared.weights import weights_digest
from tests.drawn_planes import SIDE, write_planes

pytestmark = pytest.mark.usefixtures("small_classifiers")

CUTS = Cuts(plane_angles_deg=(0,), plane_spacing_mm=3.0, field_of_view_mm=90.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("supervised", "round_002")}
    for seed, folder in enumerate(folders.values()):
        torch.manual_seed(seed)
        network = classifiers.build("resnet18", 3)
        model = Classifier(
            network=network,
            architecture="resnet18",
            classes=CLASSES,
            size_px=SIDE,
            seen=Seen(patients=frozenset("ab" if seed else "a"), scans=frozenset({"volume a"})),
            chosen_by=Seen(patients=frozenset("v"), scans=frozenset({"volume v"})),
        )
        classifiers.save(model, {"looks": looks_of(CUTS.settings())}, folder)
    return folders


def test_every_plane_by_every_classifier_and_metrics_of_the_known_ones(models, tmp_path):
    planes = write_planes(tmp_path / "planes", ["x", "y"], per_class=2, classes=(*CLASSES, UNCERTAIN))
    result = apply_classifiers(Config(), planes, models, tmp_path)
    assert json.loads((tmp_path / METRICS).read_text()) == result
    assert result["patients"] == ["x", "y"]
    assert sum(result["planes"].values()) == 12
    assert {sum(sum(row) for row in m["confusion"]["matrix"]) for m in result["models"].values()} == {12}
    with (tmp_path / PREDICTIONS).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["classifier"], line["image"]) for line in lines] == [
        (name, row.image) for name in models for row in planes.rows
    ]
    assert {line["label"] for line in lines} == {*CLASSES, UNCERTAIN}
    assert all(float(line[line["predicted"]]) == float(line["confidence"]) for line in lines)


def test_scans_without_a_known_label_get_classes_and_no_metrics(models, tmp_path):
    planes = write_planes(tmp_path / "planes", ["x"], per_class=2, classes=[""])
    assert apply_classifiers(Config(), planes, models, tmp_path)["models"] == {
        "supervised": None,
        "round_002": None,
    }


def test_patients_a_model_has_seen_are_refused_with_both_names(models, tmp_path):
    planes = write_planes(tmp_path / "planes", ["b", "x"], per_class=1)
    with pytest.raises(InputError, match="classifier round_002: has seen patients b of"):
        apply_classifiers(Config(), planes, models, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whom_another_key_names_may_be_those_that_a_model_has_seen(tmp_path):
    told = {"patients_seen": ["3fa1-0000000001"], "scans_seen": []}
    told |= {"patients_validated_on": [], "scans_validated_on": []}
    (tmp_path / "classifier.json").write_text(json.dumps(told))
    refuse_seen({"mine": tmp_path}, Seen(patients=frozenset({"3fa1-0000000002"})))
    with pytest.raises(InputError, match=r"^classifier mine: its patients are named under key 3fa1 and"):
        refuse_seen({"mine": tmp_path}, Seen(patients=frozenset({"ffff-0000000002"})))


def test_a_patient_who_chose_the_round_is_refused_too(models, tmp_path):
    planes = write_planes(tmp_path / "planes", ["v", "x"], per_class=2)
    with pytest.raises(InputError, match=r"has seen patients v"):
        apply_classifiers(Config(), planes, models, tmp_path)


@pytest.mark.parametrize(
    ("dial", "value", "valid"),
    [
        ("field_of_view_mm", 120, "90"),
        ("field_of_view", "disc", "sphere"),
        ("noise_rule", "index", "content"),
        ("noise_max_content", 0.05, "0.02"),
        ("anatomy_min_content", 0.2, "0.1"),
    ],
)
def test_planes_that_look_or_are_called_otherwise_are_refused(models, dial, value, valid):
    with pytest.raises(InputError, match=rf"^{dial}={value}: classifier supervised .* valid: {valid}$"):
        refuse_other_looks(models, replace(CUTS, **{dial: value}).settings())


def test_other_planes_that_look_the_same_are_welcome(models):
    refuse_other_looks(models, CUTS.settings())
    other = replace(CUTS, plane_angles_deg=(-10, 0, 10), plane_spacing_mm=7.0, noise_index_planes=3)
    refuse_other_looks(models, other.settings())


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", "\xff", '{"patients_seen": 5, "patients_validated_on": [], "looks": "disc"}'],
)
def test_a_damaged_classifier_is_refused_in_a_line(text, tmp_path):
    (tmp_path / "classifier.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"^classifier a: does not say whom it learnt from; valid: "):
        refuse_seen({"a": tmp_path}, Seen())
    with pytest.raises(InputError, match=r"^classifier a: its classifier\.json does not say how its planes"):
        refuse_other_looks({"a": tmp_path}, CUTS.settings())
    assert weights_digest(tmp_path / "classifier.json") is None


def test_classifiers_are_found_one_level_down_and_no_deeper(models, tmp_path):
    shutil.copytree(models["supervised"], tmp_path / "run/published/supervised")
    assert list(find_classifiers(str(tmp_path / "run/published"), tmp_path / "a")) == ["supervised"]
    assert list(find_classifiers(str(tmp_path / "run/published/supervised"), tmp_path / "b")) == [
        "classifier"
    ]
    with pytest.raises(InputError, match=r"classifiers_uri=.*holds no classifier.json"):
        find_classifiers(str(tmp_path / "run"), tmp_path / "c")
