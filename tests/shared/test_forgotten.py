"""A forgotten patient leaves no trace in the state but the note that they are left out."""

import json
import os

import pytest

from components.shared import storage
from components.shared.descendants import LEASES, SEEN
from components.shared.faults import ForgottenError, InputError
from components.shared.forgotten import (
    forget,
    forgotten,
    forgotten_scans,
    require_remembered,
)
from components.shared.splits import Splits
from tests.shared.two_patients import B32, B64, GONE, SCANS, STAYS, move, objects, put, write_kept


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
        "run_b/rounds/000/classifier-00.safetensors",
        "generators/b/generator.json",
        "generators/b/generator.safetensors",
        "generators/0002.json",
        "pseudonym.key",
    }
    assert "run_a/rounds/000/classifier-00.safetensors" in removed
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


def test_a_run_that_names_them_in_a_table_alone_goes(state):
    put(f"{state}/run_c/run.json", {"seed": 0})
    put(f"{state}/run_c/rounds/000/scored.csv", f"image,patient\na.png,{GONE}\n")
    forget(state, GONE)
    assert not [name for name in objects(state) if name.startswith("run_c/")]


@pytest.mark.parametrize(
    "kept",
    [
        "cells/a.json",
        "expert_labels.csv",
        "history.csv",
        "published/a.json",
        "report/a.json",
        "synthetic/a.csv",
    ],
)
def test_what_is_left_of_a_run_without_its_record_goes(state, kept):
    put(f"{state}/run_c/{kept}", {"patients_seen": [GONE]})
    assert f"run_c/{kept}" in forget(state, GONE)


def test_an_entry_goes_whose_generator_somebody_removed(state):
    put(f"{state}/generators/0003.json", {"digest": "d", "patients": [GONE], "snapshot_digest": B64})
    assert "generators/0003.json" in forget(state, GONE)


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


def test_a_damaged_list_costs_no_run_that_was_of_it(state):
    storage.delete(f"{state}/snapshots/{B64}.json")
    put(f"{state}/snapshots/{B64}.json", "{")
    put(f"{state}/run_c/run.json", {"snapshot_digest": B64, "sides": {STAYS: "train"}})
    assert f"snapshots/{B64}.json" in forget(state, GONE)
    assert {"run_c/run.json", f"finished/{'b' * 24}.json"} <= objects(state)


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
        write_kept(f"{state}/planes/{name * 32}.zip", patient, "", digest)
    put(f"{state}/run_c/run.json", {"snapshot_digest": "c" * 64})
    forget(state, GONE)
    assert {"run_c/run.json", f"snapshots/{'c' * 64}.json"} <= objects(state)


def test_a_refused_volume_marks_nothing(state):
    for name, patient in (("c", STAYS), ("d", GONE)):
        write_kept(f"{state}/planes/{name * 32}.zip", patient, "", "nowhere:")
    put(f"{state}/run_c/run.json", {"scans_seen": [""]})
    forget(state, GONE)
    assert {"run_c/run.json", f"planes/{'c' * 32}.zip"} <= objects(state)


def test_a_scan_that_comes_again_under_another_name_is_theirs(state):
    """What a run under way had read before goes too, and so does what it learnt from it."""
    forget(state, GONE)
    write_kept(f"{state}/planes/{'e' * 32}.zip", STAYS, SCANS["a"], "etag:a")
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


def test_a_generator_that_saw_others_stays(state):
    """Its folder is called by the hash of its weights, as that of one that says nothing."""
    kept = {f"generators/{'c' * 64}/generator.{ending}" for ending in ("json", "safetensors")}
    for name in kept:
        put(f"{state}/{name}", {"patients_seen": [STAYS], "scans_seen": [SCANS["b"]]})
    forget(state, GONE)
    assert kept <= objects(state)


def test_a_generator_whose_keeping_was_cut_off_may_be_of_anybody(state):
    put(f"{state}/generators/{'c' * 64}/generator.safetensors", "weights")
    assert f"generators/{'c' * 64}/generator.safetensors" in forget(state, GONE)


def test_a_name_that_is_corrected_and_forgotten_at_once(state):
    """No run came between: the state knows the scan under the wrong name alone."""
    forget(state, GONE, {"sha256:a": GONE, "sha256:b": GONE})
    assert set(forgotten_scans(state)) == set(SCANS.values())
    left = objects(state)
    assert not {name for name in left if name.startswith(("run_", "planes/", "snapshots/", "generators/"))}
    assert "gan/b/checkpoint.json" not in left


def test_a_scan_that_was_theirs_by_mistake_stays_its_owners(state):
    write_kept(f"{state}/planes/{'c' * 32}.zip", STAYS, SCANS["a"], "sha256:a")
    put(f"{state}/run_c/run.json", {"scans_seen": [SCANS["a"]]})
    assert f"planes/{'a' * 32}.zip" in forget(state, GONE, {"sha256:a": STAYS, "sha256:b": STAYS})
    assert forgotten_scans(state) == {}
    assert {f"planes/{'c' * 32}.zip", "run_c/run.json"} <= objects(state)


def test_of_one_scan_in_two_files_who_has_one_now_is_the_owner(state, capsys):
    """Corrected and written anew: the file that was kept as the patient's is gone."""
    write_kept(f"{state}/planes/{'c' * 32}.zip", STAYS, SCANS["a"], "sha256:in another encoding")
    forget(state, GONE, {"sha256:in another encoding": STAYS, "sha256:b": STAYS})
    assert forgotten_scans(state) == {}
    assert {f"planes/{'c' * 32}.zip"} <= objects(state)
    assert f"{GONE}: {STAYS}: theirs are scans now that were kept as the forgotten" in capsys.readouterr().out


def test_who_was_listed_and_is_another_now_is_told(state, capsys):
    """Their name was corrected before any plane was cut."""
    storage.delete(f"{state}/planes/{'a' * 32}.zip")
    forget(state, GONE, {"sha256:a": STAYS})
    assert f"{GONE}: {STAYS}: theirs are scans now" in capsys.readouterr().out


def test_what_learnt_from_a_scan_under_a_wrong_name_goes_as_well(state):
    """volumes.csv was corrected, and then the patient whom it names now is forgotten."""
    move(state)
    forget(state, GONE)
    left = {found.name for found in storage.list_tree(state)}
    assert not {f"planes/{B32}.zip", f"snapshots/{B64}.json", f"finished/{'b' * 24}.json"} & left
    assert not {name for name in left if name.startswith(("run_b", "study", "generators/", "gan/b/"))}
    assert "run_d/run.json" in left  # knows STAYS by other scans
    assert Splits.parse(storage.read_bytes(f"{state}/splits/0002.csv").decode()).sides == {STAYS: "test"}


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


def test_what_killed_uploads_left_goes_too(state, tmp_path):
    old, young = (tmp_path / "state/planes" / f".x.zip.{digit * 32}.part" for digit in "01")
    for part in (old, young):
        part.write_bytes(b"half of a plane")
    os.utime(old, (0, 0))
    forget(state, GONE)
    assert (old.exists(), young.exists()) == (False, True)  # a living writer's stays
