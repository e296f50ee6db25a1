"""Kept planes are taken up only by whoever would cut the same ones, of the same patient."""

from dataclasses import replace

import pytest

from components.extract_planes.cut import Cuts
from components.extract_planes.stage import Config, extract_planes
from components.shared import passports
from components.shared.phantom import simulate_patients
from components.shared.planes import PlaneSet
from components.shared.snapshots import VolumeEntry
from tests.edited_code import edit
from tests.extract_planes.test_stage import configured, pseudonym

ENTRY = VolumeEntry(name="a.nrrd", size=1, digest="d", patient="p", session="s", site="")


def test_a_patient_corrected_in_the_table_is_the_one_in_the_rows(tmp_path):
    """The session stays as it is, and so do the scan and its cuts."""
    place, found = tmp_path / "volumes", {}
    simulate_patients(place, patients=1, size=48)
    table = (place / "volumes.csv").read_text()
    for patient in ("sim01", "sim07"):
        (place / "volumes.csv").write_text(table.replace(",sim01,", f",{patient},"))
        extract_planes(configured(place, tmp_path / "state"), tmp_path / patient)
        found[patient] = PlaneSet.open(tmp_path / patient).rows
    right = pseudonym("patient", "sim07")
    assert found["sim07"] == [replace(row, patient=right) for row in found["sim01"]]
    assert {each.patient for each in passports.read(tmp_path / "sim07/passports.json")} == {right}


@pytest.mark.parametrize("name", ["components/extract_planes/cut.py", "components/shared/geometry.py"])
def test_what_other_code_cut_is_not_taken_up(tmp_path, monkeypatch, name):
    def place():
        cuts = Cuts(plane_angles_deg=[0], plane_spacing_mm=10, field_of_view_mm=80)
        return Config(volumes_uri="v", state_uri="state", snapshot_digest="d", cuts=cuts).kept_of(ENTRY)

    before = place()
    assert place() == before
    edit(name, tmp_path, monkeypatch)
    assert place() != before
