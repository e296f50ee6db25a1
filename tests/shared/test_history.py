"""What the rounds thought of each image, and any of them again."""

import csv
import hashlib
import io
import json

import pytest

from components.shared.faults import InputError
from components.shared.history import changes, history_table, reopen
from components.shared.ledger import LabelRow, Ledger, read_labels
from components.shared.planes import digest_of


def row(image, label="coronal", status="accepted", confidence=0.9):
    return LabelRow(image=image, label=label, confidence=confidence, status=status)


def test_the_first_round_changes_nothing():
    assert changes(None, [row("a")])["changed"] is None


def test_a_set_that_stays_has_changed_by_nothing_and_an_empty_one_too():
    assert changes([row("a"), row("b")], [row("b"), row("a")])["changed"] == 0
    assert changes([row("a", status="below")], [row("a", status="below")])["changed"] == 0


def test_two_sets_without_a_common_image_have_changed_wholly():
    found = changes([row("a"), row("b", status="below")], [row("a", status="capped"), row("b")])
    assert (found["changed"], found["evicted"], found["flips"]) == (1, 1, 0)


def test_an_image_with_another_label_is_another_pair_and_a_flip():
    found = changes([row("a"), row("b")], [row("a", "sagittal"), row("b")])
    assert found == {
        "changed": pytest.approx(2 / 3), "flips": 1, "evicted": 0, "taught": 2, "taught_flips": 1
    }  # fmt: skip


def test_every_image_has_a_row_with_what_each_round_thought_of_it():
    labels = [
        [row("a"), row("b"), row("c", status="below")],
        [row("a", "sagittal"), row("b", status="below"), row("c")],
        [row("a", "coronal", "scored"), row("b", status="below"), row("c", "noise", "rejected")],
    ]
    table = list(csv.DictReader(io.StringIO(history_table(labels).decode())))
    assert [line["image"] for line in table] == ["a", "b", "c"]
    assert [(line["flips"], line["evictions"]) for line in table] == [("2", "0"), ("0", "1"), ("1", "1")]
    assert [table[2][f"status_{k}"] for k in range(3)] == ["below", "accepted", "rejected"]
    assert table[0]["label_1"] == "sagittal" and table[0]["confidence_1"] == "0.9"


def test_an_image_that_a_round_has_not_judged_has_an_empty_place():
    [line] = csv.DictReader(io.StringIO(history_table([[], [row("a")]]).decode()))
    assert (line["status_0"], line["status_1"], line["flips"]) == ("", "accepted", "0")


@pytest.fixture
def ledger(tmp_path):
    """Return a ledger with one sealed round."""
    made = Ledger(state_uri=str(tmp_path / "state"), run="r")
    weights = b"weights"
    about = {"digest": hashlib.sha256(weights).hexdigest()}
    (tmp_path / "made").mkdir()
    (tmp_path / "made/classifier.safetensors").write_bytes(weights)
    (tmp_path / "made/classifier.json").write_text(json.dumps(about))
    made.keep_classifier(0, tmp_path / "made")
    digests = {"classifier_digest": about["digest"], "classifier_record": digest_of(about)}
    made.seal({"round": 0, **digests}, [row("a")])
    return made


def test_a_round_is_copied_out_whole(ledger, tmp_path):
    record = reopen(ledger, 0, tmp_path / "out")
    assert json.loads((tmp_path / "out/round.json").read_text()) == record == ledger.rounds()[0]
    assert read_labels((tmp_path / "out/labels.csv").read_bytes()) == [row("a")]
    assert (tmp_path / "out/classifier.safetensors").read_bytes() == b"weights"


def test_a_round_that_is_not_sealed_is_refused(ledger, tmp_path):
    with pytest.raises(InputError, match=r"round 1: not sealed in .*; valid: 0 to 0"):
        reopen(ledger, 1, tmp_path / "out")


def test_a_folder_with_something_in_it_is_left_alone(ledger, tmp_path):
    with pytest.raises(InputError, match="not an empty folder"):
        reopen(ledger, 0, tmp_path / "made")


@pytest.mark.parametrize("name", ["labels-*.csv", "classifier-*.safetensors", "classifier.json"])
def test_what_changed_since_the_seal_is_not_copied_out(ledger, tmp_path, name):
    [path] = tmp_path.glob(f"state/r/rounds/000/{name}")
    path.write_bytes(path.read_bytes().replace(b"e", b"f"))
    with pytest.raises(InputError, match="changed since"):
        reopen(ledger, 0, tmp_path / "out")
    assert not (tmp_path / "out/round.json").exists()
