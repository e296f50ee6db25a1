"""What tests of several stages share."""

import pytest


@pytest.fixture(scope="module")
def small_classifiers():
    from tests.small_network import small_networks

    with small_networks():
        yield
