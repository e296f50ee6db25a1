"""The page of a study says metrics.json's numbers, and names what failed."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from components.report.study import Inputs, flat_metrics, report_study
from components.report.study_words import caution, of_repeats
from components.report.words import count, decimal, percent, points
from components.shared import expert_labels
from components.shared.ledger import Ledger
from components.shared.splits import TEST
from tests.report.fabricated_study import write_study
from tests.report.pages import Page, cut_texts, look_up

SCHEMA = json.loads((Path(__file__).parents[2] / "components/report/study.schema.json").read_text())
FAILED = ("fold0_G_0.2_seed0", "fold0_labelled_gan0")


def render(inputs: Inputs, folder: Path) -> tuple[str, dict[str, Any]]:
    report_study(inputs, folder / "report.html", folder / "metrics.json", folder / "doubtful.csv")
    return (folder / "report.html").read_text(), json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Two folds of three patients each, two seeds, two fractions."""
    root = tmp_path_factory.mktemp("large")
    return render(write_study(root, patients=15), root)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """One fold of two patients, in which a cell and a GAN failed."""
    root = tmp_path_factory.mktemp("small")
    few = {"folds": 1, "seeds": 1, "label_fractions": (0.2,)}
    return render(write_study(root, patients=8, failed=FAILED, **few), root)


@pytest.fixture(params=["large", "small"])
def made(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.getfixturevalue(request.param)


def test_metrics_have_the_shape_of_the_schema(made: tuple[str, dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(made[1])
    for spoilt in (
        made[1] | {"generated": "today"},
        made[1] | {"verdict": []},
        {key: value for key, value in made[1].items() if key != "cells"},
        made[1] | {"arms": [made[1]["arms"][0] | {"value": 1.5}]},
        made[1] | {"synthetic": [made[1]["synthetic"][0] | {"failed": "why"}]},
    ):
        assert not validator.is_valid(spoilt)


def test_the_numbers_of_the_page_are_those_of_metrics(made: tuple[str, dict[str, Any]]) -> None:
    numbers = Page(made[0]).numbers
    assert len(numbers) > 40
    for pointer, value, shown in numbers:
        truth = look_up(made[1], pointer)
        assert value == ("" if truth is None else repr(truth)), pointer
        said = {percent(truth), decimal(truth), count(truth)} | (
            {points(truth)} if truth is not None else set()
        )
        assert shown in said, pointer


def test_the_page_needs_nothing_but_itself_and_nothing_is_cut(made: tuple[str, dict[str, Any]]) -> None:
    page = Page(made[0])
    for reference in page.references:
        assert reference.startswith("data:image/png;base64,") or reference[1:] in page.ids
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert cut_texts(made[0]) == []


def test_few_patients_and_failures_are_told(small: tuple[str, dict[str, Any]]) -> None:
    text, values = small
    assert values["verdict"][0] == "n = 2 patients: no claim possible"
    assert values["failed"] == [{"cell": FAILED[0], "reason": "out of memory"}]
    assert ">out of memory</span>" in text and ">no images</span>" in text
    assert '<p class="alarm">1 of 7 cells failed; section' in answer_box(text)


def test_nobody_is_tested_in_two_folds(large: tuple[str, dict[str, Any]]) -> None:
    tested = [patient for fold in large[1]["folds"] for patient in fold[TEST]]
    assert len(tested) == len(set(tested)) == large[1]["patients"]


def test_numbers_for_the_ui_are_of_the_first_fraction(large: tuple[str, dict[str, Any]]) -> None:
    first = [c for c in large[1]["comparisons"] if c["fraction"] == 0.2]
    later = [c | {"fraction": 0.5, "found": c["found"] | {"difference": 9.0}} for c in first]
    flat = flat_metrics(large[1] | {"comparisons": [*first, *later]})
    headroom = next(c["found"]["difference"] for c in first if (c["model"], c["other"]) == ("A", "B"))
    assert flat["A_minus_B"] == headroom and 9.0 not in flat.values()


def test_equal_studies_give_equal_pages_but_for_the_time(tmp_path: Path) -> None:
    few = {"folds": 1, "seeds": 1, "label_fractions": (0.2,)}
    pages = [render(write_study(tmp_path / name, patients=8, **few), tmp_path / name)[0] for name in "ab"]
    first, second = (re.sub(r"<time>[^<]*</time>", "", page) for page in pages)
    assert first == second


def test_the_doubtful_images_of_every_fold_are_shown_and_can_be_labelled(tmp_path: Path) -> None:
    page, _ = render(write_study(tmp_path, patients=15), tmp_path)
    text = (tmp_path / "doubtful.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [int(row["number"]) for row in rows] == list(range(1, 61))  # two folds, half of them each
    for half in (rows[:30], rows[30:]):
        confidences = [float(row["confidence"]) for row in half]
        assert confidences == sorted(confidences)
        assert {row["generator"] for row in half} == {"ab" * 6}
    assert [f">{number}. " in page for number in (1, 30, 31, 60, 61)] == [True] * 4 + [False]
    labelled = expert_labels.parse(text.replace(",\n", ",coronal\n", 1), "doubtful.csv")
    assert [(row.image, row.label) for row in labelled] == [(rows[0]["image"], "coronal")]


@pytest.mark.parametrize("used", [0, 7])
def test_the_page_says_an_expert_labelled_only_where_a_label_was_used(tmp_path: Path, used: int) -> None:
    few = {"folds": 1, "seeds": 1, "arms": "ABCE", "expert_labels_uri": "doubtful.csv"}
    page, _ = render(write_study(tmp_path, patients=8, experts=used, **few), tmp_path)
    assert ("xpert labelled doubtful synthetic images" in page) == bool(used)
    assert ("none was used" in page) == (not used)


def test_a_study_whose_images_no_arm_judged_has_an_empty_table(tmp_path: Path) -> None:
    page, _ = render(write_study(tmp_path, patients=8, folds=1, seeds=1, arms="ABC"), tmp_path)
    assert "No arm of this study has synthetic images." in page
    assert (tmp_path / "doubtful.csv").read_text() == "number,image,generator,predicted,confidence,label\n"


def test_every_label_that_an_expert_gave_comes_back_whichever_cell_failed(tmp_path: Path) -> None:
    study = write_study(tmp_path, patients=8, seeds=1, arms="CE", failed=("fold1_E_0.2_seed0",))
    _, shown = render(study, tmp_path / "first")
    before = (tmp_path / "first/doubtful.csv").read_text()
    other = ",".join(["0", "other.png", "0" * 12, "", "", "none"])  # of another study's GAN
    filled = before.replace(",\n", ",coronal\n", 1) + other + "\n"
    Ledger.at(study.study_uri).keep_expert_labels(filled)
    render(study, tmp_path / "second")
    told = expert_labels.parse((tmp_path / "second/doubtful.csv").read_text(), "doubtful.csv")
    assert {row.image for row in told} == {row.image for row in expert_labels.parse(filled, "filled")}
    assert len(told) == 2 and shown["verdict"]


def test_a_study_without_synthetic_images_says_nothing_of_any(tmp_path: Path) -> None:
    page, values = render(write_study(tmp_path, patients=40, arms="ABC"), tmp_path)
    for said in ("What do few labels teach?", "above all arm C", "one round in each cell", "Error of C"):
        assert said in page, said
    assert "widened by how far seeds and GANs lie apart where there are several; none is tested." in page
    for not_so in ("GAN-made", "Error of E", "0 of 0", "after the first", "arm F", "In bold", "can be tests"):
        assert not_so not in page, not_so
    assert "the round" not in page.partition("validation patients choose")[2].partition(";")[0]
    assert values["verdict"][0].startswith(("E − C not measured: arm E", "nothing to gain"))


@pytest.mark.parametrize(("seeds", "widened"), [(1, False), (2, True)])
def test_trainings_widen_the_intervals_only_where_there_are_several(
    tmp_path: Path, seeds: int, widened: bool
) -> None:
    page, _ = render(write_study(tmp_path, patients=15, seeds=seeds, arms="ABCE"), tmp_path)
    assert ("widened by how far seeds" in page) == widened
    assert ("How far the seeds of a fold lie apart" in page) == widened
    assert ("With one whole seed the spread between seeds is not known." in page) == (not widened)


def test_only_the_comparisons_that_were_tested_are_called_so(tmp_path: Path) -> None:
    """Without A nothing stops the tests at the headroom: E - C is one, E - D only where E - C helped."""
    page, values = render(write_study(tmp_path, patients=25, arms="BCDE"), tmp_path)
    tested = [f"{e['model']} − {e['other']}" for e in values["comparisons"] if e["role"] == "tested"]
    assert tested and f"patient by patient: {', then '.join(tested)}." in page


def answer_box(page: str) -> str:
    return page.partition('<div class="verdict">')[2].partition("</div>")[0]


def test_what_the_audit_found_stands_beside_the_answer(tmp_path: Path) -> None:
    few = {"patients": 15, "arms": "ABCE"}
    for name, change in (("leak", {"leak": True}), ("off", {"audit": "off"}), ("clean", {})):
        pages = render(write_study(tmp_path / name, **few, **change), tmp_path)[0]
        told = {
            "leak": ("no figure here can be trusted", "a class could be told, so no figure can be trusted"),
            "off": ("The audit was switched off", "Not looked for: the audit was switched off"),
            "clean": ("", "no class could be told"),
        }[name]
        box, documents = answer_box(pages), pages.partition("Model card</h2>")[2]
        assert ('class="alarm"' in box) == (name != "clean") and told[0] in box
        assert told[1] in documents
        assert ("No shortcut audit" in documents) == (name == "off")


def test_where_no_arm_came_to_its_end_nobody_was_tested(tmp_path: Path) -> None:
    lost = [f"fold0_B_{fraction}_seed{seed}" for fraction in (0.2, 0.5) for seed in (0, 1)]
    lost += ["fold0_A_1_seed0", "fold0_A_1_seed1"]
    page, values = render(write_study(tmp_path, patients=15, arms="AB", failed=lost), tmp_path)
    assert [arm["value"] for arm in values["arms"]] == [None] * 3
    assert "No arm came to its end in every fold, so none of 6 patients was measured." in answer_box(page)
    assert "No seed came to its end in every fold." in page
    assert "neither was measured" in page
    for not_so in (
        "6 tested patients",
        "by models that have not seen it",
        "With one whole seed",
        "has one label fraction",
    ):
        assert not_so not in page, not_so


def test_a_second_fraction_without_its_arms_is_no_study_of_one(tmp_path: Path) -> None:
    lost = [f"fold0_{arm}_0.5_seed{seed}" for arm in "BC" for seed in (0, 1)]
    page, _ = render(write_study(tmp_path, patients=15, arms="ABCG", failed=lost), tmp_path)
    assert "This study has one label fraction" not in page
    assert "there is no curve" in page
    assert "<h3>50.0 % of the labels</h3>" in page, "arm G was measured there"


def test_cells_whose_rounds_contradict_each_other_are_named(tmp_path: Path) -> None:
    page, _ = render(write_study(tmp_path, patients=15, arms="ACDG"), tmp_path)
    limits = limits_of(page)
    torn = "fold0_D_0.2_seed1, fold0_D_0.5_seed1, fold1_D_0.2_seed1, fold1_D_0.5_seed1"
    assert f"In 4 cells ({torn}) a round gave other labels" in limits


CHOSEN = "The best of several trainings is published (arm E), the only one of arm C"
POINTS = "far too many studies without an effect would be called shown"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patients": 20}, [True, False]),
        ({"patients": 20, "patience": 2}, [True, True]),
        ({"patients": 20, "patience": 2, "max_rounds": 1}, [False, False]),  # one round that may be published
        ({"patients": 15, "patience": 2}, [False, False]),  # too few validation patients: the last round is
        ({"patients": 20, "patience": 2, "arms": "ABC"}, [False, False]),
    ],
)
def test_that_an_arm_chooses_among_trainings_is_told(
    changes: dict[str, Any], said: list[bool], tmp_path: Path
) -> None:
    study = {"folds": 1, "seeds": 1, "label_fractions": (0.2,), "arms": "CE", **changes}
    page, _ = render(write_study(tmp_path, **study), tmp_path)
    assert [words in limits_of(page) for words in (CHOSEN, POINTS)] == said


def test_what_else_differs_between_arms_is_told_of_those_that_the_study_has(tmp_path: Path) -> None:
    few = {"patients": 8, "folds": 1, "seeds": 1, "label_fractions": (0.2,)}
    told = {
        arms: limits_of(render(write_study(tmp_path / arms, arms=arms, **few), tmp_path)[0])
        for arms in ("ABCE", "CDE", "ABC")
    }
    headroom, noise = "augmentation may have taken a part of it", "D, whose pool keeps the noise planes"
    looks = "another seed, dial or run_name on the same patients is another look"
    for words, expected in ((headroom, {"ABCE"}), (noise, {"CDE"}), (looks, {"ABCE", "CDE"})):
        assert {arms for arms, limits in told.items() if words in limits} == expected, words
    for limits in told.values():
        assert "Which axis runs from front to back" in limits
        assert "A scan that was cropped, padded" in limits


def limits_of(page: str) -> str:
    return page.partition("Limits</h2>")[2].partition("</section>")[0]


def test_given_starts_are_told_and_a_generator_that_went_on_is_not_called_young(tmp_path: Path) -> None:
    given = {"gan_resume_uri": "gs://b/g", "pretrained_uri": "gs://b/w.safetensors"}
    page, values = render(write_study(tmp_path / "given", patients=8, folds=1, arms="CE", **given), tmp_path)
    assert values["parameters"]["pretrained_uri"] == "w.safetensors"
    young = "their pictures are not realistic"
    for said in ("kimg from another generator", "Every GAN began with a given generator", "taken to have"):
        assert said in page, said
    assert young not in page
    assert young in render(write_study(tmp_path / "new", patients=8, folds=1, arms="CE"), tmp_path)[0]
    none = render(write_study(tmp_path / "none", patients=8, folds=1, arms="AB", **given), tmp_path)[0]
    assert "began with a given generator" not in none, "there is no GAN"


def test_patients_without_both_cuts_are_not_called_arms_that_failed() -> None:
    values = {"patients": 0, "arms": [{"value": None, "seeds": None}], "folds": [{}], "comparisons": []}
    assert caution(values) == "No tested patient has planes of both cuts, so no arm has a balanced accuracy."
    assert "came to its end" not in of_repeats(values)
