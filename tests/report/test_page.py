import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.report.application import apply_page
from components.report.stage import Inputs, report
from components.report.words import count, decimal, percent
from components.shared.planes import PlaneSet
from tests.report.pages import Page, cut_texts, look_up


def render(inputs: Inputs, folder: Path) -> tuple[str, dict[str, Any]]:
    report(inputs, folder / "report.html", folder / "metrics.json", folder / "doubtful.csv")
    return (folder / "report.html").read_text(), json.loads((folder / "metrics.json").read_text())


def without_time(text: str) -> str:
    return re.sub(r"<time>[^<]*</time>", "<time></time>", text)


@pytest.mark.parametrize(
    "change", [{}, {"rounds": 0}, {"labels": ("coronal", "sagittal")}, {"rounds": 8, "test": 9}], ids=str
)
def test_the_numbers_of_the_page_are_those_of_metrics(
    run_of: Callable[..., Inputs], change: dict[str, Any], tmp_path: Path
) -> None:
    text, values = render(run_of(**change), tmp_path)
    numbers = Page(text).numbers
    assert len(numbers) > 40
    for pointer, value, shown in numbers:
        truth = look_up(values, pointer)
        assert value == ("" if truth is None else repr(truth)), pointer
        assert shown in {percent(truth), decimal(truth), count(truth)}, pointer
    pointers = {pointer for pointer, _, _ in numbers}
    for model in set(values["models"]) - {"labelled_only"}:
        for key in ("balanced_accuracy", "accuracy", "error_rate", "loss", "macro_f1"):
            assert f"/models/{model}/{key}" in pointers


def test_the_page_needs_nothing_but_itself(inputs: Inputs, tmp_path: Path) -> None:
    text, _ = render(inputs, tmp_path)
    page = Page(text)
    assert page.references
    for reference in page.references:
        assert reference.startswith("data:image/png;base64,") or reference[1:] in page.ids
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "http" not in text and "@import" not in text and "url(http" not in text
    assert len(text) < 5_000_000


def test_equal_inputs_give_equal_pages_but_for_the_time(inputs: Inputs, tmp_path: Path) -> None:
    first, second = (render(inputs, tmp_path / name)[0] for name in "ab")
    assert first.count("<time>") == 1
    assert without_time(first) == without_time(second)


def test_few_test_patients_allow_no_claim(inputs: Inputs, tmp_path: Path) -> None:
    text, _ = render(inputs, tmp_path)
    assert "n = 3 patients: no claim possible" in text
    assert "3 unseen patients" in text
    assert "proves the flow, not image quality" in text
    assert "A demonstration on simulated volumes." in text
    assert "the last one is published" in text  # two validation patients choose nothing


def test_more_test_patients_are_described_and_not_called_a_winner(
    run_of: Callable[..., Inputs], tmp_path: Path
) -> None:
    text, _ = render(run_of(test=8, validation=5, kimg=1200.0), tmp_path)
    assert "no claim possible" not in text
    assert "8 patients: described, not tested" in text
    assert "image quality" not in text
    assert "coin toss" not in text


def test_a_run_without_pseudo_label_rounds_has_a_page(run_of: Callable[..., Inputs], tmp_path: Path) -> None:
    text, values = render(run_of(rounds=0), tmp_path)
    assert values["best_round"] == "round_000"
    assert "Labelled only, published" in text and "Round 1" not in text


def test_a_run_without_noise_says_so(run_of: Callable[..., Inputs], tmp_path: Path) -> None:
    text, _ = render(run_of(labels=("coronal", "sagittal")), tmp_path)
    assert "no planes of class noise" in text
    assert "its recall is not measured" in text


def test_the_noise_recall_stands_beside_the_grey_threshold(inputs: Inputs, tmp_path: Path) -> None:
    text, values = render(inputs, tmp_path)
    beside = text[text.index("Recall by mean grey alone") :]
    assert percent(values["models"]["supervised"]["recall"]["noise"]) in beside
    assert percent(values["models"]["supervised"]["noise_by_grey"]) in beside


def test_names_are_escaped(inputs: Inputs, tmp_path: Path) -> None:
    text, _ = render(replace(inputs, run="<b>x</b>", notes=["<script>1</script>"]), tmp_path)
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "<b>x</b>" not in text


def test_no_text_is_set_smaller_than_eleven_pixels() -> None:
    style = (Path(__file__).parents[2] / "components/report/report.css").read_text()
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: ?([0-9.]+)px", style)]
    assert sizes and min(sizes) >= 11


def test_a_gan_without_history_has_no_curve(run_of: Callable[..., Inputs], tmp_path: Path) -> None:
    run = run_of()
    about = json.loads((run.generator / "generator.json").read_text()) | {"history": []}
    (run.generator / "generator.json").write_text(json.dumps(about))
    text, values = render(run, tmp_path)
    assert values["gan"]["augment_p"] is None
    assert "History of the GAN: losses" not in text


@pytest.mark.parametrize("known", [True, False])
def test_the_page_of_other_scans(
    applied_of: Callable[..., tuple[Path, PlaneSet]], known: bool, tmp_path: Path
) -> None:
    folder, planes = applied_of(known)
    apply_page(folder, tmp_path / "page.html", planes)
    text = (tmp_path / "page.html").read_text()
    values = json.loads((folder / "metrics.json").read_text())
    page = Page(text)
    assert f"{len(planes.rows)} planes of 2 patients, judged by 2 classifiers" in text
    assert ("so nothing is measured" in text) is not known
    for pointer, value, _ in page.numbers:
        assert value == repr(look_up(values, pointer))
    assert all(r.startswith("data:image/png") or r[1:] in page.ids for r in page.references)


def test_what_is_taken_on_trust_of_every_scan_is_among_the_limits(
    inputs: Inputs, applied_of: Callable[..., tuple[Path, PlaneSet]], tmp_path: Path
) -> None:
    folder, planes = applied_of(True)
    apply_page(folder, tmp_path / "page.html", planes)
    for text in ((tmp_path / "page.html").read_text(), render(inputs, tmp_path)[0]):
        limits = text.partition("Limits</h2>")[2].partition("</section>")[0]
        assert "Which axis runs from front to back and which up and down is taken from the header" in limits
        assert "A scan that was cropped, padded, resampled, flipped, moved" in limits


def test_labels_that_contradict_the_round_before_are_warned_of(inputs: Inputs, tmp_path: Path) -> None:
    rounds = [dict(record) for record in inputs.rounds]
    rounds[1] |= {"taught": 40, "taught_flips": 19}
    assert "another label; at least" not in render(inputs, tmp_path)[0]
    shown = render(replace(inputs, rounds=rounds), tmp_path)[0]
    assert "Round 1: of the 40 images that the round before accepted, it gives 19 another label" in shown


def test_no_text_of_a_drawing_is_cut(run_of: Callable[..., Inputs], tmp_path: Path) -> None:
    for change in ({}, {"rounds": 8, "test": 9}):
        assert cut_texts(render(run_of(**change), tmp_path)[0]) == []
