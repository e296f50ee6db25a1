"""What several tests of the shared modules start from."""

import pytest

from tests.shared.two_patients import write_state


@pytest.fixture
def state(tmp_path):
    """A state that knows two patients."""
    uri = str(tmp_path / "state")
    write_state(uri)
    return uri
