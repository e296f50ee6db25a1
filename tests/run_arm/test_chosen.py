"""Which round a cell publishes, on whom it is tested, and what the study's parameters make of it."""

import csv
import io
from dataclasses import asdict, replace

import pytest

from components.relabel_images.stage import Config as RelabelConfig
from components.relabel_images.stage import summarise
from components.run_arm import stage as arms
from components.run_arm.stage import Config, Work, _conclude, _pool, _record, _training, run_arm
from components.shared import classifier as classifiers
from components.shared import storage
from components.shared.faults import InputError
from components.shared.history import changes
from components.shared.ledger import Ledger
from components.shared.progress import silent
from components.shared.splits import TEST, TRAIN, VALIDATION, Splits
from components.shared.study import Cell, Grid, Source
from components.train_classifier.stage import Config as TrainConfig
from components.train_classifier.stage import train_classifier
from components.validate_parameters.stage import results
from components.validate_parameters.study import StudyParameters
from tests.drawn_planes import write_planes
from tests.run_arm.test_stage import write_images

pytestmark = pytest.mark.usefixtures("small_classifiers")

SPLITS = Splits({f"p{k}": k % 5 for k in range(8)}, {})
GRID = Grid(folds=2, fractions=[0.4], seeds=2, gans=2, arms="ABCDE")
CELL = Cell(fold=1, arm="E", fraction=0.4, seed=1)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.folds), per_class=5)


@pytest.fixture
def config(tmp_path):
    return Config(
        state_uri=str(tmp_path / "state"),
        study_uri=str(tmp_path / "study"),
        grid=GRID,
        training=TrainConfig(architecture="resnet18", epochs=0, size_px=32, label_unit="patient"),
        relabelling=RelabelConfig(round=0, confidence_threshold=0.0, relabel="all"),
        max_rounds=2,
        patience=9,
        min_gain=0.0,
    )


@pytest.fixture
def work(config, planes, tmp_path):
    """Return a cell at work whose ledger is open, with enough validation patients to choose by."""
    ledger = Ledger.at(CELL.uri(config.study_uri))
    sides = SPLITS.testing(CELL.fold)
    record = _record(config, CELL, sides)
    ledger.begin({**record, "rule": {**record["rule"], "validation_patients": 4}})
    shared = {"config": config, "cell": CELL, "ledger": ledger, "planes": planes, "splits": sides}
    training = _training(config, CELL)
    return Work(**shared, training=training, owner="owner", scratch=tmp_path, progress=silent)


def seal(work, number, loss, splits=None):
    """Seal a round of an untrained classifier with such a validation loss."""
    folder = work.scratch / f"made{number}"
    training = replace(work.training, seed=number)
    about = train_classifier(training, work.planes, splits or work.splits, None, folder)
    work.ledger.keep_classifier(number, folder)
    record = summarise(number, about, [], []) | changes(None, [])
    work.ledger.seal({**record, "validation": {"mean_patient_loss": loss}}, [])
    return about["digest"]


def test_the_round_that_the_validation_patients_chose_is_tested(work):
    digests = [seal(work, number, loss) for number, loss in enumerate((0.1, 0.2, 0.3))]
    result = _conclude(work)
    assert (result["best_round"], result["digest"]) == (1, digests[1])
    found = result["test"]["per_patient"]
    assert sorted(found) == list(work.splits.patients(TEST)) == ["p1", "p6"]


def test_a_classifier_that_saw_who_is_tested_is_not_measured(work):
    swapped = SPLITS.testing(3)  # in which who is tested here is trained on
    assert set(work.splits.patients(TEST)) <= set(swapped.patients(TRAIN))
    everything = replace(work, training=replace(work.training, label_fraction=1.0))
    seal(everything, 0, 0.1, swapped)
    with pytest.raises(InputError, match=r"^cell fold1_E_0.4_seed1: .* p1 \(test\), p2 \(validation\), p6"):
        _conclude(everything)


def test_a_cell_is_tested_on_its_own_fold_and_trained_beside_it(config, planes, tmp_path):
    cell = Cell(fold=1, arm="A", fraction=1.0, seed=0)
    result = run_arm(config, cell, planes, SPLITS, "owner")
    ledger, sides = Ledger.at(cell.uri(config.study_uri)), SPLITS.testing(1)
    assert ledger.splits() == sides
    table = csv.DictReader(io.StringIO(storage.read_bytes(f"{ledger.uri}/{result['predictions']}").decode()))
    assert [line["image"] for line in table] == [row.image for row in planes.rows_of(sides.patients(TEST))]
    ledger.fetch_sealed(ledger.rounds()[0], tmp_path / "c")
    about = classifiers.describe(tmp_path / "c")
    assert about["patients_seen"] == sides.patients(TRAIN)
    assert about["patients_validated_on"] == sides.patients(VALIDATION)


def test_a_pod_that_was_given_up_changes_nothing_of_a_finished_cell(work, monkeypatch):
    """On a GPU the same classifier gives other digits."""
    for number, loss in enumerate((0.1, 0.2, 0.3)):
        seal(work, number, loss)
    measure = arms.measure_model

    def overtaken(*args):
        monkeypatch.setattr(arms, "measure_model", measure)
        done.append(_conclude(replace(work, scratch=work.scratch / "follower")))
        before.update(everything(work))
        found_NC, measured = measure(*args)
        return found_NC[::-1], measured | {"planes": -1}

    done, before = [], {}
    monkeypatch.setattr(arms, "measure_model", overtaken)
    assert _conclude(work) == done[0] and done[0]["predictions"] in before
    assert everything(work).items() >= before.items()


def everything(work):
    return {found.name: storage.read_bytes(found.uri) for found in storage.list_tree(work.ledger.uri)}


@pytest.mark.parametrize("fold", range(5))
def test_who_validates_is_counted_and_every_side_is_written_down(config, fold):
    sides = SPLITS.testing(fold)
    record = _record(config, replace(CELL, fold=fold), sides)
    assert record["rule"]["validation_patients"] == len(sides.patients(VALIDATION))
    assert (record["folds"], record["sides"]) == (sides.folds, sides.sides)


def test_every_cell_has_the_images_of_its_own_fold_and_gan(work, tmp_path):
    for gan, patient in enumerate(("p4", "p3")):
        source = Source(fold=CELL.fold, planes="all", gan=gan)
        write_images(work.config.study_uri, source, tmp_path / source.name, [patient])
    for seed, patient in enumerate(("p4", "p3")):
        cell = replace(CELL, seed=seed)
        mine = replace(work, cell=cell, scratch=tmp_path / f"scratch{seed}")
        assert _pool(mine).seen.patients == {patient}


ASKED = {
    "classifier": "resnet18",
    "epochs": 3,
    "image_size_px": 40,
    "pretrained_uri": "weights.safetensors",
    "label_unit": "plane",
    "confidence_threshold": 0.6,
    "threshold_rule": "adaptive",
    "max_class_ratio": 2.0,
    "relabel": "remaining",
    "max_rounds": 4,
    "patience": 2,
    "min_gain": 0.01,
    "seed": 7,
}


def test_a_cell_is_trained_and_judged_as_the_studys_parameters_say(tmp_path):
    given = results(StudyParameters(volumes_uri="", state_uri="", **ASKED))
    config = Config.of("state", "state/study", given)
    training = _training(config, Cell(fold=0, arm="E", fraction=0.4, seed=2))
    told = asdict(config.relabelling) | asdict(training)
    told |= {"classifier": training.architecture, "image_size_px": training.size_px}
    told |= {name: getattr(config, name) for name in ("max_rounds", "patience", "min_gain")}
    expected = {**ASKED, "seed": 9, "label_seed": 7, "label_fraction": 0.4, "augment": True}
    assert {name: told[name] for name in expected} == expected
