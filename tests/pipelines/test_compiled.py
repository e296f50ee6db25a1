"""What the compiled pipelines ask of a cluster."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest
import yaml

from components.validate_parameters.stage import Parameters
from pipelines.catalogue import PIPELINES
from pipelines.compiled import read_documents


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compile in a process of its own: kfp warns, and here warnings are errors."""
    folder = tmp_path_factory.mktemp("build")
    command = [sys.executable, "-m", "pipelines", "compile", "--to", str(folder)]
    command += ["--registry", "example.org/r", "--tag", "t1"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def spec(compiled, graph_of):
    return graph_of(compiled, "augmentation")


def platform_of(compiled, name):
    document = read_documents((compiled / f"{name}.yaml").read_bytes())[1]
    return document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(spec):
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}


def executors(spec):
    return spec["deploymentSpec"]["executors"]


def test_every_pipeline_is_there(compiled):
    gated = {f"{name}-when-new.yaml" for name in ("augmentation", "study")}
    assert {path.name for path in compiled.iterdir()} == gated | {f"{name}.yaml" for name in PIPELINES}


@pytest.mark.parametrize("name", ["augmentation", "study"])
def test_behind_its_gate_a_pipeline_has_the_same_form_and_no_task_before_it_but_cheap_ones(
    compiled, graph_of, name
):
    plain, gated = (graph_of(compiled, file) for file in (name, f"{name}-when-new"))
    assert gated["root"]["inputDefinitions"] == plain["root"]["inputDefinitions"]
    first = {"augmentation": "validate-parameters", "study": "validate-study"}[name]
    root = gated["root"]["dag"]["tasks"]
    assert set(root) == {first, "anything-new", "condition-1"}
    assert root["condition-1"]["triggerPolicy"]["condition"].endswith("== 'go'")
    last = {"augmentation": {"report", "keep-generator"}, "study": {"settle-study"}}[name]
    assert last <= set(tasks(gated)["keep-finished"]["dependentTasks"])


@pytest.mark.parametrize("name", ["augmentation", "apply", "study"])
def test_no_task_begins_before_the_parameters_are_checked(compiled, graph_of, name):
    spec = graph_of(compiled, name)
    begin = {task for task, about in spec["root"]["dag"]["tasks"].items() if "dependentTasks" not in about}
    assert len(begin) == 1 and begin.pop().startswith("validate-")


def test_the_number_of_gpus_is_a_text(spec):
    """Of a number KFP drops the request without a word."""
    assert spec["root"]["inputDefinitions"]["parameters"]["gpu_count"]["parameterType"] == "STRING"


def test_tasks_on_volumes_ask_for_their_cores_and_memory(spec):
    asked = {
        name.removeprefix("exec-"): executor["container"].get("resources", {}).get("resourceMemoryLimit", "")
        for name, executor in executors(spec).items()
    }
    for name in ("extract-shard", "extract-planes", "audit-shortcuts"):
        assert "--memory" in asked[name]


@pytest.mark.parametrize("name", ["augmentation", "apply", "study"])
def test_no_pod_asks_for_nothing(compiled, graph_of, name):
    spec = graph_of(compiled, name)
    for executor in executors(spec).values():
        resources = executor["container"]["resources"]
        assert resources["resourceCpuRequest"] and resources["resourceMemoryRequest"]
        small = resources["resourceCpuRequest"] == "250m"
        assert ("cpuRequest" in resources) == small  # no second figure beside a parameter's


@pytest.mark.parametrize(
    "name", ["augmentation", "apply", "study", "augmentation-when-new", "study-when-new"]
)
def test_the_key_of_pseudonyms_is_mounted_where_names_are_seen_and_nowhere_else(compiled, name):
    mounted = {
        re.sub(r"^exec-|-\d+$", "", task): executor["secretAsVolume"][0]  # -2: behind the gate once more
        for task, executor in platform_of(compiled, name).items()
        if "secretAsVolume" in executor
    }
    first = {
        "augmentation": "validate-parameters",
        "apply": "validate-application",
        "study": "validate-study",
    }[name.removesuffix("-when-new")]
    gate = {"anything-new"} if "when-new" in name else set()
    assert set(mounted) == {first, "snapshot-volumes"} | gate
    for secret in mounted.values():
        assert secret["optional"] is True
        assert secret["mountPath"] == "/etc/fontanelle/pseudonym"
        assert secret["secretName"] == "fontanelle-pseudonym"


def test_selector_and_tolerations_are_not_empty_by_default(spec):
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs["gpu_node_selector"]["defaultValue"]
    assert inputs["gpu_tolerations"]["defaultValue"]


def test_cached_tasks_that_load_weights_are_told_their_content(spec):
    for name in ("train-classifier", "train-gan", "judge-synthetic"):
        told = tasks(spec)[name]["inputs"]["parameters"]["weights"]["taskOutputParameter"]
        assert told == {"outputParameterKey": "weights", "producerTask": "validate-parameters"}


def test_rounds_follow_one_another_and_shards_do_not(spec):
    iterators = {
        task["parameterIterator"]["items"]["inputParameter"]: task
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    }
    assert set(iterators) == {"pipelinechannel--numbers", "pipelinechannel--shards"}
    assert iterators["pipelinechannel--numbers"]["iteratorPolicy"]["parallelismLimit"] == 1
    assert "iteratorPolicy" not in iterators["pipelinechannel--shards"]
    assert "oneof" not in yaml.safe_dump(spec).lower()
    assert "artifactIterator" not in yaml.safe_dump(spec)
    loop = next(c for c in spec["components"].values() if "open-round" in c.get("dag", {}).get("tasks", {}))
    item = loop["inputDefinitions"]["parameters"]["pipelinechannel--numbers-loop-item"]
    assert item["parameterType"] == "NUMBER_INTEGER", "the backend would hand the stages a text"


def test_no_parameter_may_be_absent_but_has_a_default(spec):
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    without = {name for name, value in inputs.items() if "defaultValue" not in value}
    assert without == {"volumes_uri", "state_uri"}
    assert not [
        name for name, value in inputs.items() if value.get("isOptional") and "defaultValue" not in value
    ]


def test_every_parameter_of_the_form_is_explained(spec):
    assert all(value.get("description") for value in spec["root"]["inputDefinitions"]["parameters"].values())


def test_registry_and_tag_name_every_image(spec):
    images = {executor["container"]["image"] for executor in executors(spec).values()}
    assert images == {"example.org/r/fontanelle-cpu:t1", "example.org/r/fontanelle-gpu:t1"}


def test_no_stage_installs_anything_when_it_starts(compiled):
    assert "pip install" not in (compiled / "augmentation.yaml").read_text()


@pytest.mark.parametrize("name", ["augmentation", "apply", "study"])
def test_parameters_are_the_same_in_the_form_and_in_the_check(name, compiled, graph_of):
    pipeline = PIPELINES[name]
    spec = graph_of(compiled, name)
    assert spec["pipelineInfo"]["displayName"] == pipeline.title
    form = spec["root"]["inputDefinitions"]["parameters"]
    assert form.keys() == {field.name for field in fields(pipeline.parameters)}
    required = {name for name, value in form.items() if "defaultValue" not in value}
    assert not [name for name in required if form[name].get("isOptional")]
    made = pipeline.parameters(**dict.fromkeys(required, ""))
    for parameter in form.keys() - required:
        default = json.loads(json.dumps(getattr(made, parameter)))
        assert form[parameter]["defaultValue"] == default, parameter


def test_declared_types_are_those_that_the_command_line_parses():
    allowed = {"str", "int", "float", "bool", "Sequence[float]", "dict[str, str]", "list[dict[str, str]]"}
    hints = get_type_hints(Parameters).values()
    names = {
        getattr(h, "__name__", "") if not getattr(h, "__args__", ()) else str(h).split(".")[-1] for h in hints
    }
    assert names <= allowed
