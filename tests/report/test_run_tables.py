"""Each column of a run's tables holds what its header says, of the model, round or patient of its row."""

from collections.abc import Callable
from typing import Any

import pytest

from components.report.stage import Inputs
from components.report.words import count, decimal, percent
from tests.report.pages import between, table
from tests.report.test_page import render


@pytest.fixture(scope="module")
def made(
    run_of: Callable[..., Inputs], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    return render(run_of(test=9), tmp_path_factory.mktemp("page"))


def models(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the models in the order of the page: all labels, then the rounds."""
    names = ["supervised", *(f"round_{number:03}" for number in range(3))]
    return [values["models"][name] for name in names]


def test_a_models_row_is_of_that_model(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "over patients</th>")
    assert header[1:3] == ["Labelledplanes", "Syntheticimages"]
    assert header[3:5] == ["Balancedaccuracy", "95 % intervalover patients"]
    assert header[5:] == ["Accuracy", "Errorrate", "Loss(nats)", "Macro-F1"]
    assert [row[1:3] for row in rows] == [["600", "0"], ["120", "0"], ["120", "55"], ["120", "58"]]
    for model, row in zip(models(made[1]), rows, strict=True):
        assert row[3] == percent(model["balanced_accuracy"])
        assert row[4] == between(model["balanced_accuracy_interval"], percent, "–")
        assert row[5:7] == [percent(model["accuracy"]), percent(model["error_rate"])]
        assert row[7:] == [decimal(model["loss"]), decimal(model["macro_f1"])]


def test_who_is_on_a_side_and_how_many_planes_they_have(made: tuple[str, dict[str, Any]]) -> None:
    _, *rows = table(made[0], ">Who</th>")
    names = {"Train": range(7), "Validation": range(7, 9), "Test": range(9, 18)}
    for (side, members), row in zip(names.items(), rows, strict=True):
        assert row == [side, str(len(members)), ", ".join(f"p{k:02}" for k in members)]
    header, *rows = table(made[0], "<th>Planes</th><th>Train")
    assert header == ["Planes", "Train", "Validation", "Test"]
    assert all(row[1:] == ["42", "12", "54"] for row in rows)


def test_a_rounds_row_tells_training_validation_and_judgement(made: tuple[str, dict[str, Any]]) -> None:
    _, header, *rows = table(made[0], "Judged after training")
    assert header == ["labelled", "coronal", "sagittal", "balanced", "accuracy", "loss", "pool", "coronal",
                      "sagittal", "below", "rejected"]  # fmt: skip
    assert [row[:4] for row in rows] == [
        ["0", "120", "0", "0"],
        ["1", "120", "25", "30"],
        ["2", "120", "26", "32"],
    ]
    for number, row in enumerate(rows):
        assert row[4:6] == [percent(0.86 + 0.01 * number), percent(0.84 + 0.012 * number)]
        assert row[6] == decimal(0.46 - 0.02 * number)
    assert [row[7:] for row in rows] == [
        ["80", "25", "30", "23", "2"],
        ["80", "26", "32", "20", "2"],
        ["80"] + 4 * ["0"],
    ]


def test_a_rounds_row_tells_what_it_changed(made: tuple[str, dict[str, Any]]) -> None:
    header, below, *rows = table(made[0], "Against the round before")
    assert header[2:] == ["Too manyof a class", "Against the round before"]
    assert below == ["coronal", "sagittal", "changed", "dropped", "other label", "of taught"]
    assert rows[1] == ["1", decimal(0.75), decimal(0.75), "0", percent(0.3), "5", "4", "1 / 40"]


def test_calibration_stands_before_and_after(made: tuple[str, dict[str, Any]]) -> None:
    _, header, *rows = table(made[0], "Temperature</th>")
    assert header == ["before", "after"] * 2
    for model, row in zip(models(made[1]), rows, strict=True):
        found = model["calibration"]
        assert row[1] == decimal(found["temperature"]) == decimal(1.25)
        assert row[2:4] == [decimal(found[f"loss_{when}"]) for when in ("before", "after")]
        assert row[4:] == [percent(found[f"ece_{when}"]) for when in ("before", "after")]
        assert row[2] != row[3] and row[4] != row[5]


def test_noise_is_told_beside_what_grey_alone_tells(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "Recall of noise")
    assert header[1:] == ["Recall of noise", "Recall by mean grey alone"]
    for model, row in zip(models(made[1]), rows, strict=True):
        assert row[1:] == [percent(model["recall"]["noise"]), percent(0.95)]


def test_a_patients_row_has_their_planes_and_their_value_in_every_model(
    made: tuple[str, dict[str, Any]],
) -> None:
    _, header, *rows = table(made[0], "Test patient</th>")
    shown = models(made[1])
    assert len(header) == len(shown) and len(rows) == 9
    for name, planes, *shares in rows:
        assert planes == count(shown[0]["per_patient"][name]["planes"])
        assert shares == [percent(model["per_patient"][name]["balanced_accuracy"]) for model in shown]
