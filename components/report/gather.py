"""Opens everything that a run left behind, for its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report import summary
from components.report.previous import run_before
from components.report.stage import Inputs
from components.report.synthetic import notes as quality_notes
from components.shared import passports
from components.shared.code import versions
from components.shared.judgement import read_judgement
from components.shared.labels import are_few
from components.shared.ledger import Ledger, write_labels
from components.shared.metrics import EVALUATION
from components.shared.planes import PlaneSet
from components.shared.rounds import best_round, model_name
from components.shared.snapshots import is_simulated
from components.shared.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Artifacts:
    """Where the stages of a run wrote."""

    parameters: Path
    planes: Path
    findings: Path
    splits: Path
    generator: Path
    synthetic: Path
    supervised: Path
    evaluation: Path


def gather(artifacts: Artifacts, ledger: Ledger, snapshot_digest: str, folder: Path) -> Inputs:
    """Open the artifacts and the ledger of a run; the rounds' labels are copied to `folder`."""
    rounds = ledger.rounds()
    planes, synthetic = PlaneSet.open(artifacts.planes), PlaneSet.open(artifacts.synthetic)
    return Inputs(
        parameters=summary.read_json(artifacts.parameters),
        snapshot=snapshot_digest,
        run=ledger.run,
        planes=planes,
        findings=artifacts.findings,
        passports=passports.read(artifacts.planes / passports.PASSPORTS),
        splits=Splits.read(artifacts.splits),
        generator=artifacts.generator,
        synthetic=synthetic,
        supervised=artifacts.supervised,
        rounds=rounds,
        round_labels=[_labels(ledger, k, folder) for k in range(len(rounds))],
        evaluation=artifacts.evaluation / EVALUATION,
        best_round=model_name(best_round(rounds, ledger.rule())),
        versions=versions(),
        experts=ledger.expert_labels(),
        before=run_before(ledger.state_uri, ledger.run),
        notes=[
            *_notes(planes, len(synthetic.rows), rounds[0]["labelled"]),
            *quality_notes(read_judgement(artifacts.synthetic)),
        ],
    )


def flat_metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the few numbers that the KFP UI compares between runs."""
    compared = {
        "supervised": "supervised",
        "labelled_only": "labelled_only",
        "published": found["best_round"],
    }
    flat = {
        f"{name}_{metric}": found["models"][key][metric]
        for name, key in compared.items()
        for metric in ("accuracy", "balanced_accuracy")
    }
    flat |= {"test_patients": found["test_patients"], "rounds": len(found["rounds"])}
    # A class without test planes has no balanced accuracy, and the UI takes only numbers.
    return {name: float(value) for name, value in flat.items() if value is not None}


def simulated(planes: PlaneSet) -> list[str]:
    """Return the note that simulated volumes need, if these are."""
    if is_simulated(planes):
        return ["The volumes are simulated: nothing here says anything about infants."]
    return []


def _notes(planes: PlaneSet, images: int, labelled: int) -> Sequence[str]:
    few = f"{images} synthetic images are under twice the {labelled} labelled planes."
    return [*simulated(planes), *([few] if are_few(images, labelled) else [])]


def _labels(ledger: Ledger, number: int, folder: Path) -> Path:
    path = folder / f"{number:03}.csv"
    path.write_bytes(write_labels(ledger.labels(number)))
    return path
