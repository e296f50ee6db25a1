"""What several tests of the pipelines share."""

import subprocess
import sys

import pytest

from pipelines.compiled import read_documents
from tests.pipelines.fake_kfp import fake_kfp


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """The folder that `compile` wrote, in a process of its own: kfp warns, and here warnings are errors."""
    folder = tmp_path_factory.mktemp("build")
    command = [sys.executable, "-m", "pipelines", "compile", "--to", str(folder), "--literals"]
    command += ["--registry", "example.org/r", "--tag", "t1"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def graph_of():
    """Read the graph of a pipeline that a folder holds compiled."""
    return lambda folder, name: read_documents((folder / f"{name}.yaml").read_bytes())[0]


@pytest.fixture(scope="session")
def form_of(graph_of):
    """Read the form of a pipeline that a folder holds compiled: what is said of each parameter."""
    return lambda folder, name: graph_of(folder, name)["root"]["inputDefinitions"]["parameters"]


@pytest.fixture
def server():
    with fake_kfp() as state:
        yield state


@pytest.fixture(autouse=True)
def no_session(monkeypatch):
    """Keep a developer's own session out of the tests."""
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", "/nonexistent/context.json")
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
