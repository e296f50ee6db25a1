"""A forgotten patient leaves no trace in the state but the note that they are left out."""

import json
import os
import shutil
from contextlib import suppress

import numpy as np
import pytest

from components.extract_planes.cells import new_cell
from components.shared import forgotten as forgets
from components.shared import storage
from components.shared.descendants import LEASES, SEEN
from components.shared.faults import ForgottenError, InputError
from components.shared.forgotten import (
    REMOVING,
    finish_forgetting,
    forget,
    forgotten,
    forgotten_scans,
    require_remembered,
)
from components.shared.lease import lease
from components.shared.planes import PlaneRow
from components.shared.png import encode_png
from components.shared.splits import Splits

FREE = {"owner": "a", "renewed": 0.0, "host": "h", "process": 1, "machine": "m", "boot": "b"}
SCANS = {name: name * 16 for name in "ab"}  # by the hash of what they show
B32, B64 = "b" * 32, "b" * 64
GONE, STAYS = "3fa1-7c21e09b4d", "3fa1-0000000001"


def write_cell(uri, patient, scan, file):
    row = PlaneRow(image=f"coronal/{patient}.png", label="coronal", patient=patient)
    with new_cell(uri) as cell:
        cell.add_planes([(encode_png(np.zeros((4, 4), np.uint8)), row)])
        cell.archive.writestr("passport.json", json.dumps({"patient": patient, "voxels": scan, "file": file}))


def put(uri, value):
    text = value if isinstance(value, str) else json.dumps(value)
    assert storage.create(uri, text.encode())


@pytest.fixture
def state(tmp_path):
    uri = str(tmp_path / "state")
    for number, (name, patient) in enumerate((("a", GONE), ("b", STAYS)), 1):
        seen = {"patients_seen": [patient], "scans_seen": [SCANS[name]]}
        write_cell(f"{uri}/planes/{name * 32}.zip", patient, SCANS[name], f"sha256:{name}")
        listed = {"name": "x.nrrd", "patient": patient, "session": f"s {name}", "digest": f"sha256:{name}"}
        put(f"{uri}/snapshots/{name * 64}.json", [listed])
        put(f"{uri}/finished/{name * 24}.json", {"snapshot_digest": name * 64})
        put(f"{uri}/run_{name}/run.json", {"sides": {patient: "train"}})
        put(f"{uri}/run_{name}/rounds/000/classifier.json", seen)
        put(f"{uri}/run_{name}/rounds/000/classifier.safetensors", "weights")
        put(f"{uri}/generators/{name}/generator.json", seen)
        put(f"{uri}/generators/{name}/generator.safetensors", "weights")
        entry = {"digest": name, "patients": [patient], "snapshot_digest": "c" * 64}
        put(f"{uri}/generators/000{number}.json", entry)
        put(f"{uri}/gan/{SEEN}/{name}.json", seen)
        put(f"{uri}/gan/{LEASES}/{name}/lease.json", FREE)
        put(f"{uri}/gan/{name}/checkpoint.json", {})
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
        f"planes/{B32}.zip",
        f"snapshots/{B64}.json",
        f"finished/{'b' * 24}.json",
        "gan/b/checkpoint.json",
        f"gan/{SEEN}/b.json",
        *(f"gan/{LEASES}/{name}/lease.json" for name in "ab"),
        "splits/0001.csv",
        "splits/0002.csv",
        "run_b/run.json",
        "run_b/rounds/000/classifier.json",
        "run_b/rounds/000/classifier.safetensors",
        "generators/b/generator.json",
        "generators/b/generator.safetensors",
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
    "name", [f"planes/{B32}.zip", f"snapshots/{B64}.json", "generators/0002.json", "runs/0001.json"]
)
@pytest.mark.parametrize("left", [b"", b"PK", b"[{}]", b"{", b"\xff"])
def test_what_is_damaged_keeps_nobody(state, name, left):
    """It may be anybody's, and is made anew."""
    storage.delete(f"{state}/{name}")
    assert storage.create(f"{state}/{name}", left)
    assert f"planes/{'a' * 32}.zip" in forget(state, GONE)
    assert forgotten(state) == {GONE} and not storage.exists(f"{state}/{name}")


@pytest.mark.parametrize("name", ["run_b/lease.json", "splits/0001.csv"])
def test_what_is_damaged_and_cannot_be_made_anew_is_named(state, name):
    storage.delete(f"{state}/{name}")
    put(f"{state}/{name}", "")
    with pytest.raises(InputError, match=r"(lease|0001)\.(json|csv): damaged.*; valid: "):
        forget(state, GONE)


FOREIGN = ("planes/README.txt", "snapshots/copy.json", "runs/notes/a.json", "generators/list.txt")


def test_whom_nothing_names_costs_nobody_anything(state):
    """A slip of the pen: they are left out, should they exist, and that is all."""
    for name in FOREIGN:
        put(f"{state}/{name}", "of somebody else")
    put(f"{state}/runs/0001.json", {"run": "removed by hand", "patients": [STAYS]})
    before = {found.name for found in storage.list_tree(state)}
    assert forget(state, "3fa1-00000000ff") == []
    assert {found.name for found in storage.list_tree(state)} == before | {"forgotten/3fa1-00000000ff"}
    assert set(forget(state, GONE)).isdisjoint(FOREIGN)


def test_whom_a_gan_knows_by_a_start_from_elsewhere_takes_its_checkpoints_along(state):
    """Else nothing here names them."""
    elsewhere = "3fa1-00000000ff"
    put(f"{state}/gan/{SEEN}/c.json", {"patients_seen": [STAYS, elsewhere], "scans_seen": []})
    put(f"{state}/gan/c/checkpoint.json", {})
    assert forget(state, elsewhere) == ["gan/c/checkpoint.json", f"gan/{SEEN}/c.json"]


def test_a_generator_that_saw_others_alone_is_found_again(state):
    """Its snapshot lists the patient, whom it was not trained on."""
    storage.delete(f"{state}/generators/0002.json")
    put(f"{state}/generators/0002.json", {"digest": "b", "patients": [STAYS], "snapshot_digest": "a" * 64})
    forget(state, GONE)
    assert {"generators/0002.json", "generators/b/generator.safetensors"} <= objects(state)


def listing(state, name, *scans):
    entries = [{"patient": who, "session": "s", "digest": digest} for who, digest in scans]
    put(f"{state}/snapshots/{name * 64}.json", entries)


@pytest.mark.parametrize("digest", ["sha256:empty", "nowhere:", ""])
def test_an_equal_file_of_two_patients_is_nobodys_scan(state, digest):
    """An upload that failed twice, a link that leads nowhere: nothing learnt from them."""
    listing(state, "c", (STAYS, digest))
    listing(state, "d", (GONE, digest))
    for name, patient in (("c", STAYS), ("d", GONE)):
        write_cell(f"{state}/planes/{name * 32}.zip", patient, "", digest)
    put(f"{state}/run_c/run.json", {"snapshot_digest": "c" * 64})
    forget(state, GONE)
    assert {"run_c/run.json", f"snapshots/{'c' * 64}.json"} <= objects(state)


def test_a_refused_volume_marks_nothing(state):
    for name, patient in (("c", STAYS), ("d", GONE)):
        write_cell(f"{state}/planes/{name * 32}.zip", patient, "", "nowhere:")
    put(f"{state}/run_c/run.json", {"scans_seen": [""]})
    forget(state, GONE)
    assert {"run_c/run.json", f"planes/{'c' * 32}.zip"} <= objects(state)


def test_a_scan_that_comes_again_under_another_name_is_theirs(state):
    """What a run under way had read before goes too, and so does what it learnt from it."""
    forget(state, GONE)
    write_cell(f"{state}/planes/{'e' * 32}.zip", STAYS, SCANS["a"], "etag:a")
    put(f"{state}/late/rounds/000/classifier.json", {"patients_seen": [STAYS], "scans_seen": [SCANS["a"]]})
    put(f"{state}/late/run.json", {"sides": {STAYS: "train"}})
    require_remembered(state, [STAYS], [SCANS["b"]])
    assert forgotten_scans(state) == {SCANS["a"]: GONE}
    with pytest.raises(ForgottenError, match=f"patients {GONE}: forgotten while this run was under way"):
        require_remembered(state, [STAYS], [SCANS["a"]])
    assert not [name for name in objects(state) if name.startswith(("late", "planes/e"))]


@pytest.mark.parametrize("seen", [None, "", "{", "[]"])
def test_a_gan_that_does_not_say_of_whom_it_is_may_be_of_anybody(state, seen):
    storage.delete(f"{state}/gan/{SEEN}/b.json")
    if seen is not None:
        put(f"{state}/gan/{SEEN}/b.json", seen)
    assert "gan/b/checkpoint.json" in forget(state, GONE)


def test_a_generator_whose_keeping_was_cut_off_may_be_of_anybody(state):
    put(f"{state}/generators/{'c' * 64}/generator.safetensors", "weights")
    assert f"generators/{'c' * 64}/generator.safetensors" in forget(state, GONE)


def move(state):
    """List a scan of STAYS, which planes and models have learnt from, as GONE's, and cut it again."""
    listed = {"name": "x.nrrd", "patient": GONE, "session": "s", "digest": "sha256:b"}
    put(f"{state}/snapshots/{'0' * 64}.json", [listed])
    write_cell(f"{state}/planes/{'0' * 32}.zip", GONE, SCANS["b"], "sha256:b")
    put(f"{state}/study/run.json", {"snapshot_digest": B64, "sides": {STAYS: "test"}})
    put(f"{state}/run_b/rounds/001/classifier.json", {"scans_seen": [SCANS["b"]]})
    put(f"{state}/run_d/run.json", {"sides": {STAYS: "train"}})


def test_a_name_that_is_corrected_and_forgotten_at_once(state):
    """No run came between: the state knows the scan under the wrong name alone."""
    forget(state, GONE, {"sha256:a": GONE, "sha256:b": GONE})
    assert set(forgotten_scans(state)) == set(SCANS.values())
    left = objects(state)
    assert not {name for name in left if name.startswith(("run_", "planes/", "snapshots/", "generators/"))}
    assert "gan/b/checkpoint.json" not in left


def test_a_scan_that_was_theirs_by_mistake_stays_its_owners(state):
    write_cell(f"{state}/planes/{'c' * 32}.zip", STAYS, SCANS["a"], "sha256:a")
    put(f"{state}/run_c/run.json", {"scans_seen": [SCANS["a"]]})
    assert f"planes/{'a' * 32}.zip" in forget(state, GONE, {"sha256:a": STAYS, "sha256:b": STAYS})
    assert forgotten_scans(state) == {}
    assert {f"planes/{'c' * 32}.zip", "run_c/run.json"} <= objects(state)


def test_of_one_scan_in_two_files_who_has_one_now_is_the_owner(state, capsys):
    """Corrected and written anew: the file that was kept as the patient's is gone."""
    write_cell(f"{state}/planes/{'c' * 32}.zip", STAYS, SCANS["a"], "sha256:in another encoding")
    forget(state, GONE, {"sha256:in another encoding": STAYS, "sha256:b": STAYS})
    assert forgotten_scans(state) == {}
    assert {f"planes/{'c' * 32}.zip"} <= objects(state)
    assert f"{GONE}: {STAYS}: theirs are scans now that were kept as the forgotten" in capsys.readouterr().out


def test_who_was_listed_and_is_another_now_is_told(state, capsys):
    """Their name was corrected before any plane was cut."""
    storage.delete(f"{state}/planes/{'a' * 32}.zip")
    forget(state, GONE, {"sha256:a": STAYS})
    assert f"{GONE}: {STAYS}: theirs are scans now" in capsys.readouterr().out


def test_a_stage_that_sees_them_forgotten_takes_nothing_from_who_forgets(state):
    """Their planes alone tell which scans are theirs: a stage asks while that is being found out."""
    put(f"{state}/forgotten/{GONE}", REMOVING.decode())
    put(f"{state}/late/run.json", {"sides": {GONE: "train"}})
    with pytest.raises(ForgottenError):
        require_remembered(state, [GONE])
    assert "late/run.json" not in objects(state) and f"planes/{'a' * 32}.zip" in objects(state)
    assert finish_forgetting(state) == [GONE]
    assert forgotten_scans(state) == {SCANS["a"]: GONE} and f"planes/{'a' * 32}.zip" not in objects(state)


def test_what_learnt_from_a_scan_under_a_wrong_name_goes_as_well(state):
    """volumes.csv was corrected, and then the patient whom it names now is forgotten."""
    move(state)
    forget(state, GONE)
    left = {found.name for found in storage.list_tree(state)}
    assert not {f"planes/{B32}.zip", f"snapshots/{B64}.json", f"finished/{'b' * 24}.json"} & left
    assert not {name for name in left if name.startswith(("run_b", "study", "generators/", "gan/b/"))}
    assert "run_d/run.json" in left  # knows STAYS by other scans
    assert Splits.parse(storage.read_bytes(f"{state}/splits/0002.csv").decode()).sides == {STAYS: "test"}


def test_the_pseudonym_of_a_session_is_refused(state):
    session = "3fa1-5e55105e55"
    put(
        f"{state}/snapshots/{'c' * 64}.json",
        [{"name": "x.nrrd", "patient": STAYS, "session": session, "digest": "d"}],
    )
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


def test_while_another_run_works_on_the_state_nothing_is_removed(state):
    held = lease(f"{state}/run_b", "another")
    before = len(storage.list_tree(state))
    with held, pytest.raises(InputError, match=r"run_b/lease\.json: held by run another"):
        forget(state, GONE)
    assert len(storage.list_tree(state)) == before + 2  # its lease, and the note that was taken back


REMOVALS = 26


def dying(after):
    """Return what removes as many objects, and dies in the place of the next."""
    real, done = storage.delete, []

    def delete(uri):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(uri)
        real(uri)

    return delete


def cut_off(state, after, monkeypatch):
    """Forget, and die in the place of a removal."""
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(storage, "delete", dying(after))
        forget(state, GONE)


def objects(state):
    return {found.name for found in storage.list_tree(state)}


@pytest.mark.parametrize("again", [lambda state: forget(state, GONE), finish_forgetting])
@pytest.mark.parametrize("after", range(REMOVALS + 1))
def test_cut_off_anywhere_the_next_removes_the_rest(state, tmp_path, after, again, monkeypatch):
    move(state)
    whole = shutil.copytree(state, tmp_path / "whole")
    assert len(forget(str(whole), GONE)) == REMOVALS
    cut_off(state, after, monkeypatch)
    again(state)
    assert objects(state) == objects(str(whole))
    assert storage.read_bytes(f"{state}/forgotten/{GONE}") == f"done\n{SCANS['a']}\n{SCANS['b']}".encode()


def test_only_what_began_is_gone_on_with(state):
    for patient, told in ((STAYS, b""), ("3fa1-0000000002", b"taken back"), ("3fa1-0000000003", b"done")):
        storage.create(f"{state}/forgotten/{patient}", told)
    before = objects(state)
    assert finish_forgetting(state) == []
    storage.create(f"{state}/forgotten/{GONE}", REMOVING)
    assert finish_forgetting(state) == [GONE]
    assert f"planes/{'a' * 32}.zip" in before - objects(state)


def late(state):
    put(f"{state}/late/run.json", {"sides": {GONE: "train"}})
    put(f"{state}/late/rounds/000/classifier.safetensors", "weights")


@pytest.mark.parametrize(
    "asks", [lambda state: forget(state, GONE), lambda state: require_remembered(state, [GONE])]
)
@pytest.mark.parametrize("after", range(2))
def test_cut_off_as_it_removes_once_more_the_next_run_ends_it(state, after, asks, monkeypatch):
    forget(state, GONE)
    late(state)
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(storage, "delete", dying(after))
        asks(state)
    assert "late/run.json" in objects(state)
    finish_forgetting(state)
    assert not [name for name in objects(state) if name.startswith("late")]


def test_an_attempt_that_was_killed_as_it_asked_does_not_stop_others_for_good(state):
    """Tried again beside a live run it is refused, and takes its note back."""
    put(f"{state}/forgotten/{GONE}", "")
    with lease(f"{state}/run_b", "another"), pytest.raises(InputError, match="held by run another"):
        forget(state, GONE)
    require_remembered(state, [GONE])
    assert forgotten(state) == set()


@pytest.mark.parametrize("note", ["taken back\n", "done\n", "removing\n\n", "done\n\xff"])
def test_a_note_that_a_hand_wrote_is_read(state, note):
    assert storage.create(f"{state}/forgotten/{GONE}", note.encode("latin-1"))
    assert "" not in forgotten_scans(state)
    forget(state, GONE)
    assert forgotten(state) == {GONE}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generators/0001.json", {"digest": [1], "patients": None}),
        ("runs/0001.json", {"run": [1]}),
        (f"snapshots/{'a' * 64}.json", [{"patient": [1], "session": {}, "digest": [2]}]),
    ],
)
def test_json_of_another_shape_blocks_nobody(state, name, value):
    storage.delete(f"{state}/{name}")
    put(f"{state}/{name}", value)
    forget(state, GONE)
    assert forgotten(state) == {GONE}


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


def tell(state, word):
    note = f"{state}/forgotten/{GONE}"
    assert storage.replace(note, word, storage.read_versioned(note)[1])


def test_whom_another_run_that_was_refused_takes_back_meanwhile_nobody_begins_with(state, monkeypatch):
    monkeypatch.setattr(forgets, "_require_idle", lambda _: tell(state, b"taken back"))
    before = objects(state)
    with pytest.raises(InputError, match="another run that asked was refused meanwhile"):
        forget(state, GONE)
    assert objects(state) == before | {f"forgotten/{GONE}"} and forgotten(state) == set()


def test_who_is_stopped_as_it_asks_takes_its_note_back(state, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(forgets, "_require_idle", stop)
    with pytest.raises(KeyboardInterrupt):
        forget(state, GONE)
    assert storage.read_bytes(f"{state}/forgotten/{GONE}") == b"taken back"


@pytest.mark.parametrize(("answer", "gone"), [(b"taken back", set()), (REMOVING, {GONE})])
def test_a_stage_waits_for_the_answer_to_who_asks(state, answer, gone, monkeypatch):
    put(f"{state}/forgotten/{GONE}", "")
    monkeypatch.setattr(forgets.time, "sleep", lambda _: tell(state, answer))
    assert forgotten(state) == gone
