"""The list of volumes that every cached stage depends on."""

import json
import shutil
from dataclasses import fields, replace

import pytest

from components.extract_planes.kept_planes import new_kept
from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import DONE, REMOVING, forgotten_scans
from components.shared.snapshots import (
    Source,
    VolumeEntry,
    check,
    list_entries,
    read_snapshot,
    require_unchanged,
)
from components.shared.splits import Splits
from components.snapshot_volumes.stage import snapshot
from tests.shared.damaged import DAMAGED
from tests.snapshot_volumes.scans import KEY, PATTERN, config, patients, write


def test_the_list_says_whose_each_volume_is(folder, tmp_path):
    entries = read_snapshot(str(tmp_path / "state"), snapshot(config(folder, tmp_path)))
    assert [entry.patient for entry in entries] == patients("a", "a", "b", "c")
    assert entries[1].session == KEY.of("session", "a_2024_02_01") != entries[0].session
    assert all(entry.size == (folder / entry.name).stat().st_size for entry in entries)


def test_the_digest_changes_exactly_when_a_name_or_a_content_does(folder, tmp_path):
    first = snapshot(config(folder, tmp_path))
    assert snapshot(config(folder, tmp_path)) == first
    (folder / "a_2024_01_01.nrrd").touch()
    (folder / "notes.txt").write_text("not a volume")
    assert snapshot(config(folder, tmp_path)) == first
    (folder / "c_2024_01_01.nrrd").rename(folder / "d_2024_01_01.nrrd")
    renamed = snapshot(config(folder, tmp_path))
    assert renamed != first
    (folder / "d_2024_01_01.nrrd").rename(folder / "c_2024_01_01.nrrd")
    assert snapshot(config(folder, tmp_path)) == first
    write(folder / "c_2024_01_01.nrrd", 9)
    assert snapshot(config(folder, tmp_path)) not in (first, renamed)


def test_a_glob_lists_what_it_matches(folder, tmp_path):
    digest = snapshot(config(folder / "[bc]_*.nrrd", tmp_path, minimum=2))
    assert [entry.patient for entry in read_snapshot(str(tmp_path / "state"), digest)] == patients("b", "c")


@pytest.mark.parametrize("name", ["scans [2024]", "scans*", "scans?"])
def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(folder, tmp_path, name):
    usual = read_snapshot(str(tmp_path / "state"), snapshot(config(folder, tmp_path)))
    place = folder.rename(tmp_path / name)
    for uri in (place, place.as_uri(), place / "*.nrrd"):
        entries = read_snapshot(str(tmp_path / "state"), snapshot(config(uri, tmp_path)))
        assert entries == usual
        require_unchanged(str(uri), entries)


def test_where_a_glob_matches_nothing_it_is_called_one(folder, tmp_path):
    words = r"^volumes_uri=.*: no volume there, its last part read as a glob of files; valid: a place"
    with pytest.raises(InputError, match=words):
        snapshot(config(folder.parent / "volumes [2024]", tmp_path))


def test_one_scan_under_two_patients_is_refused(folder, tmp_path):
    (folder / "d_2024_01_01.nrrd").write_bytes((folder / "a_2024_01_01.nrrd").read_bytes())
    with pytest.raises(InputError, match=r"d_2024_01_01\.nrrd: the same scan as a_2024_01_01\.nrrd"):
        snapshot(config(folder, tmp_path))


def test_a_copy_of_a_scan_under_its_patient_is_listed_once(folder, tmp_path):
    before = snapshot(config(folder, tmp_path))
    (folder / "a_2024_12_31.nrrd").write_bytes((folder / "a_2024_01_01.nrrd").read_bytes())
    assert snapshot(config(folder, tmp_path)) == before


def test_the_check_reads_no_volume_whole(folder, monkeypatch):
    monkeypatch.setattr(storage.local, "hash_file", lambda path: pytest.fail(f"{path} was read whole"))
    assert check(Source(volumes_uri=str(folder), patient_pattern=PATTERN)) == ({"a", "b", "c"}, [])


def test_a_file_that_is_no_volume_is_told_listed_and_not_counted(folder, tmp_path):
    (folder / "d_2024_01_01.nrrd").write_text("plain text")
    source = Source(volumes_uri=str(folder), patient_pattern=PATTERN)
    people, left_out = check(source)
    assert people == {"a", "b", "c"}
    assert [line.split(":")[:2] for line in left_out] == [["d_2024_01_01.nrrd", " first bytes"]]
    entries = read_snapshot(str(tmp_path / "state"), snapshot(config(folder, tmp_path)))
    assert [entry.name for entry in entries][-1] == "d_2024_01_01.nrrd"
    with pytest.raises(InputError, match=r"3 patients in 4 usable volumes; valid: .* at least 4 patients"):
        check(Source(volumes_uri=str(folder), patient_pattern=PATTERN, minimum_patients=4))


def test_a_link_that_leads_nowhere_is_told_and_listed_until_its_file_is_there(folder, tmp_path):
    """Archives leave such links where a volume was: it would be missing without a word."""
    for name in ("d_2024_01_01", "e_2024_01_01"):
        (folder / f"{name}.nrrd").symlink_to(tmp_path / f"{name}.nrrd")
    people, left_out = check(Source(volumes_uri=str(folder), patient_pattern=PATTERN))
    assert people == {"a", "b", "c"}
    assert left_out == [
        f"{name}_2024_01_01.nrrd: file: a link that leads nowhere; valid: a file that can be read"
        for name in "de"
    ]
    entries = read_snapshot(str(tmp_path / "state"), snapshot(config(folder, tmp_path)))
    assert [entry.size for entry in entries if entry.patient in patients("d", "e")] == [0, 0]
    require_unchanged(str(folder), entries)
    write(tmp_path / "d_2024_01_01.nrrd", 9)
    with pytest.raises(InputError, match=r"^d_2024_01_01\.nrrd: changed since the snapshot"):
        require_unchanged(str(folder), entries)


def test_what_a_store_refuses_is_raised_at_once(folder, monkeypatch):
    """It is nothing against a volume: said to be left out, it would stop a later stage."""

    def refused(uri, size):
        raise InputError(f"{uri}: this user has no permission; valid: a folder that it may use")

    monkeypatch.setattr(storage, "read_head", refused)
    source = Source(volumes_uri=str(folder), patient_pattern=PATTERN)
    for ask in (check, lambda source: list_entries(source, KEY)):
        with pytest.raises(InputError, match=r"a_2024_01_01\.nrrd: this user has no permission"):
            ask(source)


def test_a_detached_file_or_a_table_that_is_a_link_to_nowhere_is_not_there(folder, tmp_path):
    header = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspace: RAS\n"
    header += "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\ndata file: d.raw\n\n"
    (folder / "d_2024_01_01.nhdr").write_text(header)
    (folder / "d.raw").symlink_to("absent")
    _, (left_out,) = check(Source(volumes_uri=str(folder), patient_pattern=PATTERN))
    assert left_out.startswith("d_2024_01_01.nhdr: data file: (name).raw (not there); valid: ")
    (folder / "volumes.csv").symlink_to("absent")
    with pytest.raises(InputError, match=r"^volumes\.csv: file: a link that leads nowhere; valid: "):
        snapshot(config(folder, tmp_path))


def test_where_no_file_is_a_volume_the_first_says_why(tmp_path):
    (tmp_path / "a.nrrd").write_text("plain text")
    with pytest.raises(InputError, match=r"^a\.nrrd: first bytes"):
        check(Source(volumes_uri=str(tmp_path), patient_pattern=PATTERN))


def test_no_name_is_in_a_snapshot_but_the_objects(folder, tmp_path):
    digest = snapshot(config(folder, tmp_path))
    text = (tmp_path / "state/snapshots" / f"{digest}.json").read_text()
    for entry in read_snapshot(str(tmp_path / "state"), digest):
        text = text.replace(f'"{entry.name}"', "")
    assert "2024" not in text


def test_detached_data_is_content(folder, tmp_path):
    header = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspace: RAS\n"
    header += "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\ndata file: d.raw\n\n"
    (folder / "d_2024_01_01.nhdr").write_text(header)
    _, left_out = check(Source(volumes_uri=str(folder), patient_pattern=PATTERN))
    assert "d_2024_01_01.nhdr: data file: (name).raw" in left_out[0]
    (folder / "d.raw").write_bytes(bytes(8))
    first = snapshot(config(folder, tmp_path))
    (folder / "d.raw").write_bytes(b"1" + bytes(7))
    assert snapshot(config(folder, tmp_path)) != first


def test_too_few_volumes_or_patients_are_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"volumes_uri=.*empty: no volume there"):
        snapshot(config(tmp_path / "empty", tmp_path))
    with pytest.raises(InputError, match=r"volumes_uri=.*absent: no such folder"):
        snapshot(config(tmp_path / "absent", tmp_path))
    (folder / "c_2024_01_01.nrrd").unlink()
    with pytest.raises(InputError, match=r"2 patients in 3 usable volumes; valid: .* at least 3 patients"):
        snapshot(config(folder, tmp_path))


def test_an_unknown_digest_is_refused(tmp_path):
    with pytest.raises(InputError, match="snapshot_digest=0000"):
        read_snapshot(str(tmp_path), "0000")


@pytest.mark.parametrize("left", [*(each for each in DAMAGED if each != b"[]"), b"[{}]"])
def test_a_damaged_list_is_named_and_made_anew_once_it_is_gone(folder, tmp_path, left):
    digest = snapshot(config(folder, tmp_path))
    file = tmp_path / f"state/snapshots/{digest}.json"
    whole = file.read_bytes()
    file.write_bytes(left)
    with pytest.raises(InputError, match=rf"/{digest}\.json: damaged; valid: the run again with that object"):
        read_snapshot(str(tmp_path / "state"), digest)
    file.unlink()
    assert snapshot(config(folder, tmp_path)) == digest and file.read_bytes() == whole


@pytest.mark.parametrize("field", [field.name for field in fields(VolumeEntry)])
def test_a_list_whose_last_entry_lacks_a_field_is_named(folder, tmp_path, field):
    digest = snapshot(config(folder, tmp_path))
    file = tmp_path / f"state/snapshots/{digest}.json"
    listed = json.loads(file.read_text())
    del listed[-1][field]
    file.write_text(json.dumps(listed))
    with pytest.raises(InputError, match=rf"/{digest}\.json: damaged; valid: "):
        read_snapshot(str(tmp_path / "state"), digest)


@pytest.mark.parametrize(
    "left", [b"", b"patient,fold,split\na,0,te", b"\xff", b"patient,fold,split\na,9,test"]
)
def test_damaged_splits_are_named(folder, tmp_path, left):
    (tmp_path / "state/splits").mkdir(parents=True)
    (tmp_path / "state/splits/0001.csv").write_bytes(left)
    with pytest.raises(
        InputError, match=r"/splits/0001\.csv: damaged, .*; valid: a copy of what it was, or a new state_uri$"
    ):
        snapshot(config(folder, tmp_path))


def test_two_files_that_are_no_volumes_are_nobodys_scan(folder, tmp_path):
    for name in ("q_2024_01_01.nrrd", "r_2024_01_01.nrrd"):
        (folder / name).write_bytes(b"")
    listed = read_snapshot(str(tmp_path / "state"), snapshot(config(folder, tmp_path)))
    assert len([entry for entry in listed if entry.size == 0]) == 2


def test_forgotten_patients_are_left_out_and_do_not_count(folder, tmp_path):
    who, (gone, *_) = config(folder, tmp_path, minimum=2), patients("c")
    storage.create(f"{who.state_uri}/forgotten/{gone}", DONE)
    entries = read_snapshot(who.state_uri, snapshot(who))
    assert [entry.patient for entry in entries] == patients("a", "a", "b")
    with pytest.raises(InputError, match="2 patients in 3 usable volumes; valid: volumes of at least 3"):
        snapshot(config(folder, tmp_path))


def test_a_file_whose_name_was_corrected_is_theirs_when_they_are_forgotten(folder, tmp_path):
    """In one run: the state knows the scan as another's, and by planes alone what it shows."""
    who = config(folder, tmp_path, minimum=1)
    listed = {entry.patient: entry for entry in read_snapshot(who.state_uri, snapshot(who))}
    (gone,), (other, *_) = patients("c"), patients("a")
    digest = listed[other].digest
    with new_kept(f"{who.state_uri}/planes/{'1' * 32}.zip") as cell:
        told = {"patient": other, "file": digest, "voxels": "f" * 16}
        cell.archive.writestr("passport.json", json.dumps(told))
    name = listed[other].name
    (folder / name).rename(folder / "c_2025_05_05.nrrd")
    snapshot(replace(who, forget_patient=gone))
    assert storage.list_tree(f"{who.state_uri}/planes") == []
    assert forgotten_scans(who.state_uri) == {"f" * 16: gone}


def test_faulty_volumes_keep_nobody(folder, tmp_path):
    """One scan of two patients, which the run is refused for all the same; the next one ends it."""
    who, (gone, *_) = config(folder, tmp_path, minimum=1), patients("c")
    first = snapshot(who)
    shutil.copyfile(next(folder.glob("a_*.nrrd")), folder / "z_2024_01_01.nrrd")
    with new_kept(f"{who.state_uri}/planes/{'1' * 32}.zip") as cell:  # whose is told by a file that is there
        told = {"patient": gone, "file": "sha256:of nobody", "voxels": "f" * 16}
        cell.archive.writestr("passport.json", json.dumps(told))
    with pytest.raises(InputError, match="the same scan as"):
        snapshot(replace(who, forget_patient=gone))
    assert not storage.exists(f"{who.state_uri}/snapshots/{first}.json")
    assert storage.read_bytes(f"{who.state_uri}/forgotten/{gone}") == REMOVING
    with pytest.raises(InputError, match="the same scan as"):
        snapshot(who)  # which cannot tell either
    (folder / "z_2024_01_01.nrrd").unlink()
    snapshot(who)
    assert storage.read_bytes(f"{who.state_uri}/forgotten/{gone}") == DONE + b"\n" + b"f" * 16
    assert storage.list_tree(f"{who.state_uri}/planes") == []


def test_what_a_killed_run_left_of_a_forgotten_patient_goes_by_the_next_run(folder, tmp_path, capsys):
    """It need not be asked again: a schedule cannot ask."""
    who, (gone, *_) = config(folder, tmp_path, minimum=2), patients("c")
    first = snapshot(who)
    storage.create(f"{who.state_uri}/forgotten/{gone}", REMOVING)
    snapshot(who)
    assert not storage.exists(f"{who.state_uri}/snapshots/{first}.json")
    assert storage.read_bytes(f"{who.state_uri}/forgotten/{gone}") == DONE
    assert f"{gone}: what earlier runs left of them is removed" in capsys.readouterr().out


def test_another_key_is_refused_where_the_state_knows_patients(folder, tmp_path):
    """Under it who was forgotten would have another name, and come back."""
    wanted, state = config(folder, tmp_path), str(tmp_path / "state")
    (tmp_path / "other").write_bytes(b"another key of the tests")
    other = replace(wanted, pseudonym_key_uri=str(tmp_path / "other"))
    snapshot(wanted)
    snapshot(other)  # nobody has a side yet, and nobody is forgotten
    with pytest.raises(InputError, match=r"^forget_patient=.*named under key"):
        snapshot(replace(other, forget_patient=KEY.of("patient", "c")))
    assert storage.list_tree(f"{state}/forgotten") == []
    sides = Splits(dict.fromkeys(patients("a", "b"), 0), dict.fromkeys(patients("a", "b"), "test"))
    storage.create(f"{state}/splits/0001.csv", sides.text().encode())
    with pytest.raises(InputError, match=r"^state_uri=.*named under key.*valid: pseudonym_key_uri"):
        snapshot(other)
    storage.delete(f"{state}/splits/0001.csv")
    snapshot(replace(wanted, minimum_patients=2, forget_patient=KEY.of("patient", "c")))
    with pytest.raises(InputError, match=r"^state_uri=.*named under key"):
        snapshot(other)
