"""The volumes that parameters name."""

import pytest

from components.shared.phantom import simulate_patients


@pytest.fixture(scope="package")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=3, seed=1)
    return folder
