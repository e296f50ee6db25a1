"""Faults planted in a small real study: each is refused, or noticed, by every stage that it reaches."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from components.classify_images.component import classify_images as classify_component
from components.classify_images.stage import Config as ClassifyConfig
from components.classify_images.stage import classify_images
from components.evaluate.stage import Config as EvaluateConfig
from components.evaluate.stage import evaluate
from components.generate_images.component import generate_images as generate_component
from components.generate_images.stage import Config as GenerateConfig
from components.generate_images.stage import generate_images
from components.relabel_images.stage import Config as RelabelConfig
from components.relabel_images.stage import relabel_images
from components.shared.faults import InputError
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import CORONAL, GAN_CLASSES, PlaneSet
from components.shared.splits import TEST, TRAIN
from components.train_classifier.round import train_round
from components.train_classifier.stage import Config, PseudoLabels, train_classifier
from components.train_gan.stage import Config as GanConfig
from components.train_gan.stage import train_gan
from tests.drawn_planes import SPLITS, splits_of, write_planes, write_synthetic

pytestmark = pytest.mark.usefixtures("small_classifiers")

TINY = Config(architecture="resnet18", epochs=4, size_px=32, batch=12, learning_rate=3e-3, label_fraction=1.0)
GAN = GanConfig(kimg=0.008, resolution=8, gamma=0.0, batch=4, channel_base=64, snapshot_kimg=0.008)
CROSSING = splits_of({**SPLITS.sides, "t": TRAIN})  # under which t was trained on; SPLITS tests on t
RULE = {"max_rounds": 3, "patience": 3, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
RECORD = {"rule": RULE, "folds": dict(SPLITS.folds), "sides": dict(SPLITS.sides)}
TEST_PATIENT = r"made from patients t \(test\), by splits.csv \w{12}; valid: .* train patients alone"


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.sides))


@pytest.fixture(scope="module")
def generator(planes, tmp_path_factory):
    """Return a GAN that was trained on the test patient t."""
    out = tmp_path_factory.mktemp("generator")
    train_gan(GAN, planes, CROSSING, out)
    return out


@pytest.fixture(scope="module")
def synthetic(generator, tmp_path_factory):
    """Return what that GAN drew: it inherits t."""
    out = tmp_path_factory.mktemp("synthetic")
    generate_images(GenerateConfig(truncations=(1.0,), images=6), generator, out)
    return PlaneSet.open(out)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(state_uri=str(tmp_path / "state"), run="r")
    made.begin(RECORD)
    return made


def at(**paths):
    """Return artifacts as KFP hands them to a component."""
    return {name: SimpleNamespace(path=str(path)) for name, path in paths.items()}


def test_a_gan_that_saw_a_test_patient_is_no_start_for_another(planes, generator, tmp_path):
    with pytest.raises(InputError, match=rf"^gan_resume_uri=.*: {TEST_PATIENT}"):
        train_gan(replace(GAN, resume_uri=str(generator)), planes, SPLITS, tmp_path)


def test_its_checkpoints_are_not_gone_on_from(planes, tmp_path):
    kept = replace(GAN, state_uri=(tmp_path / "kept").as_uri())
    train_gan(kept, planes, CROSSING, tmp_path / "crossing")
    about = train_gan(kept, planes, SPLITS, tmp_path / "apart")
    assert about["patients_seen"] == ["a", "b", "c"]
    assert about["digest"] == train_gan(GAN, planes, SPLITS, tmp_path / "fresh")["digest"]


def test_it_is_not_sampled(generator, tmp_path, capsys):
    SPLITS.write(tmp_path / "splits.csv")
    given = at(generator=generator, splits=tmp_path / "splits.csv", synthetic=tmp_path / "s")
    with pytest.raises(SystemExit):
        generate_component.python_func(**given, truncations=[1.0], images=2, seed=0)
    assert "made from patients t (test), by splits.csv" in capsys.readouterr().out
    assert not (tmp_path / "s").exists()


def test_its_images_are_not_classified(synthetic, ledger, tmp_path, capsys):
    given = at(synthetic=synthetic.folder, classifier=tmp_path, predictions=tmp_path)
    where = {"state_uri": ledger.state_uri, "run": "r", "number": 0, "relabel": "all", "owner": "run"}
    with pytest.raises(SystemExit):
        classify_component.python_func(**given, **where)
    assert "made from patients t (test), by splits.csv" in capsys.readouterr().out


def test_its_images_are_not_trained_on(planes, synthetic, ledger, tmp_path):
    labels = [
        LabelRow(image=row.image, label=CORONAL, confidence=0.9, status="accepted") for row in synthetic.rows
    ]
    ledger.seal({"round": 0}, labels)
    given = {"planes": planes, "pool": synthetic, "splits": SPLITS, "ledger": ledger, "owner": "run"}
    with pytest.raises(InputError, match=rf"^synthetic planes \w{{12}}: {TEST_PATIENT}"):
        train_round(TINY, **given, number=1, out=tmp_path / "c")


def test_a_classifier_that_learnt_from_its_images_is_not_evaluated(planes, synthetic, tmp_path):
    few = replace(TINY, epochs=1, label_unit="patient", label_fraction=0.1)
    pseudo = PseudoLabels(images=synthetic, labels={row.image: CORONAL for row in synthetic.rows})
    about = train_classifier(few, planes, CROSSING, pseudo, tmp_path / "c")
    assert "t" not in about["labelled_patients"], "t comes by way of the GAN alone"
    with pytest.raises(InputError, match=rf"^model mine \(\w{{12}}\): {TEST_PATIENT}"):
        evaluate(EvaluateConfig(), planes, SPLITS, {"mine": tmp_path / "c"}, tmp_path / "e")


def copied(planes, patient, of):
    """Return planes in which a patient's are cut from another's scan, under a file name of its own."""
    scans = {row.patient: row.patient for row in planes.rows} | {patient: of}
    return replace(planes, rows=[replace(row, volume=scans[row.patient]) for row in planes.rows])


def test_one_scan_under_two_patients_is_refused_by_every_trainer_and_by_evaluate(planes, tmp_path):
    crossing = copied(planes, "t", of="a")
    said = r"^planes \w{12}: volume a of patients a \(train\), t \(test\), by splits.csv"
    with pytest.raises(InputError, match=said):
        train_gan(GAN, crossing, SPLITS, tmp_path / "g")
    with pytest.raises(InputError, match=said):
        train_classifier(TINY, crossing, SPLITS, None, tmp_path / "c")
    with pytest.raises(InputError, match=said):
        evaluate(EvaluateConfig(), crossing, SPLITS, {}, tmp_path / "e")


def test_a_round_is_not_trained_with_other_sides_than_its_ledgers(planes, ledger, tmp_path):
    turned = splits_of({**SPLITS.sides, "a": TEST, "t": TRAIN})
    given = {"planes": planes, "pool": None, "splits": turned, "ledger": ledger, "owner": "run"}
    with pytest.raises(
        InputError, match=r"other sides of patients a \(train, now test\), t \(test, now train\)"
    ):
        train_round(TINY, **given, number=0, out=tmp_path / "c")


@pytest.mark.parametrize("shuffled_round", [None, 0])
def test_labels_shuffled_in_one_round_are_noticed(planes, ledger, tmp_path, capsys, shuffled_round):
    pool, small = write_synthetic(tmp_path / "pool", ["a"], list(GAN_CLASSES) * 30), replace(TINY, epochs=8)
    given = {"planes": planes, "pool": pool, "splits": SPLITS, "ledger": ledger, "owner": "run"}
    for number in range(2):
        out = tmp_path / f"{number}"
        about = train_round(small, **given, number=number, out=out)
        classify_images(ClassifyConfig(), out, pool, None, out)
        seed = 3 if number == shuffled_round else None
        config = RelabelConfig(round=number, confidence_threshold=0.6, relabel="all", shuffle_seed=seed)
        relabel_images(config, ledger, out, about, "run")
    assert min(ledger.rounds()[0]["accepted"].values()) >= 20  # of 30: it has learnt, so labels say something
    noticed = "another label" in capsys.readouterr().out
    assert noticed == (shuffled_round is not None)
