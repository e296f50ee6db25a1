import json
from dataclasses import replace
from pathlib import Path

from components.report.gather import Artifacts, flat_metrics, gather
from components.report.stage import Inputs, report
from components.shared.ledger import Ledger, read_labels
from components.shared.rounds import RoundRule

RULE = RoundRule(max_rounds=2, patience=1, min_gain=0.0, relabel="all", validation_patients=2)


def seal(inputs: Inputs, state: Path) -> Ledger:
    ledger = Ledger(state_uri=str(state), run=inputs.run)
    ledger.begin({"rule": vars(RULE)})
    for record, labels in zip(inputs.rounds, inputs.round_labels, strict=True):
        ledger.seal(record, read_labels(labels.read_bytes()))
    return ledger


def write_artifacts(inputs: Inputs, folder: Path) -> Artifacts:
    (folder / "parameters.json").write_text(json.dumps(inputs.parameters))
    inputs.splits.write(folder / "splits.csv")
    return Artifacts(
        parameters=folder / "parameters.json",
        planes=inputs.planes.folder,
        findings=inputs.findings,
        splits=folder / "splits.csv",
        generator=inputs.generator,
        synthetic=inputs.synthetic.folder,
        supervised=inputs.supervised,
        evaluation=inputs.evaluation.parent,
    )


def test_a_run_is_gathered_from_its_artifacts_and_ledger(inputs: Inputs, tmp_path: Path) -> None:
    ledger = seal(inputs, tmp_path / "state")
    found = gather(write_artifacts(inputs, tmp_path), ledger, inputs.snapshot, tmp_path)
    assert [path.read_bytes() for path in found.round_labels] == [
        path.read_bytes() for path in inputs.round_labels
    ]
    assert found.best_round == "round_002"  # the last, since two validation patients choose nothing
    gathered = report(found, tmp_path / "a.html", tmp_path / "a.json", tmp_path / "a.csv")
    inputs = replace(inputs, versions=found.versions)
    given = report(inputs, tmp_path / "b.html", tmp_path / "b.json", tmp_path / "b.csv")
    assert gathered == given


def test_flat_metrics_are_numbers_alone(inputs: Inputs, tmp_path: Path) -> None:
    values = dict(report(inputs, tmp_path / "a.html", tmp_path / "a.json", tmp_path / "a.csv"))
    found = flat_metrics(values)
    assert found["published_accuracy"] == values["models"]["round_002"]["accuracy"]
    unmeasured = values["models"]["supervised"] | {"balanced_accuracy": None}
    fewer = flat_metrics(values | {"models": values["models"] | {"supervised": unmeasured}})
    assert set(found) - set(fewer) == {"supervised_balanced_accuracy"}
