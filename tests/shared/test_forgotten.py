"""A forgotten patient leaves no trace in the state but the note that they are left out."""

import json
import os
from contextlib import suppress

import numpy as np
import pytest

from components.extract_planes.cells import new_cell
from components.shared import forgotten as module
from components.shared import storage
from components.shared.faults import ForgottenError, InputError
from components.shared.forgotten import LEASES, PATIENTS, forget, forgotten, require_remembered
from components.shared.lease import lease
from components.shared.planes import PlaneRow
from components.shared.png import encode_png
from components.shared.splits import Splits

GONE, STAYS = "3fa1-7c21e09b4d", "3fa1-0000000001"


def write_cell(uri, patient):
    row = PlaneRow(image=f"coronal/{patient}.png", label="coronal", patient=patient)
    with new_cell(uri) as cell:
        cell.add_planes([(encode_png(np.zeros((4, 4), np.uint8)), row)])
        cell.archive.writestr("passport.json", json.dumps({"patient": patient}))


def put(uri, value):
    text = value if isinstance(value, str) else json.dumps(value)
    assert storage.create(uri, text.encode())


@pytest.fixture
def state(tmp_path):
    uri = str(tmp_path / "state")
    for number, (name, patient) in enumerate((("a", GONE), ("b", STAYS)), 1):
        write_cell(f"{uri}/planes/{name}.zip", patient)
        put(f"{uri}/snapshots/{name}.json", [{"name": "x.nrrd", "patient": patient}])
        put(f"{uri}/run_{name}/run.json", {"sides": {patient: "train"}})
        put(f"{uri}/run_{name}/rounds/000/classifier.json", {"patients_seen": [patient]})
        put(f"{uri}/run_{name}/rounds/000/classifier.safetensors", "weights")
        put(f"{uri}/generators/{name}/generator.json", {"patients_seen": [patient]})
        put(f"{uri}/generators/000{number}.json", {"digest": name, "patients": [patient]})
    put(f"{uri}/gan/x/checkpoint.json", {})
    put(f"{uri}/splits/0001.csv", Splits({STAYS: 0}, {STAYS: "test"}).text())
    both = Splits({STAYS: 0, GONE: 1}, {STAYS: "test", GONE: "validation"})
    put(f"{uri}/splits/0002.csv", both.text())
    put(f"{uri}/pseudonym.key", "k" * 32)
    return uri


def test_what_descends_from_the_patient_goes_and_nothing_else(state):
    removed = forget(state, GONE)
    left = {found.name for found in storage.list_tree(state)}
    assert left == {
        f"forgotten/{GONE}",
        "planes/b.zip",
        "snapshots/b.json",
        "splits/0001.csv",
        "splits/0002.csv",
        "run_b/run.json",
        "run_b/rounds/000/classifier.json",
        "run_b/rounds/000/classifier.safetensors",
        "generators/b/generator.json",
        "generators/0002.json",
        "pseudonym.key",
    }
    assert "run_a/rounds/000/classifier.safetensors" in removed
    for found in storage.list_tree(state):
        if not found.name.startswith("forgotten/"):
            assert GONE.encode() not in storage.read_bytes(found.uri), found.name


def test_what_is_no_run_of_this_state_stays_whoever_it_names(state):
    others = {
        "artifacts/v2/augmentation/split/splits.csv": f"{GONE},0",
        "artifacts/v2/other/model.bin": "weights",
        "state-demo/pseudonym.key": "k" * 32,
        "state-demo/run_c/run.json": json.dumps({"sides": {GONE: "train"}}),
    }
    for name, text in others.items():
        put(f"{state}/{name}", text)
    forget(state, GONE)
    assert others.keys() <= {found.name for found in storage.list_tree(state)}


def test_nobody_else_changes_side(state):
    forget(state, GONE)
    left = Splits.parse(storage.read_bytes(f"{state}/splits/0002.csv").decode())
    assert left.sides == {STAYS: "test"}


def test_what_runs_measured_goes_entry_by_entry(state):
    for number, patient in enumerate((GONE, STAYS), 1):
        put(f"{state}/runs/000{number}.json", {"run": "run_b", "models": {"published": {patient: 0.9}}})
    assert "runs/0001.json" in forget(state, GONE)
    assert storage.exists(f"{state}/runs/0002.json")


def test_what_a_run_measured_goes_with_the_run(state):
    """Its test patients are named, those it was trained on are not; its models are gone."""
    for number, run in enumerate(("run_a", "run_b"), 1):
        put(f"{state}/runs/000{number}.json", {"run": run, "models": {"published": {STAYS: 0.9}}})
    assert "runs/0001.json" in forget(state, GONE)
    assert storage.exists(f"{state}/runs/0002.json")


@pytest.mark.parametrize(
    "name", ["planes/b.zip", "snapshots/b.json", "generators/0002.json", "runs/0001.json"]
)
@pytest.mark.parametrize("left", [b"", b"PK", b"[{}]", b"{", b"\xff"])
def test_what_is_damaged_keeps_nobody(state, name, left):
    """It may be anybody's, and is made anew."""
    storage.delete(f"{state}/{name}")
    assert storage.create(f"{state}/{name}", left)
    assert "planes/a.zip" in forget(state, GONE)
    assert forgotten(state) == {GONE} and not storage.exists(f"{state}/{name}")


@pytest.mark.parametrize("name", ["run_b/lease.json", "splits/0001.csv"])
def test_what_is_damaged_and_cannot_be_made_anew_is_named(state, name):
    storage.delete(f"{state}/{name}")
    put(f"{state}/{name}", "")
    with pytest.raises(InputError, match=r"(lease|0001)\.(json|csv): damaged.*; valid: "):
        forget(state, GONE)


def test_whom_nothing_names_costs_nobody_a_checkpoint(state):
    """A slip of the pen: they are left out, should they exist, and that is all."""
    put(f"{state}/gan/{PATIENTS}/x.json", [STAYS])
    put(f"{state}/gan/{LEASES}/x/lease.json", {"owner": "a", "renewed": 0.0, "host": "h", "process": 1})
    before = {found.name for found in storage.list_tree(state)}
    assert forget(state, "3fa1-00000000ff") == []
    assert {found.name for found in storage.list_tree(state)} == before | {"forgotten/3fa1-00000000ff"}
    assert "gan/x/checkpoint.json" in forget(state, GONE)


@pytest.mark.parametrize("named", [True, False])
def test_whom_a_gan_knows_by_a_start_from_elsewhere_takes_its_checkpoints_along(state, named):
    """Else nothing here names them; a GAN that says of nobody may be of anybody."""
    elsewhere = "3fa1-00000000ff"
    if named:
        put(f"{state}/gan/{PATIENTS}/x.json", [STAYS, elsewhere])
    assert "gan/x/checkpoint.json" in forget(state, elsewhere)


def test_what_others_remove_meanwhile_was_known(state, monkeypatch):
    """From the moment that removal begins, a stage of another run removes what names the patient as well."""
    begin = module._begin

    def begin_then_others(note):
        told = begin(note)
        with suppress(ForgottenError):
            require_remembered(state, [GONE])
        return told

    put(f"{state}/gan/{PATIENTS}/x.json", [STAYS])
    monkeypatch.setattr(module, "_begin", begin_then_others)
    assert "gan/x/checkpoint.json" in forget(state, GONE)


def test_the_pseudonym_of_a_session_is_refused(state):
    session = "3fa1-5e55105e55"
    put(f"{state}/snapshots/c.json", [{"name": "x.nrrd", "patient": STAYS, "session": session}])
    before = storage.list_tree(state)
    with pytest.raises(
        InputError, match=rf"={session}: a session's pseudonym; valid: its patient's, {STAYS}"
    ):
        forget(state, session)
    assert storage.list_tree(state) == before


def test_twice_is_once(state):
    forget(state, GONE)
    assert forget(state, GONE) == []
    assert forgotten(state) == {GONE}


def test_a_name_is_refused_and_nothing_is_removed(state):
    before = storage.list_tree(state)
    with pytest.raises(InputError, match="forget_patient=Doe, Jane: no pseudonym"):
        forget(state, "Doe, Jane")
    assert storage.list_tree(state) == before


def test_marks_of_finished_runs_go_and_checkpoints_only_the_first_time(state):
    put(f"{state}/finished/a.json", {"pipeline": "augmentation"})
    assert {"finished/a.json", "gan/x/checkpoint.json"} <= set(forget(state, GONE))
    put(f"{state}/gan/y/checkpoint.json", {})
    put(f"{state}/finished/b.json", {})
    assert forget(state, GONE) == []


def test_while_another_run_works_on_the_state_nothing_is_removed(state):
    held = lease(f"{state}/run_b", "another")
    before = len(storage.list_tree(state))
    with held, pytest.raises(InputError, match=r"run_b/lease\.json: held by run another"):
        forget(state, GONE)
    assert len(storage.list_tree(state)) == before + 2  # its lease, and the note that was taken back


@pytest.mark.parametrize("after", range(12))
def test_cut_off_anywhere_the_next_removes_the_rest(state, after, monkeypatch):
    real, done = storage.delete, []

    def delete(uri):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(uri)
        real(uri)

    monkeypatch.setattr(storage, "delete", delete)
    with suppress(KeyboardInterrupt):
        forget(state, GONE)
    monkeypatch.setattr(storage, "delete", real)
    forget(state, GONE)
    left = {found.name for found in storage.list_tree(state)}
    assert not {name for name in left if name.startswith(("run_a", "generators/a", "gan/"))}


def test_where_forgetting_is_refused_nobody_is_noted(state):
    with lease(f"{state}/run_b", "another"), pytest.raises(InputError):
        forget(state, GONE)
    assert forgotten(state) == set()


def test_what_a_run_under_way_wrote_of_the_patient_goes_again(state):
    """It cut their planes before they were forgotten, and gives them a side afterwards."""
    forget(state, GONE)
    both = Splits({STAYS: 0, GONE: 1}, {STAYS: "test", GONE: "train"})
    put(f"{state}/splits/0003.csv", both.text())
    put(f"{state}/late/run.json", {"sides": {GONE: "train"}})
    require_remembered(state, [STAYS])
    with pytest.raises(InputError, match=f"patients {GONE}: forgotten while this run was under way"):
        require_remembered(state, [STAYS, GONE])
    left = {found.name: storage.read_bytes(found.uri) for found in storage.list_tree(state)}
    assert not [name for name, data in left.items() if GONE.encode() in data or name.startswith("late")]


def test_what_killed_uploads_left_goes_too(state, tmp_path):
    old, young = (tmp_path / "state/planes" / f".x.zip.{digit * 32}.part" for digit in "01")
    for part in (old, young):
        part.write_bytes(b"half of a plane")
    os.utime(old, (0, 0))
    forget(state, GONE)
    assert (old.exists(), young.exists()) == (False, True)  # a living writer's stays
