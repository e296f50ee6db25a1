"""The run form of KFP's UI: what it shows, and what it sends when nothing is changed."""

import json

import kfp
import pytest

from components.shared.faults import InputError
from components.shared.phantom import simulate_patients
from components.validate_parameters.stage import Parameters
from pipelines.catalogue import PIPELINES
from pipelines.literals import CHOICES
from pipelines.submission import parse
from tests.pipelines.fake_kfp import KINDS


def shown(about):
    """Return a default as the form shows it: JavaScript's toString, JSON for lists and structs."""
    value = about["defaultValue"]
    if about["parameterType"] == "STRING":
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def sent(text, about):
    """Return what the form makes of a text; of another type than the parameter's, it would block the run."""
    value = text if about["parameterType"] == "STRING" else json.loads(text)
    assert isinstance(value, KINDS[about["parameterType"]])
    return value


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=3, seed=0)
    return folder


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_default_passes_the_first_task_as_the_text_that_the_form_sends(
    pipeline, build, form_of, volumes, tmp_path
):
    about = form_of(build, pipeline)
    places = {
        "volumes_uri": str(volumes),
        "state_uri": str(tmp_path / "state"),
        "classifiers_uri": "gs://b/c",
    }
    texts = {name: shown(a) if "defaultValue" in a else places[name] for name, a in about.items()}
    values = parse([f"{name}={text}" for name, text in texts.items()], PIPELINES[pipeline].parameters)
    assert values.keys() == about.keys()
    parameters = PIPELINES[pipeline].parameters(**values)
    if pipeline == "augmentation":
        PIPELINES[pipeline].validate(parameters)
    for check in PIPELINES[pipeline].checks:  # apply's own check asks for finished classifiers
        check(parameters)
    as_sent = PIPELINES[pipeline].parameters(**{name: sent(texts[name], a) for name, a in about.items()})
    assert json.loads(json.dumps(vars(parameters))) == json.loads(json.dumps(vars(as_sent)))


@pytest.mark.parametrize("name", CHOICES)
def test_a_drop_down_offers_what_validation_takes_and_nothing_else(name, build, form_of):
    about = form_of(build, "augmentation")[name]
    assert about["defaultValue"] in about["literals"]
    given = {"volumes_uri": "gs://b/v", "state_uri": "gs://b/s"}
    checks = PIPELINES["augmentation"].checks
    for literal in about["literals"]:
        for check in checks:
            check(Parameters(**given, **{name: literal}))
    with pytest.raises(InputError) as refused:
        for check in checks:
            check(Parameters(**given, **{name: "something else"}))
    assert str(refused.value).endswith("valid: " + " or ".join(about["literals"]))


def test_every_text_parameter_with_choices_has_a_drop_down(build, form_of):
    given = {"volumes_uri": "gs://b/v", "state_uri": "gs://b/s"}
    shaped = {"cpu", "memory", "gpu_count", "gpu_type", "gpu_cpu", "gpu_memory"}
    shaped |= {"run_name", "patient_pattern", "forget_patient", "inception_uri"}
    for name, about in form_of(build, "augmentation").items():
        if about["parameterType"] != "STRING" or name in given.keys() | shaped:
            continue
        try:
            for check in PIPELINES["augmentation"].checks:
                check(Parameters(**given, **{name: "something else"}))
        except InputError:
            assert name in CHOICES


def test_a_compiled_pipeline_with_drop_downs_is_one_that_kfp_reads(build):
    assert "literals" in (build / "augmentation.yaml").read_text()
    kfp.components.load_component_from_file(str(build / "augmentation.yaml"))
