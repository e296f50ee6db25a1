"""The folder of volumes that is listed."""

import pytest

from tests.snapshot_volumes.scans import write


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "volumes"
    place.mkdir()
    for number, name in enumerate(["a_2024_01_01", "a_2024_02_01", "b_2024_01_01", "c_2024_01_01"]):
        write(place / f"{name}.nrrd", number)
    return place
