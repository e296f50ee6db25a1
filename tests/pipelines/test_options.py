"""What `compile` fits to a cluster, field by field."""

import json
import subprocess
import sys

import pytest

from components.shared.faults import InputError
from pipelines.compile import Options, fit
from pipelines.compiled import read_documents

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")
DIGEST = "example.org/r/x@sha256:" + 64 * "a"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compile without an option that pods bear, in a process of its own: kfp warns."""
    folder = tmp_path_factory.mktemp("build")
    subprocess.run(
        [sys.executable, "-m", "pipelines", "compile", "--to", str(folder), "--parallelism", "4"],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def plain(compiled):
    """Return the study's two documents."""
    return (compiled / "study.yaml").read_text()


def fitted(plain, **options):
    spec, platform = read_documents(plain)
    fit(spec, platform, Options(**options))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_small_enough_to_submit_with_every_option(compiled):
    """Argo's workflow is up to three times as long, and etcd takes 1.5 MB of one."""
    images = {name: f"europe-docker.pkg.dev/clinic/fontanelle/{name}@sha256:{'0' * 64}" for name in "ab"}
    more = {"queue": "fontanelle", "timeout_hours": 72, "pull_policy": "Always", "storage_secret": "storage"}
    options = Options(
        image_cpu=images["a"], image_gpu=images["b"], literals=True, spot="clinic/spot=true", **more
    )
    for path in compiled.iterdir():
        spec, platform = read_documents(path.read_bytes())
        fit(spec, platform, options)
        assert len(json.dumps([spec, platform])) < 190_000


def test_every_pod_is_queued_limited_and_given_the_stores_keys(plain):
    options = {"queue": "fontanelle", "timeout_hours": 1.5, "pull_policy": "Always", "storage_secret": "s3"}
    spec, pods = fitted(plain, **options)
    assert pods.keys() == spec["deploymentSpec"]["executors"].keys()
    for pod in pods.values():
        assert pod["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "fontanelle"
        assert pod["activeDeadlineSeconds"] == "5400"
        assert pod["imagePullPolicy"] == "Always"
        (secret,) = pod["secretAsEnv"]
        assert secret["secretName"] == "s3"
        assert secret["secretNameParameter"] == {"runtimeValue": {"constant": "s3"}}
        assert secret["optional"] is True  # a store of AWS needs no endpoint
        assert secret["keyToEnv"] == [{"envVar": key, "secretKey": key} for key in KEYS]
    assert "secretAsVolume" in pods["exec-snapshot-volumes"]  # what was told before stays
    assert "nodeSelector" in pods["exec-run-arm"]


def test_without_options_nothing_is_told(plain):
    _, pods = fitted(plain)
    told = {key for pod in pods.values() for key in pod}
    assert not told & {"podMetadata", "activeDeadlineSeconds", "imagePullPolicy", "secretAsEnv"}


def test_gpu_nodes_of_ones_own_are_the_forms_default(plain):
    spec, _ = fitted(plain, gpu_nodes="nvidia.com/gpu.present=true", spot="pool/spot=true")
    form = spec["root"]["inputDefinitions"]["parameters"]
    expected = {"nvidia.com/gpu.present": "true", "pool/spot": "true"}
    assert form["gpu_node_selector"]["defaultValue"] == expected


def test_images_by_digest(plain):
    gpu = DIGEST.replace("/x@", "/y@")
    spec, _ = fitted(plain, image_cpu=DIGEST, image_gpu=gpu)
    images = {name: e["container"]["image"] for name, e in spec["deploymentSpec"]["executors"].items()}
    assert images["exec-close-study"] == DIGEST
    assert images["exec-run-arm"] == gpu
    assert set(images.values()) == {DIGEST, gpu}


@pytest.mark.parametrize(
    "registry", ["localhost:5000", "europe-docker.pkg.dev/p/r_1/", "mine", "10.0.0.1:80/a"]
)
def test_images_of_a_registry(plain, registry):
    spec, _ = fitted(plain, registry=registry, tag="V1.0-rc_2")
    image = spec["deploymentSpec"]["executors"]["exec-run-arm"]["container"]["image"]
    assert image == f"{registry.rstrip('/')}/fontanelle-gpu:V1.0-rc_2"


def test_spot_nodes_are_the_forms_default_beside_what_was_there(plain):
    spec, _ = fitted(plain, spot="cloud.google.com/gke-spot=true")
    form = spec["root"]["inputDefinitions"]["parameters"]
    assert form["gpu_node_selector"]["defaultValue"]["cloud.google.com/gke-spot"] == "true"
    assert form["gpu_node_selector"]["defaultValue"]["cloud.google.com/gke-accelerator"] == "nvidia-l4"
    keys = [toleration["key"] for toleration in form["gpu_tolerations"]["defaultValue"]]
    assert keys == ["nvidia.com/gpu", "cloud.google.com/gke-spot"]


def test_a_studys_loops_are_as_wide_as_asked(plain):
    spec, _ = fitted(plain)
    limits = [
        task["iteratorPolicy"]["parallelismLimit"]
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "iteratorPolicy" in task
    ]
    assert limits == [4, 4, 4]


@pytest.mark.parametrize(
    "options",
    [
        {"storage_secret": "s" * 253},
        {"gpu_nodes": f"{'a' * 64}.{'b' * 188}/{'c' * 63}={'v' * 63}"},
        {"spot": "Pool_1="},
        {"queue": "q" * 63},
    ],
)
def test_what_a_cluster_takes_is_taken(options):
    Options(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"parallelism": 0}, "--parallelism 0"),
        ({"timeout_hours": -1.0}, "--timeout-hours -1.0"),
        ({"timeout_hours": float("nan")}, "--timeout-hours nan"),
        ({"timeout_hours": 0.001}, "--timeout-hours 0.001"),
        ({"queue": "q" * 64}, "--queue qqq"),
        ({"pull_policy": "never"}, "--pull-policy never"),
        ({"spot": "gke-spot"}, "--spot gke-spot"),
        ({"spot": f"k={'v' * 70}"}, "--spot k=vvv"),
        ({"gpu_nodes": "a=-"}, "--gpu-nodes a=-"),
        ({"gpu_nodes": f"a/{'c' * 80}=v"}, "--gpu-nodes a/ccc"),
        ({"gpu_nodes": "a..b/c=v"}, "--gpu-nodes a..b/c=v"),
        ({"gpu_nodes": f"{'a.' * 127}b/c=v"}, "--gpu-nodes a.a"),
        ({"queue": "a..b"}, "--queue a..b"),
        ({"queue": "My Queue"}, "--queue My Queue"),
        ({"tag": "UP:x"}, "--tag UP:x: not usable; valid: up to 128 letters"),
        ({"tag": "a b"}, "--tag a b"),
        ({"tag": "a\n"}, r"--tag 'a\\n'"),
        ({"registry": "https://example.org/r"}, "--registry https://example.org/r: .* without https://"),
        ({"registry": "example.org/R"}, "--registry example.org/R"),
        ({"registry": "example.org//r"}, "--registry example.org//r"),
        ({"registry": "example.org/r "}, "--registry 'example.org/r '"),
        ({"registry": "example.org/r:tag"}, "--registry example.org/r:tag"),
        ({"image_cpu": DIGEST}, "--image-gpu '': not usable; valid: both images"),
        ({"image_cpu": "example.org/r/x:latest", "image_gpu": DIGEST}, "--image-cpu example.org/r/x:latest"),
        ({"image_cpu": DIGEST, "image_gpu": DIGEST[:-1]}, "--image-gpu"),
        ({"image_cpu": DIGEST, "image_gpu": DIGEST, "tag": "t"}, "--image-cpu"),
    ],
)
def test_what_no_cluster_takes_is_refused(options, named):
    with pytest.raises(InputError, match=named):
        Options(**options)
