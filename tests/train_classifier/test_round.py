"""A round's classifier is trained once, unless what was kept of it is not whole."""

import pytest

from components.shared import classifier as classifiers
from components.shared import storage
from components.shared.faults import ForgottenError
from components.shared.ledger import Ledger
from components.train_classifier import round as rounds
from components.train_classifier.round import train_round
from components.train_classifier.stage import Config, train_classifier
from tests.drawn_planes import SPLITS, write_planes, write_synthetic

pytestmark = pytest.mark.usefixtures("small_classifiers")

TINY = Config(architecture="resnet18", epochs=1, size_px=32, batch=12, label_fraction=1.0)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return a function that trains round 0 in a folder, and the list of the trainings that took place."""
    planes = write_planes(tmp_path / "planes", sorted(SPLITS.sides), per_class=2)
    synthetic = write_synthetic(tmp_path / "synthetic", ["a"], ["coronal"])
    ledger, trainings = Ledger(state_uri=str(tmp_path / "state"), run="r"), []
    ledger.begin({"folds": dict(SPLITS.folds), "sides": dict(SPLITS.sides)})

    def counted(*args):
        trainings.append(args)
        return train_classifier(*args)

    monkeypatch.setattr(rounds, "train_classifier", counted)
    given = {"planes": planes, "pool": synthetic, "splits": SPLITS, "ledger": ledger}
    return lambda out: train_round(TINY, **given, number=0, owner="run", out=out), trainings


def test_a_classifier_of_a_patient_who_is_forgotten_is_not_kept(train, tmp_path):
    once, _ = train
    [patient, *_] = SPLITS.patients("train")
    storage.create(str(tmp_path / "state/forgotten" / patient), b"done")
    with pytest.raises(ForgottenError, match=f"patients {patient}: forgotten"):
        once(tmp_path / "1")
    assert not (tmp_path / "state/r/rounds/000/classifier.json").exists()


def test_a_kept_classifier_is_taken_and_a_mixed_one_is_trained_again(train, tmp_path):
    once, trainings = train
    first = once(tmp_path / "1")
    assert once(tmp_path / "2") == first
    assert len(trainings) == 1
    kept = tmp_path / "state/r/rounds/000"
    (weights,) = kept.glob("*.safetensors")
    weights.write_bytes(b"half of an attempt")
    assert once(tmp_path / "3") == first
    assert len(trainings) == 2
    assert classifiers.is_whole(tmp_path / "3")
    assert storage.hash_file(weights) == first["digest"]
