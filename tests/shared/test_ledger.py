"""The ledger: what is sealed stays, what is half-written does not count."""

import pytest

from components.shared.faults import InputError
from components.shared.ledger import LabelRow, Ledger

ROWS = [LabelRow(image="synthetic/a.png", label="coronal", confidence=0.9, status="accepted")]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(state_uri=str(tmp_path), run="r")


def test_a_round_counts_from_its_seal_on(ledger, tmp_path):
    (tmp_path / "r/rounds/000").mkdir(parents=True)
    (tmp_path / "r/rounds/000/labels.csv").write_text("half")
    assert ledger.rounds() == []
    ledger.seal({"round": 0}, ROWS)
    assert [entry["round"] for entry in ledger.rounds()] == [0]
    assert ledger.labels(0) == ROWS


def test_a_sealed_round_is_not_sealed_again(ledger):
    ledger.seal({"round": 0}, ROWS)
    with pytest.raises(InputError, match="sealed by another run"):
        ledger.seal({"round": 0}, ROWS)


def test_labels_changed_after_the_seal_are_refused(ledger, tmp_path):
    ledger.seal({"round": 0}, ROWS)
    path = tmp_path / "r/rounds/000/labels.csv"
    path.write_text(path.read_text().replace("coronal", "sagittal"))
    with pytest.raises(InputError, match="changed since its round was sealed"):
        ledger.labels(0)


def test_a_run_name_holds_one_study(ledger):
    ledger.begin({"fingerprint": "a", "snapshot_digest": "s"})
    ledger.begin({"fingerprint": "a", "snapshot_digest": "s"})
    with pytest.raises(InputError, match=r"run_name=r: .* other fingerprint; valid: a new run_name"):
        ledger.begin({"fingerprint": "b", "snapshot_digest": "s"})


def test_rounds_changed_after_closing_are_refused(ledger, tmp_path):
    ledger.seal({"round": 0}, ROWS)
    closed = ledger.digest()
    ledger.seal({"round": 1}, ROWS)
    with pytest.raises(InputError, match="changed since they were closed"):
        ledger.fetch_rounds(tmp_path / "out", closed)


def test_a_classifier_without_its_last_file_is_none(ledger, tmp_path):
    (tmp_path / "r/rounds/000").mkdir(parents=True)
    (tmp_path / "r/rounds/000/classifier.safetensors").write_bytes(b"half")
    assert not ledger.fetch_classifier("rounds/000", tmp_path / "out")
