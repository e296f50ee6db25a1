"""What every task of every compiled pipeline asks of a cluster, and what it waits for."""

from collections import namedtuple
from functools import cache
from itertools import pairwise

import pytest

from pipelines.compiled import read_documents

FILES = ("apply", "augmentation", "augmentation-when-new", "study", "study-when-new")
GPU_TASKS = {
    "train-classifier", "train-gan", "generate-images", "judge-synthetic", "train-round", "classify-images",
    "evaluate", "run-arm", "make-synthetic", "apply-classifiers",
}  # fmt: skip
# They see all that decides their results; others read or write the state.
CACHED_TASKS = {
    "list-shards", "extract-planes", "audit-shortcuts", "train-classifier", "train-gan", "generate-images",
    "judge-synthetic", "list-rounds", "evaluate",
}  # fmt: skip
# Its sides are held to the state's by open_ledger, so that what is trained on them may be cached.
CACHED_IN_AUGMENTATION = {*CACHED_TASKS, "split-patients"}
WEEK_S = 7 * 24 * 3600

Work = namedtuple("Work", "dag name task container platform")


@pytest.fixture(params=FILES)
def works(request, build):
    """All that a file runs as a pod; KFP numbers a name that comes twice."""
    return works_of(build, request.param)


@cache
def works_of(build, name):
    spec, platform = read_documents((build / f"{name}.yaml").read_bytes())
    components = spec["components"]
    on_kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    dags = {"root": spec["root"]["dag"], **{n: c["dag"] for n, c in components.items() if "dag" in c}}
    found = []
    for dag, tasks in dags.items():
        for task in tasks["tasks"].values():
            label = components[task["componentRef"]["name"]].get("executorLabel")
            if label is not None:
                container = spec["deploymentSpec"]["executors"][label]["container"]
                stem = label.removeprefix("exec-").removesuffix("-2")
                found.append(Work(dag, stem, task, container, on_kubernetes.get(label, {})))
    return found


def named(build, file, task):
    return [work for work in works_of(build, file) if work.name == task]


def test_gpu_tasks_and_no_others_ask_for_gpus_their_nodes_and_shared_memory(works):
    assert any(work.name in GPU_TASKS for work in works)
    for work in works:
        asked = work.container["resources"].get("accelerator", {})
        assert ("nodeSelector" in work.platform) == bool(asked) == (work.name in GPU_TASKS), work.name
        if asked:
            assert "gpu_count" in asked["resourceCount"] and "gpu_type" in asked["resourceType"]
            assert "gpu_node_selector" in str(work.platform["nodeSelector"]["nodeSelectorJson"])
            assert "gpu_tolerations" in str(work.platform["tolerations"][0]["tolerationJson"])
            assert "gpu_memory" in work.container["resources"]["resourceMemoryLimit"]
            (memory,) = [mount for mount in work.platform["emptyDirMounts"] if mount["volumeName"] != "tmp"]
            assert (memory["mountPath"], memory["medium"]) == ("/dev/shm", "Memory")


def test_every_pod_can_write_where_its_root_is_read_only(works):
    for work in works:
        mounts = [mount["mountPath"] for mount in work.platform["emptyDirMounts"]]
        assert mounts.count("/tmp") == 1, work.name


def test_every_pod_that_is_lost_is_made_anew_five_times_and_after_more_than_a_week_too(works):
    for work in works:
        policy = work.task["retryPolicy"]
        assert policy["maxRetryCount"] == 5, work.name
        assert float(policy["backoffMaxDuration"].rstrip("s")) > WEEK_S
        assert float(policy["backoffFactor"]).is_integer()


@pytest.mark.parametrize("file", FILES)
def test_tasks_that_read_or_write_the_state_are_never_cached(build, file):
    expected = CACHED_IN_AUGMENTATION if file.startswith("augmentation") else CACHED_TASKS
    for work in works_of(build, file):
        cached = work.task["cachingOptions"].get("enableCache", False)
        assert cached == (work.name in expected), work.name


@pytest.mark.parametrize("file", [name for name in FILES if name != "apply"])
def test_no_model_is_trained_before_the_planes_are_audited(build, file):
    (split,) = named(build, file, "split-patients")
    assert "audit-shortcuts" in split.task["dependentTasks"]


@pytest.mark.parametrize("pipeline", ["augmentation", "study"])
def test_the_gate_asks_for_the_very_run_that_the_last_task_marks(build, pipeline):
    """By parameters, code and volumes, all but those of a patient who is to be forgotten."""
    file = f"{pipeline}-when-new"
    (gate,), (keeper,) = named(build, file, "anything-new"), named(build, file, "keep-finished")
    asked, marked = (dict(work.task["inputs"]["parameters"]) for work in (gate, keeper))
    assert marked.pop("snapshot_digest")["taskOutputParameter"]["producerTask"] == "snapshot-volumes"
    assert marked.items() <= asked.items()
    assert asked["fingerprint"]["taskOutputParameter"]["producerTask"].startswith("validate-")
    for name in ("state_uri", "run_name", "audit", "language"):
        assert asked[name] == {"componentInputParameter": name}
    (snapshot,) = named(build, file, "snapshot-volumes")
    for name in ("volumes_uri", "state_uri", "patient_pattern", "pseudonym_key_uri", "forget_patient"):
        listed = snapshot.task["inputs"]["parameters"][name]
        assert listed == asked[name] == {"componentInputParameter": name}


def test_the_parts_of_a_study_wait_for_one_another(build, graph_of):
    """Images are told by the features of baseline classifiers, and are taught to the arms that come then."""
    tasks = graph_of(build, "study")["root"]["dag"]["tasks"]
    order = ["all-cells", "all-sources", "all-cells-2", "close-study", "settle-study", "keep-finished"]
    for before, after in pairwise(order):
        assert before in tasks[after]["dependentTasks"], after


def test_the_rounds_and_the_report_are_shown_the_images_that_are_kept_alone(build, graph_of):
    """Copies of training planes are dropped before anything learns from them."""
    tasks = graph_of(build, "augmentation")["root"]["dag"]["tasks"]
    for task in ("all-rounds", "report"):
        told = tasks[task]["inputs"]["artifacts"]["synthetic"]["taskOutputArtifact"]
        assert told == {"outputArtifactKey": "kept", "producerTask": "judge-synthetic"}
