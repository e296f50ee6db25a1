"""The ledger: what is sealed stays, what is half-written does not count."""

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from components.shared import storage
from components.shared.faults import InputError
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import digest_of
from components.shared.splits import Splits
from tests.shared.damaged import DAMAGED

ROWS = [LabelRow(image="synthetic/a.png", label="coronal", confidence=0.9, status="accepted")]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(state_uri=str(tmp_path), run="r")


def test_a_round_counts_from_its_seal_on(ledger, tmp_path):
    ledger.seal({"round": 0}, [])
    (tmp_path / "r/rounds/000/round.json").unlink()  # as if killed before the seal
    assert ledger.rounds() == []
    ledger.seal({"round": 0}, ROWS)
    assert [entry["round"] for entry in ledger.rounds()] == [0]
    assert ledger.labels(0) == ROWS


def test_a_sealed_round_stays_as_it_was_sealed(ledger):
    ledger.seal({"round": 0}, ROWS)
    with pytest.raises(InputError, match="sealed by another run"):
        ledger.seal({"round": 0}, [replace(ROWS[0], label="sagittal")])
    assert ledger.labels(0) == ROWS


def test_a_seal_comes_after_its_labels(ledger, monkeypatch):
    """A run that is killed between two writes leaves no seal without them."""
    real = storage.create

    def create(uri, data):
        real(uri, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(storage, "create", create)
        ledger.seal({"round": 0}, ROWS)
    assert ledger.rounds() == []
    ledger.seal({"round": 0}, ROWS)
    assert ledger.labels(0) == ROWS


def test_a_seal_repeated_by_a_retried_stage_is_the_same_seal(ledger):
    ledger.seal({"round": 0, "pool": 1}, ROWS)
    ledger.seal({"round": 0, "pool": 1}, ROWS)
    with pytest.raises(InputError, match="sealed by another run"):
        ledger.seal({"round": 0, "pool": 2}, ROWS)
    assert ledger.labels(0) == ROWS


def test_of_many_that_seal_a_round_one_wins_and_its_labels_stay(ledger):
    sealed, start = [], threading.Barrier(8)

    def seal(rows):
        start.wait()
        with suppress(InputError):
            ledger.seal({"round": 0}, rows)
            sealed.append(rows)

    rivals = [[replace(ROWS[0], confidence=k / 10)] for k in range(8)]
    threads = [threading.Thread(target=seal, args=(rows,)) for rows in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sealed == [ledger.labels(0)]


def test_labels_changed_after_the_seal_are_refused(ledger, tmp_path):
    ledger.seal({"round": 0}, ROWS)
    [path] = tmp_path.glob("r/rounds/000/labels-*.csv")
    path.write_text(path.read_text().replace("coronal", "sagittal"))
    with pytest.raises(InputError, match="changed since its round was sealed"):
        ledger.labels(0)


def test_a_run_name_holds_one_study(ledger):
    study = {"fingerprint": "a", "snapshot_digest": "s", "parameters": {"images": 40, "seed": 0}}
    ledger.begin(study)
    ledger.begin(study)
    others = {
        r"images \(40, now 50\)": {**study, "fingerprint": "b", "parameters": {"images": 50, "seed": 0}},
        "volumes": {**study, "snapshot_digest": "t"},
        "code": {**study, "fingerprint": "b"},
    }
    for words, other in others.items():
        with pytest.raises(InputError, match=rf"run_name=r: .* other {words}; valid: a new run_name"):
            ledger.begin(other)


def test_a_ledger_is_of_the_sides_it_was_opened_with(ledger):
    sides = {"folds": {"a": 2, "t": 0}, "sides": {"a": "train", "t": "test"}}
    ledger.begin(sides)
    ledger.begin(sides)
    ledger.require_same_sides(Splits(sides["folds"], sides["sides"]))
    moved = {"folds": {"a": 0, "t": 2}, "sides": {"a": "test", "t": "train"}}
    said = r"other sides of patients a \(train, now test\), t \(test, now train\)"
    with pytest.raises(InputError, match=f"run_name=r: .* {said}; valid: a new run_name"):
        ledger.begin(moved)
    with pytest.raises(InputError, match=f"{said}, by splits.csv"):
        ledger.require_same_sides(Splits(moved["folds"], moved["sides"]))


def test_rounds_changed_after_closing_are_refused(ledger, tmp_path):
    ledger.seal({"round": 0}, ROWS)
    closed = ledger.digest()
    ledger.seal({"round": 1}, ROWS)
    with pytest.raises(InputError, match="changed since they were closed"):
        ledger.fetch_rounds(tmp_path / "out", closed)


def keep(ledger, folder, weights, named=None):
    """Keep a round's classifier whose JSON names the digest of its weights, or of others."""
    folder.mkdir()
    (folder / "classifier.safetensors").write_bytes(weights)
    digest = hashlib.sha256(named or weights).hexdigest()
    about = {"digest": digest, "temperature": 1.5}
    (folder / "classifier.json").write_text(json.dumps(about))
    ledger.keep_classifier(0, folder)
    return {"classifier_digest": digest, "classifier_record": digest_of(about)}


def test_a_classifier_of_two_attempts_is_none(ledger, tmp_path):
    keep(ledger, tmp_path / "mixed", b"second", named=b"first")
    assert not ledger.fetch_classifier(0, tmp_path / "out")


def test_a_sealed_rounds_classifier_is_fetched_and_no_other(ledger, tmp_path):
    digests = keep(ledger, tmp_path / "first", b"first")
    ledger.seal({"round": 0, **digests}, ROWS)
    fetched = ledger.fetch_rounds(tmp_path / "out", ledger.digest())
    assert (fetched["round_000"] / "classifier.safetensors").read_bytes() == b"first"
    (tmp_path / "r/rounds/000" / f"classifier-{digests['classifier_digest'][:16]}.safetensors").write_bytes(
        b"other"
    )
    with pytest.raises(InputError, match="missing, or changed since its round was sealed"):
        ledger.fetch_rounds(tmp_path / "again", ledger.digest())


def test_a_pod_that_was_given_up_takes_what_its_follower_kept(ledger, tmp_path):
    """On a GPU two trainings differ; the round was sealed with the follower's."""
    digests = keep(ledger, tmp_path / "follower", b"follower")
    ledger.seal({"round": 0, **digests}, ROWS)
    assert keep(ledger, tmp_path / "late", b"late") != digests
    assert (tmp_path / "late/classifier.safetensors").read_bytes() == b"follower"
    assert (
        json.loads((tmp_path / "late/classifier.json").read_text())["digest"] == digests["classifier_digest"]
    )
    ledger.fetch_rounds(tmp_path / "out", ledger.digest())


@pytest.mark.parametrize("damage", ["no weights", b"", b"{", b'{"digest": "0"}'])
def test_half_a_classifier_is_replaced_while_its_round_is_open(ledger, tmp_path, damage):
    """A power cut may leave it; a training that is repeated on a GPU is another."""
    digests = keep(ledger, tmp_path / "first", b"first")
    for name in ("again", "sealed"):
        if damage == "no weights":
            for kept in (tmp_path / "r/rounds/000").glob("*.safetensors"):
                kept.unlink()
        else:
            (tmp_path / "r/rounds/000/classifier.json").write_bytes(damage)
        if name == "again":
            digests = keep(ledger, tmp_path / name, b"again")
            assert ledger.fetch_classifier(0, tmp_path / "out")
            ledger.seal({"round": 0, **digests}, ROWS)
    with pytest.raises(InputError, match="rounds/000: its classifier is missing, or changed since its round"):
        keep(ledger, tmp_path / "late", b"late")
    assert (tmp_path / "late/classifier.safetensors").read_bytes() == b"late"


def test_a_classifier_whose_json_says_something_else_now_is_refused(ledger, tmp_path):
    ledger.seal({"round": 0, **keep(ledger, tmp_path / "first", b"first")}, ROWS)
    about = tmp_path / "r/rounds/000/classifier.json"
    about.write_text(about.read_text().replace("1.5", "0.5"))
    with pytest.raises(InputError, match="missing, or changed since its round was sealed"):
        ledger.fetch_rounds(tmp_path / "out", ledger.digest())


def test_a_classifier_without_its_last_file_is_none(ledger, tmp_path):
    (tmp_path / "r/rounds/000").mkdir(parents=True)
    name = f"classifier-{hashlib.sha256(b'half').hexdigest()[:16]}.safetensors"
    (tmp_path / "r/rounds/000" / name).write_bytes(b"half")
    assert not ledger.fetch_classifier(0, tmp_path / "out")


@pytest.mark.parametrize("left", DAMAGED)
def test_a_damaged_record_of_a_run_or_a_round_is_named(ledger, tmp_path, left):
    ledger.begin({"parameters": {}, "rule": {}})
    ledger.seal({"round": 0}, ROWS)
    for name, asked in {
        "run.json": [ledger.rule, ledger.parameters],
        "rounds/000/round.json": [ledger.rounds, ledger.digest, lambda: ledger.labels(0)],
    }.items():
        (tmp_path / "r" / name).write_bytes(left)
        for ask in asked:
            with pytest.raises(
                InputError, match=rf"/r/{name}: damaged; valid: a copy of what it was, or a new"
            ):
                ask()


@pytest.mark.parametrize("left", [each for each in DAMAGED if not each.endswith(b"}")])
def test_a_run_is_not_begun_over_a_damaged_record(ledger, tmp_path, left):
    ledger.begin({"sides": {}})
    (tmp_path / "r/run.json").write_bytes(left)
    for ask in (lambda: ledger.begin({"sides": {}}), ledger.splits):
        with pytest.raises(
            InputError, match=r"/r/run\.json: damaged; valid: a copy of what it was, or a new"
        ):
            ask()
    assert (tmp_path / "r/run.json").read_bytes() == left
