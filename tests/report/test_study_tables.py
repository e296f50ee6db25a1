"""Each column of a study's tables holds what its header says, of the arm, fold or patient of its row."""

from typing import Any

import pytest

from components.report.words import count, decimal, p_value, percent, points
from tests.report.fabricated_study import write_study
from tests.report.pages import between, table
from tests.report.test_study_page import render


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Without A the tests are made whatever the headroom."""
    root = tmp_path_factory.mktemp("study")
    return render(write_study(root, patients=25, arms="BCDE"), root)


def test_an_arms_row_says_what_it_was_shown_and_came_to(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "over patients</th>")
    assert header[2:] == ["Labelledpatients", "Labelledplanes", "Pseudo-labelled", "Balancedaccuracy",
                          "95 % intervalover patients", "as if planes wereindependent"]  # fmt: skip
    for arm, row in zip(made[1]["arms"], rows, strict=True):
        assert row[0].startswith(arm["letter"]) and row[1] == percent(arm["fraction"])
        assert row[2:5] == ["2", "40", "44" if arm["letter"] in "DE" else "0"]
        assert row[5:7] == [percent(arm["value"]), between(arm["interval"], percent, "–")]
        assert row[7] == between(arm["naive"], percent, "–")


def test_a_comparisons_row_is_of_its_arms_and_only_a_test_has_a_p(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "Patients that")
    assert header[3:6] == ["Difference(points)", "95 % interval", "p"]
    for each, row in zip(made[1]["comparisons"], rows, strict=True):
        found, tested = each["found"], each["role"] == "tested"
        assert row[1:3] == [percent(each["fraction"]), f"{each['model']} − {each['other']}"]
        assert row[3:5] == [points(found["difference"]), between(found["interval"], points, "to")]
        assert row[5] == (p_value(found["p_value"]) if tested else "–")
    assert any(each["role"] == "tested" for each in made[1]["comparisons"])


def test_a_folds_row_names_who_is_tested_and_who_validates(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "Training patients")
    assert header == ["Fold", "Tested", "Validation", "Training patients"]
    for fold, row in zip(made[1]["folds"], rows, strict=True):
        named = [", ".join(fold[side]) for side in ("test", "validation")]
        assert row == [str(fold["fold"]), *named, str(len(fold["train"]))]


def test_a_patients_row_has_their_value_in_every_arm(made: tuple[str, dict[str, Any]]) -> None:
    _, letters, *rows = table(made[0], "Tested patient")
    arms = {arm["letter"]: arm for arm in made[1]["arms"] if arm["fraction"] == 0.2}
    assert letters == list(arms) and len(rows) == made[1]["patients"]
    for name, *shares in rows:
        assert shares == [percent(arm["patients"][name]) for arm in arms.values()]


def test_calibration_stands_before_and_after_and_spread_by_its_source(
    made: tuple[str, dict[str, Any]],
) -> None:
    _, header, *rows = table(made[0], "Loss on test patients")
    assert header == ["as trained", "tempered"] * 2
    assert {tuple(row[2:]) for row in rows} == {("1.20", "0.400", "0.300", "8.0 %", "5.0 %")}
    _, header, *rows = table(made[0], "Standard deviation")
    assert header == ["between patients", "between GANs", "between seeds", "rest"]
    for arm, row in zip(made[1]["arms"], rows, strict=True):
        known = [arm["spread"][part] for part in ("patients", "gans", "repeats", "rest")]
        assert row[3:] == ["–" if part is None else f"{100 * part:.1f}" for part in known]


def test_errors_are_of_the_arm_that_their_column_names(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "<th>Class</th>")
    assert header[1:] == ["Patients", "Planes", "Error of C", "95 % interval", "Error of E", "95 % interval"]
    errors = [made[1]["errors"][letter]["class"] for letter in "CE"]
    for part_C, part_E, row in zip(*errors, rows, strict=True):
        assert row[1:3] == [count(part_C["patients"]), count(part_C["planes"])]
        assert row[3::2] == [percent(part["error"]) for part in (part_C, part_E)]
        assert row[4::2] == [between(part["interval"], percent, "–") for part in (part_C, part_E)]


def test_how_near_images_are_stands_under_its_name(made: tuple[str, dict[str, Any]]) -> None:
    header, *rows = table(made[0], "<th>Synthetic images</th><th>kimg</th>")
    assert header[2:] == ["ψ", "Images", "Copies", "FID", "KID", "Precision", "Recall"]
    shown = {(row[2], *row[3:]) for row in rows if len(row) == len(header)}
    for source in made[1]["synthetic"]:
        quality = source["quality"]
        for psi, near in quality["by_truncation"].items():
            counted = quality["copies"]["by_truncation"][psi]
            numbers = [count(counted["images"]), count(counted["copies"]), decimal(near["fid"])]
            shares = [percent(near["precision"]), percent(near["recall"])]
            assert (psi, *numbers, decimal(near["kid"]), *shares) in shown
