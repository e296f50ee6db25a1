"""A run is compared with the one before it, on the patients that both tested."""

import pytest

from components.report.previous import compare, remember, run_before
from components.shared import storage
from components.shared.faults import ForgottenError, InputError
from components.shared.forgotten import REMOVING


def values(run, patients, snapshot="s", train=("t",)):
    measured = {patient: {"balanced_accuracy": value} for patient, value in patients.items()}
    models = {name: {"per_patient": measured} for name in ("supervised", "round_000", "round_001")}
    sides = {"train": list(train), "validation": ["v"], "test": sorted(patients), "disjoint": True}
    return {
        "run": run,
        "snapshot": snapshot,
        "best_round": "round_001",
        "models": models,
        "patients": sides,
    }


def test_the_first_run_has_none_before_it(tmp_path):
    assert run_before(str(tmp_path), "a") is None
    assert compare(values("a", {"p": 0.9}), None) is None


def test_only_patients_of_both_count(tmp_path):
    remember(str(tmp_path), values("a", {"p": 0.8, "q": 0.6}))
    found = compare(values("b", {"p": 0.9, "r": 0.1}, "other"), run_before(str(tmp_path), "b"))
    assert found["run"] == "a"
    assert (found["common_patients"], found["same_volumes"]) == (1, False)
    assert found["models"]["published"] == {"before": 0.8, "now": 0.9}


def test_a_repeated_run_has_the_same_before(tmp_path):
    for run in ("a", "b", "c", "b"):
        remember(str(tmp_path), values(run, {"p": 0.8}))
    assert run_before(str(tmp_path), "b")["run"] == "a"
    assert run_before(str(tmp_path), "a") is None
    assert run_before(str(tmp_path), "new")["run"] == "c"


def test_without_a_common_patient_there_is_no_mean(tmp_path):
    remember(str(tmp_path), values("a", {"p": 0.8}))
    found = compare(values("b", {"q": 0.9}), run_before(str(tmp_path), "b"))
    assert found["common_patients"] == 0
    assert found["models"]["supervised"] == {"before": None, "now": None}


@pytest.mark.parametrize("side", ["train", "test"])
def test_what_is_of_a_forgotten_patient_goes_again(tmp_path, side):
    """Whoever they were to that run: its models learnt from them, or its measurements are of them."""
    storage.create(f"{tmp_path}/forgotten/q", REMOVING)
    remember(str(tmp_path), values("a", {"p": 0.8}))
    late = values("b", {"p": 0.8, "q": 0.6} if side == "test" else {"p": 0.8}, train=["q"])
    with pytest.raises(ForgottenError):
        remember(str(tmp_path), late)
    assert run_before(str(tmp_path), "new")["run"] == "a"


@pytest.mark.parametrize("left", [b"", b"[]", b"{}", b'{"run": "b", "snapshot": "s", "models": {}}'])
def test_measurements_that_are_damaged_are_named(tmp_path, left):
    remember(str(tmp_path), values("a", {"p": 0.8}))
    (tmp_path / "runs/0002.json").write_bytes(left)
    with pytest.raises(InputError, match=r"/runs/0002\.json: damaged; valid: the run again with that"):
        run_before(str(tmp_path), "b")
    (tmp_path / "runs/0002.json").unlink()
    assert run_before(str(tmp_path), "b")["run"] == "a"
