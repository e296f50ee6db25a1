"""Arms differ in what they were shown alone: steps, weights and labels follow seeds of their own."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from components.shared import classifier as classifiers
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import CORONAL, SAGITTAL
from components.train_classifier.component import train_classifier as supervised_component
from components.train_classifier.component import train_round as round_component
from components.train_classifier.round import train_round
from components.train_classifier.stage import Config, PseudoLabels, train_classifier
from tests.drawn_planes import SPLITS, write_planes, write_synthetic

pytestmark = pytest.mark.usefixtures("small_classifiers")

TINY = Config(architecture="resnet18", epochs=1, size_px=32, batch=15, label_fraction=1.0, augment=False)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides), per_class=5)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("synthetic"), ["a"], [CORONAL, SAGITTAL] * 20)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(state_uri=str(tmp_path / "state"), run="r")
    made.begin({"folds": dict(SPLITS.folds), "sides": dict(SPLITS.sides)})
    return made


@pytest.mark.parametrize(("fraction", "taught"), [(1.0, False), (0.1, False), (0.1, True)])
def test_every_arm_takes_as_many_steps_whatever_it_is_shown(planes, synthetic, tmp_path, fraction, taught):
    labels = {row.image: (CORONAL, SAGITTAL)[row.seed % 2] for row in synthetic.rows}
    pseudo = PseudoLabels(images=synthetic, labels=labels) if taught else None
    config, taken = replace(TINY, label_fraction=fraction, label_unit="patient"), []
    train_classifier(config, planes, SPLITS, pseudo, tmp_path, lambda *event: taken.append(event))
    assert taken == [(15, 45), (30, 45), (45, 45)]


def test_where_all_is_labelled_the_seed_of_labels_changes_nothing(planes, tmp_path):
    first, same, other = (
        train_classifier(replace(TINY, **seeds), planes, SPLITS, None, tmp_path)["digest"]
        for seeds in ({}, {"label_seed": 1}, {"seed": 1})
    )
    assert first == same != other


def test_another_training_is_told_the_same_labels_from_other_weights(planes, tmp_path):
    begun = replace(TINY, epochs=0, label_fraction=0.34, label_unit="patient")
    found = [
        train_classifier(replace(begun, **seeds), planes, SPLITS, None, tmp_path)
        for seeds in ({}, {"seed": 1}, {"seed": 2})
    ]
    assert len({each["digest"] for each in found}) == 3
    assert len({tuple(each["labelled_patients"]) for each in found}) == 1
    drawn = [
        train_classifier(replace(begun, label_seed=seed), planes, SPLITS, None, tmp_path) for seed in range(4)
    ]
    assert len({tuple(each["labelled_patients"]) for each in drawn}) > 1


def row(number, label):
    image = f"synthetic/psi1.00_seed{number:06}.png"
    return LabelRow(image=image, label=label, confidence=0.9, status="accepted")


def test_a_round_is_taught_what_the_round_before_accepted_and_no_older_one(
    planes, synthetic, ledger, tmp_path
):
    ledger.seal({"round": 0}, [row(number, CORONAL) for number in range(5)])
    ledger.seal({"round": 1}, [row(number, SAGITTAL) for number in range(3, 9)])
    given = {"planes": planes, "pool": synthetic, "splits": SPLITS, "ledger": ledger, "owner": "run"}
    about = train_round(replace(TINY, epochs=0), **given, number=2, out=tmp_path)
    assert about["pseudo"] == {CORONAL: 0, SAGITTAL: 6, "noise": 0}


GIVEN = {"architecture": "resnet18", "epochs": 1, "pretrained_uri": ""}
ROUND = {"label_fraction": 0.34, "label_unit": "patient"}


def at(**paths):
    """Return artifacts as KFP hands them to a component."""
    return {name: SimpleNamespace(path=str(path), metadata={}) for name, path in paths.items()}


@pytest.mark.parametrize("number", [None, 0])
def test_a_component_trains_as_it_was_told(planes, synthetic, ledger, tmp_path, number):
    """The baseline on all labels, a round on the fraction of them."""
    SPLITS.write(tmp_path / "splits.csv")
    inputs = at(planes=planes.folder, splits=tmp_path / "splits.csv", classifier=tmp_path / "c")
    told = {**GIVEN, "image_size_px": 32, "seed": 5}
    if number is None:
        supervised_component.python_func(**inputs, **told, weights="")
    else:
        run = {"state_uri": ledger.state_uri, "run": ledger.run, "owner": "run", "number": number}
        round_component.python_func(**inputs, **at(synthetic=synthetic.folder), **told, **ROUND, **run)
    about = json.loads((tmp_path / "c" / classifiers.ABOUT).read_text())
    asked = {"label_fraction": 1.0, "label_unit": "plane"} if number is None else ROUND
    expected = {**GIVEN, **asked, "size_px": 32, "seed": 5, "label_seed": 5}
    assert {name: about["config"][name] for name in expected} == expected
    assert about["labelled"] == (45 if number is None else 15)
