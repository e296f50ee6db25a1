"""Forgetting is asked for, refused, cut off and gone on with; a note says how far it is."""

import shutil
from contextlib import suppress

import pytest

from components.shared import forgotten as forgets
from components.shared import storage
from components.shared.descendants import LEASES
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
from components.shared.splits import Splits
from tests.shared.two_patients import GONE, SCANS, STAYS, move, objects, put


def test_a_stage_that_sees_them_forgotten_takes_nothing_from_who_forgets(state):
    """Their planes alone tell which scans are theirs: a stage asks while that is being found out."""
    put(f"{state}/forgotten/{GONE}", REMOVING.decode())
    put(f"{state}/late/run.json", {"sides": {GONE: "train"}})
    with pytest.raises(ForgottenError):
        require_remembered(state, [GONE])
    assert "late/run.json" not in objects(state) and f"planes/{'a' * 32}.zip" in objects(state)
    assert finish_forgetting(state) == [GONE]
    assert forgotten_scans(state) == {SCANS["a"]: GONE} and f"planes/{'a' * 32}.zip" not in objects(state)


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


def test_while_a_gan_is_trained_for_another_run_nothing_is_removed(state):
    before = objects(state)
    held = lease(f"{state}/gan/{LEASES}/b", "another")
    with held, pytest.raises(InputError, match=r"leases/b/lease\.json: held by run another"):
        forget(state, GONE)
    assert objects(state) == before | {f"forgotten/{GONE}"} and forgotten(state) == set()


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


@pytest.mark.parametrize("after", range(5))
def test_cut_off_in_a_run_with_a_strangers_table_the_next_removes_the_rest(state, after, monkeypatch):
    """Its record, by which alone it is a run then, goes last."""
    put(f"{state}/run_a/table.csv", f"patient\n{GONE}\n")
    cut_off(state, after, monkeypatch)
    forget(state, GONE)
    assert not [name for name in objects(state) if name.startswith("run_a/")]


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
    put(f"{state}/late/rounds/000/classifier-00.safetensors", "weights")


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


def test_splits_that_are_written_at_this_moment_lose_them_all_the_same(state, monkeypatch):
    real = storage.replace

    def replace(uri, data, generation):
        if uri.endswith("0002.csv"):
            monkeypatch.setattr(storage, "replace", real)
            assert real(uri, storage.read_bytes(uri), generation)  # another is first, this once
        return real(uri, data, generation)

    monkeypatch.setattr(storage, "replace", replace)
    forget(state, GONE)
    assert GONE.encode() not in storage.read_bytes(f"{state}/splits/0002.csv")


def test_scans_that_another_run_finds_at_this_moment_stay_known(state, monkeypatch):
    real, more = forgets.descent, "f" * 16

    def descent(*given):
        found = real(*given)
        tell(state, b"removing\n" + more.encode())
        return found

    monkeypatch.setattr(forgets, "descent", descent)
    forget(state, GONE)
    assert set(forgotten_scans(state)) == {SCANS["a"], more}


def test_an_empty_file_that_keeps_the_folder_is_nobody_to_wait_for(state, monkeypatch):
    put(f"{state}/forgotten/.gitkeep", "")
    monkeypatch.setattr(forgets, "_WAITS", 0)
    assert forgotten(state) == set()
