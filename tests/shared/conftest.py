"""What several tests of the shared modules start from."""

import gc

import pytest

from tests.shared.two_patients import write_state


@pytest.fixture
def state(tmp_path):
    """A state that knows two patients."""
    uri = str(tmp_path / "state")
    write_state(uri)
    return uri


@pytest.fixture(params=["gs", "s3"])
def bucket(request, monkeypatch, unread_answers):
    """A bucket's URI and its server, for a client that does not wait long."""
    from components.shared.storage import clients, gcs, patience
    from tests.shared.buckets import gcs_bucket, s3_bucket  # with moto, which most tests here do without

    monkeypatch.setattr(gcs, "_TIMEOUT_S", (1.0, 0.7))
    short = patience.Patience(first_s=0.05, longest_s=0.5, told_after_s=1.0)
    monkeypatch.setattr(patience, "PATIENT", short)
    monkeypatch.setattr(clients, "AWS_READ_S", 0.7)
    with (gcs_bucket if request.param == "gs" else s3_bucket)(monkeypatch) as found:
        yield found


@pytest.fixture(scope="module")
def unread_answers():
    """Collect them while their warnings are ignored."""
    yield
    gc.collect()
