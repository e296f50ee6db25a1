"""After the loop the best round is published, and a loop that did not end is told."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from components.close_rounds.stage import close_rounds
from components.shared import storage
from components.shared.faults import AbsentError, ForgottenError, InputError
from components.shared.forgotten import forget
from components.shared.history import HISTORY
from components.shared.lease import lease
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import digest_of

GONE = "3fa1-7c21e09b4d"


def classifier(folder, words, seen=()):
    """Write the two files of a classifier; what is in the network does not matter here."""
    folder.mkdir(parents=True)
    (folder / "classifier.safetensors").write_bytes(words.encode())
    digest = hashlib.sha256(words.encode()).hexdigest()
    about = {"digest": digest, "words": words, "patients_seen": list(seen), "scans_seen": []}
    about |= {"patients_validated_on": [], "scans_validated_on": []}
    (folder / "classifier.json").write_text(json.dumps(about))
    return {"classifier_digest": digest, "classifier_record": digest_of(about)}


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(state_uri=str(tmp_path / "state"), run="r")
    rule = {"max_rounds": 2, "patience": 5, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
    made.begin({"rule": rule})
    return made


def seal(ledger, tmp_path, number, loss, seen=()):
    digests = classifier(tmp_path / f"c{number}", f"round {number}", seen)
    ledger.keep_classifier(number, tmp_path / f"c{number}")
    validation = {"mean_patient_loss": loss}
    decided = {"below": 3, "capped": 0, "changed": 0.5, "accepted": {"coronal": 9}, "stop_reason": ""}
    labels = [LabelRow(image="a.png", label="coronal", confidence=0.5 + number / 10, status="accepted")]
    ledger.seal({"round": number, "validation": validation, **digests, **decided}, labels)


def test_the_best_pseudo_label_round_is_published_beside_the_baseline(ledger, tmp_path):
    classifier(tmp_path / "supervised", "supervised")
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss)
    assert close_rounds(ledger, tmp_path / "supervised", "run") == ledger.digest()
    published = {path.parent.name: path for path in tmp_path.glob("state/r/published/*/classifier.json")}
    assert set(published) == {"supervised", "round_001"}
    assert json.loads(published["round_001"].read_text())["words"] == "round 1"
    [header, line] = (tmp_path / "state/r/history.csv").read_text().splitlines()
    assert header.startswith("image,label_0,confidence_0,status_0,label_1,")
    assert line == "a.png,coronal,0.5,accepted,coronal,0.6,accepted,coronal,0.7,accepted,0,0"


@pytest.mark.parametrize("who", ["supervised", "round"])
def test_what_descends_from_a_forgotten_patient_is_not_left_published(ledger, tmp_path, who):
    """They may be known by an older generator alone, and by no splits of this run."""
    classifier(tmp_path / "supervised", "supervised", [GONE] if who == "supervised" else [])
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss, [GONE] if who == "round" else [])
    storage.create(f"{ledger.state_uri}/forgotten/{GONE}", b"done")
    with pytest.raises(ForgottenError, match=GONE):
        close_rounds(ledger, tmp_path / "supervised", "run")
    assert not list(tmp_path.glob("state/r/published/*/*"))


def test_of_who_is_forgotten_already_nothing_is_published_at_all(ledger, tmp_path):
    """Published and taken away again it would take the whole run along, which names nobody else's patient."""
    classifier(tmp_path / "supervised", "supervised", [GONE])
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss)
    before = storage.list_tree(ledger.uri)
    forget(ledger.state_uri, GONE)
    with pytest.raises(ForgottenError, match=GONE):
        close_rounds(ledger, tmp_path / "supervised", "run")
    assert storage.list_tree(ledger.uri) == before


@pytest.mark.parametrize("who", ["supervised", "round"])
def test_who_is_forgotten_while_it_is_published_is_in_nothing_that_is_left(
    ledger, tmp_path, who, monkeypatch
):
    classifier(tmp_path / "supervised", "supervised", [GONE] if who == "supervised" else [])
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss, [GONE] if who == "round" else [])
    real = shutil.copyfile

    def copyfile(source, target):
        """Copy as before, and have the patient forgotten once history.csv is on its way."""
        if Path(source).name == HISTORY:
            forget(ledger.state_uri, GONE)
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(ForgottenError, match=GONE):
        close_rounds(ledger, tmp_path / "supervised", "run")
    left = [found for found in storage.list_tree(ledger.state_uri) if not found.name.startswith("forgotten/")]
    assert not [found.name for found in left if GONE.encode() in storage.read_bytes(found.uri)]


def test_a_baseline_that_is_gone_is_told_in_a_line(ledger, tmp_path):
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss)
    with pytest.raises(AbsentError, match=r"/supervised/classifier\.json: no such object$"):
        close_rounds(ledger, tmp_path / "supervised", "run")


def test_a_loop_that_ended_without_a_reason_is_told(ledger, tmp_path):
    classifier(tmp_path / "supervised", "supervised")
    seal(ledger, tmp_path, 0, 0.5)
    with pytest.raises(InputError, match="the loop ended after 1 of 3 rounds without a reason"):
        close_rounds(ledger, tmp_path / "supervised", "run")


def test_after_it_another_run_may_write_at_once(ledger, tmp_path):
    classifier(tmp_path / "supervised", "supervised")
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss)
    with lease(ledger.uri, "run"):
        pass
    with pytest.raises(InputError, match="held by run run"), lease(ledger.uri, "other"):
        pass
    close_rounds(ledger, tmp_path / "supervised", "run")
    with lease(ledger.uri, "other"):
        pass


def test_a_classifier_exchanged_after_its_seal_is_not_published(ledger, tmp_path):
    classifier(tmp_path / "supervised", "supervised")
    for number, loss in enumerate([0.1, 0.3, 0.4]):
        seal(ledger, tmp_path, number, loss)
    other = (tmp_path / "c2/classifier.json").read_bytes()
    (tmp_path / "state/r/rounds/001/classifier.json").write_bytes(other)
    with pytest.raises(InputError, match=r"rounds/001: its classifier is missing, or changed"):
        close_rounds(ledger, tmp_path / "supervised", "run")
