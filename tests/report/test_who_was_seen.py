"""What the page says of whom was seen, of how a round was chosen, and of what the gain is over."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from components.report import words
from components.report.facts import CHOSEN, LAST, facts_of_run
from components.report.shortcuts import shortcuts_section
from components.report.stage import report
from components.shared.planes import Seen


def written(inputs, folder: Path):
    report(inputs, folder / "report.html", folder / "metrics.json", folder / "doubtful.csv")
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("who", ["supervised/classifier.json", "generator/generator.json"])
def test_a_test_patient_behind_any_model_is_told(run_of, who, tmp_path):
    run = run_of()
    path = run.supervised.parent / who
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"patients_seen": [*about["patients_seen"], "p11"]}))
    assert written(run, tmp_path)["patients"]["disjoint"] is False
    assert "Nothing on this page counts" in (tmp_path / "report.html").read_text()


def test_a_test_patient_behind_the_synthetic_images_is_told(run_of, tmp_path):
    run = run_of()
    images = replace(run.synthetic, seen=run.synthetic.seen | Seen(patients=frozenset({"p11"})))
    assert written(replace(run, synthetic=images), tmp_path)["patients"]["disjoint"] is False


def test_the_gain_is_the_published_rounds_over_labelled_only(run_of, tmp_path):
    run = run_of(test=8, validation=5, rounds=3)
    values = written(replace(run, best_round="round_001"), tmp_path)
    by_model = {name: model["balanced_accuracy"] for name, model in values["models"].items()}
    assert len(set(by_model.values())) == 4 + 1
    gain = words.points(by_model["round_001"] - by_model["round_000"])
    assert words.verdict(values) == (
        f"{gain} of balanced accuracy with synthetic images, 8 patients: described, not tested"
    )


@pytest.mark.parametrize(("validation", "how"), [(3, LAST), (4, CHOSEN)])
def test_how_the_round_was_chosen_is_said_as_it_was(run_of, validation, how, tmp_path):
    run = run_of(validation=validation)
    values = written(run, tmp_path)
    facts = facts_of_run(values, run.passports, False, "", shortcuts_section(run.findings))
    assert facts.chosen == how


def test_every_round_has_the_figures_of_its_validation_patients(run_of, tmp_path):
    run = run_of()
    for told, record in zip(written(run, tmp_path)["rounds"], run.rounds, strict=True):
        validation = record["validation"]
        assert told["validation_accuracy"] == validation["accuracy"]
        assert told["validation_balanced_accuracy"] == validation["balanced_accuracy"]
        assert told["validation_loss"] == validation["loss"]
        assert told["validation_patient_loss"] == validation["mean_patient_loss"]
