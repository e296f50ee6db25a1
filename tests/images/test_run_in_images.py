"""The whole pipeline `augmentation` in its images, its state in an S3 store: the same numbers as here."""

import json
import secrets
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from components.shared import storage
from components.shared.phantom import simulate_patients
from components.validate_parameters.stage import Parameters
from pipelines import profiles
from pipelines.submission import parse
from tests.images.engine import engine
from tests.pipelines.small_run import SMALL, run
from tests.shared.s3_server import s3_server

pytestmark = [pytest.mark.images, pytest.mark.timeout(3000)]  # the first test waits for both builds


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both images, in a Docker of their own."""
    with engine(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture(scope="module")
def network(built):
    """A network that leads to this machine and no further."""
    made = built.client.networks.create(f"storage-{secrets.token_hex(4)}", driver="bridge", internal=True)
    yield made
    made.remove()


def test_the_small_image_is_small_and_has_no_torch(built):
    image = built.client.images.get("fontanelle-cpu:0.1.0")
    assert image.attrs["Size"] < 700e6
    told = inside(
        built, "cpu", "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('kfp').name)"
    )
    assert told == "None kfp"


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_an_image_runs_as_nobody_without_entry_point_or_compiler(built, kind):
    config = built.client.images.get(f"fontanelle-{kind}:0.1.0").attrs["Config"]
    assert config["User"] == "65532:65532"
    assert not config["Entrypoint"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    code = "import os, shutil; print(os.getuid(), shutil.which('gcc'), shutil.which('cc'))"
    assert inside(built, kind, code) == "65532 None None"


def test_a_second_build_has_the_same_files_but_for_their_times(built):
    first, second = built.files("fontanelle-cpu:0.1.0"), built.files(built.build_again("cpu"))
    assert len(first) > 10_000
    assert {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)} == set()


def inside(built, kind, code):
    """Return what Python code prints in an image, without a network or a file system to write to."""
    shown = built.client.containers.run(
        f"fontanelle-{kind}:0.1.0",
        ["python", "-c", code],
        remove=True,
        read_only=True,
        network_mode="none",
        tmpfs={"/tmp": ""},
    )
    return shown.decode().strip()


def test_the_pipeline_in_its_images_gives_the_numbers_of_this_process(built, network, tmp_path, monkeypatch):
    volumes = tmp_path / "volumes"
    simulate_patients(volumes, patients=5, seed=3, size=48)
    small = SMALL | {"pseudonym_key_uri": tmp_path / "key"}
    (tmp_path / "key").write_text("a key of the tests alone")
    run("augmentation", tmp_path / "here", volumes_uri=volumes, **small)
    here = json.loads((tmp_path / "here/report/metrics.json").read_text())
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    with s3_server(gateway) as (url, _):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        there = in_images(tmp_path, volumes, small, network.name)
    for part in ("models", "rounds", "planes", "synthetic", "gan", "best_round", "patients"):
        assert there[part] == here[part], part


def in_images(tmp_path, volumes, small, network):
    """Run the pipeline with its volumes, key and state in the store; return its metrics."""
    subprocess.run([sys.executable, "-c", BUCKET], check=True)
    storage.upload(volumes, "s3://fontanelle/scans")
    storage.upload(tmp_path / "key", "s3://fontanelle/key")
    given = [f"{name}={value}" for name, value in small.items() if name != "pseudonym_key_uri"]
    values = {**profiles.values("demo", Parameters), **parse(given, Parameters)}
    places = {
        "volumes_uri": "s3://fontanelle/scans",
        "state_uri": "s3://fontanelle/state",
        "pseudonym_key_uri": "s3://fontanelle/key",
    }
    parameters = asdict(Parameters(**values, **places))
    root = tmp_path / "there"
    (root / "artifacts").mkdir(parents=True)
    root.chmod(0o777)
    (root / "artifacts").chmod(0o777)
    told = {"pipeline": "augmentation", "parameters": parameters, "network": network}
    (root / "arguments.json").write_text(json.dumps(told))
    command = [sys.executable, "-m", "tests.images.docker_work", str(root / "arguments.json"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return json.loads(Path(json.loads((root / "outputs.json").read_text())["metrics.json"]).read_text())


BUCKET = "import boto3; boto3.client('s3').create_bucket(Bucket='fontanelle')"
