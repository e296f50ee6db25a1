import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from components.report.stage import Inputs, report
from components.report.words import STOP_REASONS
from components.shared.planes import Seen
from components.shared.rounds import MAX_ROUNDS, NO_GAIN, NOTHING_ACCEPTED, POOL_EMPTY, STABLE

SCHEMA = json.loads((Path(__file__).parents[2] / "components/report/metrics.schema.json").read_text())


def write(inputs: Inputs, folder: Path) -> dict[str, Any]:
    report(inputs, folder / "report.html", folder / "metrics.json", folder / "doubtful.csv")
    return dict(json.loads((folder / "metrics.json").read_text()))


def check(values: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(values)


def objects_in(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield where, schema
        for key, value in schema.items():
            yield from objects_in(value, f"{where}/{key}")
    elif isinstance(schema, list):
        for place, value in enumerate(schema):
            yield from objects_in(value, f"{where}/{place}")


def test_the_schema_is_a_schema_and_closed_everywhere() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for where, part in objects_in(SCHEMA):
        assert "additionalProperties" in part, where
        if "properties" in part and part["additionalProperties"] is False and "trained_on" not in where:
            missing = set(part["properties"]) - set(part["required"])
            assert not missing, (where, missing)


@pytest.mark.parametrize(
    "change",
    [{}, {"rounds": 0}, {"labels": ("coronal", "sagittal")}, {"test": 1}, {"kimg": 1200.0, "test": 7}],
    ids=str,
)
def test_metrics_have_the_shape_of_the_schema(
    run_of: Callable[..., Inputs], change: dict[str, Any], tmp_path: Path
) -> None:
    check(write(run_of(**change), tmp_path))


def test_the_schema_refuses_what_it_does_not_know(inputs: Inputs, tmp_path: Path) -> None:
    values = write(inputs, tmp_path)
    for spoilt in (
        values | {"generated": "today"},
        {key: value for key, value in values.items() if key != "rounds"},
        values | {"models": {"supervised": values["models"]["supervised"]}},
        values | {"rounds": [values["rounds"][0] | {"stop_reason": "tired"}]},
        values | {"test_patients": 0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(spoilt)


def test_the_schema_knows_every_reason_to_stop() -> None:
    reasons = SCHEMA["$defs"]["round"]["properties"]["stop_reason"]["enum"]
    assert sorted(reasons) == sorted(["", *STOP_REASONS])
    assert set(STOP_REASONS) == {POOL_EMPTY, NO_GAIN, MAX_ROUNDS, STABLE, NOTHING_ACCEPTED}


def test_metrics_count_what_the_artifacts_hold(inputs: Inputs, tmp_path: Path) -> None:
    values = write(inputs, tmp_path)
    assert values["planes"]["coronal"] == {"train": 42, "validation": 12, "test": 18}
    assert values["synthetic"] == {"by_truncation": {"0.5": 40, "1.0": 40}, "total": 80}
    assert values["gan"]["snapshot"] == "cd" * 32
    assert values["models"]["labelled_only"] == values["models"]["round_000"]
    assert values["test_patients"] == 3
    assert values["patients"]["disjoint"] is True


def test_metrics_are_equal_bytes_for_equal_inputs(inputs: Inputs, tmp_path: Path) -> None:
    write(inputs, tmp_path / "a")
    write(inputs, tmp_path / "b")
    first, second = ((tmp_path / name / "metrics.json").read_bytes() for name in "ab")
    assert first == second
    assert first == (json.dumps(json.loads(first), indent=2, sort_keys=True) + "\n").encode()


def test_metrics_name_no_place_on_this_machine(inputs: Inputs, tmp_path: Path) -> None:
    values = write(inputs, tmp_path)
    assert values["parameters"]["pretrained_uri"] == "weights.safetensors"
    text = json.dumps(values)
    assert str(inputs.planes.folder) not in text and "/somewhere" not in text


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("home/dr_garcia/w.pt", "w.pt"),
        ("gs://garcia/lucia/w.pt", "w.pt"),
        ("s3://garcia/runs/generator/", "generator"),
        ("file:///home/garcia/w.pt", "w.pt"),
        ("C:\\Users\\garcia\\w.pt", "w.pt"),
        ("w.pt", "w.pt"),
        ("", ""),
    ],
)
def test_of_every_address_its_last_part_alone_is_told(
    inputs: Inputs, tmp_path: Path, uri: str, told: str
) -> None:
    names = ("pretrained_uri", "gan_resume_uri", "inception_uri", "expert_labels_uri")
    given = {**inputs.parameters, **dict.fromkeys(names, uri)}
    values = write(replace(inputs, parameters=given), tmp_path)
    assert {values["parameters"][name] for name in names} == {told}
    assert "garcia" not in (tmp_path / "report.html").read_text() + json.dumps(values)
    rest = {name: value for name, value in inputs.parameters.items() if name not in names}
    assert {name: values["parameters"][name] for name in rest} == rest


def test_a_test_patient_behind_a_model_is_told(inputs: Inputs, tmp_path: Path) -> None:
    seen = Seen(patients=frozenset({"p00", "p11"}))
    leaked = replace(inputs, synthetic=replace(inputs.synthetic, seen=seen))
    assert write(leaked, tmp_path)["patients"]["disjoint"] is False
    assert "Nothing on this page counts" in (tmp_path / "report.html").read_text()
