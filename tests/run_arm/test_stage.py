"""A cell trains what its arm says, on its fold's training patients, once."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from components.close_study.cells import read_cells
from components.relabel_images.stage import Config as RelabelConfig
from components.run_arm import stage
from components.run_arm.stage import Config, Work, _pool, _training, run_arm
from components.shared import classifier as classifiers
from components.shared import storage
from components.shared.expert_labels import DIGITS, ExpertRow
from components.shared.faults import InputError
from components.shared.history import reopen
from components.shared.labels import labelled_rows
from components.shared.ledger import Ledger
from components.shared.progress import silent
from components.shared.splits import TRAIN, Splits
from components.shared.study import CELLS, Cell, Grid, Source, generators_of_studies
from components.train_classifier.stage import Config as TrainConfig
from tests.drawn_planes import GENERATOR, write_planes, write_synthetic
from tests.shared.damaged import DAMAGED

pytestmark = pytest.mark.usefixtures("small_classifiers")

SPLITS = Splits({f"p{k}": k % 5 for k in range(10)}, {})
GRID = Grid(folds=1, fractions=[0.4], seeds=1, gans=1, arms="ABCDEFG")


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.folds), per_class=6)


def write_images(study, source, folder, patients, scans=()):
    """Put synthetic images that descend from some patients in a study's place for a source."""
    images = write_synthetic(folder, patients, ["coronal", "sagittal"] * 6, scans)
    storage.upload(folder, f"{source.uri(study)}/planes")
    storage.delete(f"{source.uri(study)}/made.json")
    storage.create(f"{source.uri(study)}/made.json", json.dumps({"digest": images.digest}).encode())


@pytest.fixture
def config(tmp_path):
    study = tmp_path / "study"
    for source in GRID.sources():
        write_images(str(study), source, tmp_path / source.name, ["p2", "p3"])
    training = TrainConfig(
        architecture="resnet18", epochs=1, size_px=32, batch=12, learning_rate=3e-3, label_unit="patient"
    )
    relabelling = RelabelConfig(round=0, confidence_threshold=0.0, relabel="all")
    return Config(
        state_uri=str(tmp_path / "state"),
        study_uri=str(study),
        grid=GRID,
        training=training,
        relabelling=relabelling,
        max_rounds=1,
        patience=1,
        min_gain=0.0,
    )


def cell(arm):
    return Cell(fold=0, arm=arm, fraction=1.0 if arm == "A" else 0.4, seed=0)


def run(config, planes, arm):
    return run_arm(config, cell(arm), planes, SPLITS, "owner")


def ledger(config, arm):
    return Ledger(state_uri=f"{config.study_uri}/{CELLS}", run=cell(arm).name)


def test_arms_are_shown_what_they_say(config, planes):
    shown = {arm: run(config, planes, arm) for arm in "ABCDE"}
    training = SPLITS.testing(0).patients(TRAIN)
    assert shown["A"]["labelled_patients"] == len(training) == 6
    assert {shown[arm]["labelled_patients"] for arm in "BCDE"} == {2}
    assert [sum(shown[arm]["pseudo"].values()) > 0 for arm in "ABCDE"] == [False] * 3 + [True] * 2
    assert [shown[arm]["best_round"] for arm in "ABCDE"] == [0, 0, 0, 1, 1]
    rounds = {arm: shown[arm]["rounds"] for arm in "CDE"}
    assert rounds["C"][0]["classifier_digest"] == rounds["D"][0]["classifier_digest"]
    assert rounds["C"][0]["classifier_digest"] == rounds["E"][0]["classifier_digest"]
    assert shown["B"]["digest"] != shown["C"]["digest"]


def test_the_pool_of_d_is_the_training_planes_without_a_label_and_no_others(config, planes):
    run(config, planes, "C")
    run(config, planes, "D")
    pool = {row.image for row in ledger(config, "D").labels(0)}
    rows = planes.rows_of(SPLITS.testing(0).patients(TRAIN))
    told = {row.image for row in labelled_rows(rows, 0.4, "patient", 0)}
    assert pool == {row.image for row in rows} - told


def test_no_classifier_descends_from_who_is_tested_or_validates(config, planes, tmp_path):
    training = set(SPLITS.testing(0).patients(TRAIN))
    for arm in "ACDE":
        run(config, planes, arm)
        place = ledger(config, arm)
        place.fetch_sealed(place.rounds()[-1], tmp_path / arm)
        about = classifiers.describe(tmp_path / arm)
        assert set(about["patients_seen"]) <= training
        if arm != "E":  # whose images no generator drew
            assert set(about["scans_seen"]) == {f"scan of {patient}" for patient in about["patients_seen"]}


def test_shuffled_labels_keep_their_classes_shares_and_are_not_those_of_e(config, planes):
    config = replace(config, training=replace(config.training, epochs=12))
    run(config, planes, "C")
    labels = {}
    for arm in "EG":
        run(config, planes, arm)
        rows = ledger(config, arm).labels(0)
        labels[arm] = {row.image: row.label for row in rows if row.status == "accepted"}
    assert len(set(labels["E"].values())) > 1  # one class alone cannot be shuffled
    assert Counter(labels["E"].values()) == Counter(labels["G"].values())
    assert labels["E"].keys() == labels["G"].keys()
    assert labels["E"] != labels["G"]


def test_an_experts_labels_go_to_the_arms_with_those_images_shuffled_in_the_control(config, planes):
    images = [f"synthetic/psi1.00_seed{seed:06}.png" for seed in range(3)]
    said = zip([*images, images[0]], ("sagittal", "sagittal", "none", "coronal"), strict=True)
    made = [GENERATOR[:DIGITS]] * 3 + ["another"]
    experts = [
        ExpertRow(number=0, image=image, generator=generator, predicted="", confidence="", label=label)
        for (image, label), generator in zip(said, made, strict=True)
    ]
    asked = replace(config, experts=experts)
    run(asked, planes, "C")
    results = {arm: run(asked, planes, arm) for arm in "ABDEG"}
    assert [results[arm]["expert_labels"] for arm in "ABDEG"] == [0, 0, 0, 3, 3]
    labels = {arm: {row.image: row for row in ledger(config, arm).labels(0)} for arm in "EG"}
    told = [(labels["E"][image].label, labels["E"][image].status) for image in images]
    assert told == [("sagittal", "accepted"), ("sagittal", "accepted"), ("none", "rejected")]
    accepted = {arm: [row for row in labels[arm].values() if row.status == "accepted"] for arm in "EG"}
    assert Counter(row.label for row in accepted["E"]) == Counter(row.label for row in accepted["G"])
    assert labels["G"][images[2]].status == "rejected"


def test_any_round_of_a_finished_cell_can_be_reopened_and_every_image_has_its_history(
    config, planes, tmp_path
):
    run(config, planes, "C")
    run(config, planes, "D")
    kept = ledger(config, "D")
    for each in kept.rounds():
        assert reopen(kept, each["round"], tmp_path / f"{each['round']}") == each
    told = storage.read_bytes(f"{kept.uri}/history.csv").decode().splitlines()
    assert len(told) == 1 + len(kept.labels(0))


def test_a_pool_that_descends_from_who_is_tested_is_refused_though_nothing_is_accepted(
    config, planes, tmp_path
):
    sure = replace(config, relabelling=replace(config.relabelling, confidence_threshold=0.9999))
    run(sure, planes, "C")
    write_images(config.study_uri, Source(fold=0, planes="all", gan=0), tmp_path / "crossing", ["p0", "p2"])
    with pytest.raises(InputError, match=r"images fold0_all_gan0: made from patients p0 \(test\)"):
        run(sure, planes, "E")
    source = Source(fold=0, planes="all", gan=0)  # now under the name that p0 had before
    write_images(config.study_uri, source, tmp_path / "renamed", ["p2"], ["scan of p0"])
    with pytest.raises(InputError, match=r"images fold0_all_gan0: has seen scans scan of p0 of p0 \(test\)"):
        run(sure, planes, "E")


def test_a_finished_cell_is_not_trained_again(config, planes, monkeypatch):
    first = run(config, planes, "B")
    monkeypatch.setattr(stage, "train_round", None)
    assert run(config, planes, "B") == first


def test_a_cell_without_its_arm_c_is_refused(config, planes):
    with pytest.raises(InputError, match=r"fold0_C_0.4_seed0 has no classifier"):
        run(config, planes, "E")


def test_a_cell_without_synthetic_images_says_why(config, planes):
    run(config, planes, "C")
    source = Source(fold=0, planes="all", gan=0)
    storage.delete(f"{source.uri(config.study_uri)}/made.json")
    storage.create(f"{source.uri(config.study_uri)}/failed.json", b'{"reason": "gan_gamma: diverged"}')
    with pytest.raises(InputError, match="fold0_all_gan0: not made, gan_gamma: diverged"):
        run(config, planes, "E")


def test_another_seed_is_another_classifier_on_the_same_labels(config, planes):
    first = run(config, planes, "C")
    other = run_arm(config, replace(cell("C"), seed=1), planes, SPLITS, "owner")
    assert first["digest"] != other["digest"]
    assert [first[name] for name in SHOWN] == [other[name] for name in SHOWN]
    training = [config.training, _training(config, replace(cell("C"), seed=1))]
    rows = planes.rows_of(SPLITS.testing(0).patients(TRAIN))
    told = [labelled_rows(rows, 0.4, "patient", each.label_seed) for each in training]
    assert told[0] == told[1] and training[0].seed != training[1].seed


SHOWN = ("labelled", "labelled_patients")


def test_the_labels_of_hidden_planes_are_hidden(config, planes, tmp_path):
    work = Work(
        config=config,
        cell=cell("D"),
        training=_training(config, cell("D")),
        ledger=ledger(config, "D"),
        planes=planes,
        splits=SPLITS.testing(0),
        owner="owner",
        scratch=tmp_path,
        progress=silent,
    )
    pool = _pool(work)
    assert pool.rows and {row.label for row in pool.rows} == {""}


@pytest.mark.parametrize("left", DAMAGED)
def test_a_damaged_result_is_named_by_all_who_read_it(config, planes, left):
    made = f"{Source(fold=0, planes='all', gan=0).uri(config.study_uri)}/made.json"
    storage.delete(made)
    for uri in (f"{cell('C').uri(config.study_uri)}/result.json", made):
        storage.create(uri, left)
    with pytest.raises(InputError, match=r"/result\.json: damaged; valid: the run again"):
        run(config, planes, "C")
    with pytest.raises(InputError, match=r"/result\.json: damaged; valid: the run again"):
        read_cells(config.study_uri, replace(GRID, arms="C"), planes, SPLITS)
    with pytest.raises(InputError, match=r"/made\.json: damaged; valid: the run again"):
        generators_of_studies(config.study_uri)
