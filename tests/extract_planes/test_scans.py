"""A scan is known by what it shows, and one of a forgotten patient is left out whatever it is called."""

import pytest

from components.extract_planes.stage import extract_planes, extract_shard
from components.shared import passports, storage
from components.shared.faults import ForgottenError
from components.shared.forgotten import forget, forgotten_scans
from components.shared.phantom import simulate_patients
from components.shared.planes import PlaneSet
from tests.extract_planes.test_stage import configured, copied, pseudonym, write_again


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=3, size=48)
    return folder


def test_a_scan_is_told_by_what_it_shows(volumes, tmp_path):
    """Under another patient's name and in another encoding it is the one that models have seen."""
    extract_planes(configured(volumes, tmp_path / "state"), tmp_path / "first")
    first = PlaneSet.open(tmp_path / "first")
    for path in volumes.glob("*.nrrd"):
        write_again(path, tmp_path / f"other_{path.name}")
    extract_planes(configured(tmp_path, tmp_path / "state"), tmp_path / "set")
    again = PlaneSet.open(tmp_path / "set")
    assert again.seen.scans == first.seen.scans and len(again.seen.scans) == 4
    assert not again.seen.patients & first.seen.patients
    assert {row.scan for row in again.rows} == again.seen.scans


def test_two_files_that_cannot_be_read_are_not_one_scan_of_two_patients(volumes, tmp_path):
    place = copied(volumes, tmp_path / "volumes")
    for name in ("sim08_2024_01_01.nrrd", "sim09_2024_01_01.nrrd"):
        (place / name).write_text(f"no volume, {name}")
    extract_planes(configured(place, tmp_path / "state"), tmp_path / "set")
    found = passports.read(tmp_path / "set/passports.json")
    refused = {each.patient for each in found if each.verdict == passports.REFUSE}
    assert refused == {pseudonym("patient", "sim08"), pseudonym("patient", "sim09")}


def test_a_scan_of_a_forgotten_patient_is_left_out_under_any_name(volumes, tmp_path, capsys):
    place, state = copied(volumes, tmp_path / "volumes"), tmp_path / "state"
    gone = pseudonym("patient", "sim02")
    extract_planes(configured(place, state), tmp_path / "before")
    assert forget(str(state), gone)
    shown = {row.scan for row in PlaneSet.open(tmp_path / "before").rows if row.patient == gone}
    assert set(forgotten_scans(str(state))) == shown
    for path in place.glob("sim02*"):
        write_again(path, place / path.name.replace("sim02", "sim09"))
    extract_planes(configured(place, state), tmp_path / "after")
    after = PlaneSet.open(tmp_path / "after")
    assert shown.isdisjoint(after.seen.scans) and after.seen.patients
    (refused,) = [
        each for each in passports.read(tmp_path / "after/passports.json") if each.verdict == "refuse"
    ]
    assert refused.reason == "scan of a patient who was forgotten; valid: taken away"
    assert refused.patient == pseudonym("patient", "sim09")
    assert "left out: sim09_" in capsys.readouterr().out


def test_a_scan_that_is_forgotten_while_it_is_cut_goes_again(volumes, tmp_path, monkeypatch):
    """A run under way knows it by the name that was wrong; the patient whom it is of is forgotten."""
    state, real = tmp_path / "state", passports.accepted_or_suspect
    config = configured(volumes, state)

    def forgetting(*given):
        passport = real(*given)
        storage.create(f"{state}/forgotten/of another name", f"done\n{passport.voxels}".encode())
        return passport

    monkeypatch.setattr(passports, "accepted_or_suspect", forgetting)
    with pytest.raises(ForgottenError, match="patients of another name: forgotten while this run"):
        extract_shard(config, 0, 1)
    assert storage.list_tree(f"{state}/planes") == []


def test_what_a_killed_pod_kept_of_a_forgotten_scan_is_taken_up_by_nobody(volumes, tmp_path):
    """It died between keeping the planes and asking."""
    config = configured(volumes, tmp_path / "state")
    extract_planes(config, tmp_path / "before")
    before = PlaneSet.open(tmp_path / "before")
    scan = min(before.seen.scans)
    storage.create(f"{tmp_path}/state/forgotten/another name", f"done\n{scan}".encode())
    with pytest.raises(ForgottenError, match="patients another name: forgotten"):
        extract_planes(config, tmp_path / "after")
    again = configured(volumes, tmp_path / "state")
    extract_planes(again, tmp_path / "after")
    assert PlaneSet.open(tmp_path / "after").seen.scans == before.seen.scans - {scan}
