"""What tests of several stages share."""

import gc

import pytest


@pytest.fixture(scope="module")
def small_classifiers():
    from tests.small_network import small_networks

    with small_networks():
        yield


def pytest_collection_finish():
    """Leave what importing made out of every later collection of garbage: a million objects of PyTorch's."""
    gc.collect()
    gc.freeze()
