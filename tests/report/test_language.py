"""Both pages in Spanish: every sentence, no number changed, and a catalogue without a dead key."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.close_study.answer import answer
from components.close_study.cells import Outcome
from components.report.application import apply_page
from components.report.language import (
    SPANISH,
    Catalogue,
    catalogue_of,
    comma,
    in_language,
    translated,
)
from components.report.stage import Inputs, report
from components.report.study import report_study
from components.shared.comparisons import Comparison
from components.shared.metrics import predictions_of
from components.shared.planes import PlaneSet, Seen
from components.shared.study import Cell, Grid
from components.shared.verdicts import NOTHING_TO_GAIN, WORSE
from tests.report.conftest import write_findings, write_judgement
from tests.report.fabricated_study import write_study
from tests.report.pages import Page, cut_texts

REPORT = Path(__file__).parents[2] / "components"
RUNS = (
    {},
    {"rounds": 8, "test": 9},
    {"rounds": 0},
    {"labels": ("coronal", "sagittal")},
    {"test": 8, "validation": 5, "kimg": 1200.0},
    {"test": 1, "validation": 1},
)
OF_FOLD_0 = tuple(f"fold0_B_{fraction}_seed{seed}" for fraction in (0.2, 0.5) for seed in (0, 1))
OF_E = (f"fold{fold}_E_{fraction}_seed0" for fold in (0, 1) for fraction in (0.2, 0.5))
NO_GAN = ("fold0_all_gan0", "fold1_all_gan0", *OF_E)
STUDIES = (
    {"patients": 15, "gans": 2},
    {"patients": 25, "arms": "ABC"},
    {"patients": 20, "folds": 1, "arms": "CE", "seeds": 1, "patience": 2},
    {"patients": 8, "arms": "A", "folds": 1, "seeds": 1, "label_fractions": (1.0,)},
    {"patients": 12, "arms": "BCE", "expert_labels_uri": "e.csv", "experts": 3},
    {"patients": 8, "folds": 1, "arms": "CE", "seeds": 1},
    {"patients": 15, "seeds": 3, "gans": 2, "label_unit": "plane"},
    {
        "patients": 8,
        "folds": 1,
        "seeds": 1,
        "label_fractions": (0.2,),
        "expert_labels_uri": "of_another_gan.csv",
        "failed": ("fold0_G_0.2_seed0", "fold0_labelled_gan0"),
    },
    {
        "patients": 8,
        "folds": 1,
        "seeds": 1,
        "label_fractions": (0.2,),
        "experts": 7,
        "expert_labels_uri": "e.csv",
        "failed": ("fold0_E_0.2_seed0", "fold0_F_0.2_seed0"),
    },
    {"patients": 5, "folds": 1, "arms": "ABC", "seeds": 1},
    {"patients": 8, "folds": 1, "arms": "CF", "seeds": 1},
    {"patients": 15, "arms": "CF", "seeds": 2, "gan_resume_uri": "gs://b/g", "pretrained_uri": "gs://b/w.pt"},
    {"patients": 8, "arms": "AB", "audit": "off", "folds": 1, "leak": False},
    {"patients": 8, "arms": "AB", "folds": 1, "leak": True},
    {"patients": 15, "arms": "CE", "seeds": 1, "failed": NO_GAN},
    {"patients": 15, "arms": "AB", "failed": (*OF_FOLD_0, "fold0_A_1_seed0", "fold0_A_1_seed1")},
)

VERDICTS = (NOTHING_TO_GAIN, WORSE)
CELL = Cell(fold=0, arm="E", fraction=0.2, seed=0)
NOBODY = predictions_of(np.zeros((0, 3)), [])

ENGLISH = {
    *("the", "and", "of", "is", "are", "was", "were", "which", "with", "than", "that", "this", "from", "by"),
    *("planes", "images", "patients", "labels", "labelled", "noise", "sagittal", "round", "not", "each"),
    *("between", "how", "what", "where", "their", "they", "has", "have", "for", "to", "on", "in", "or", "as"),
}


@pytest.fixture(scope="module")
def english(
    run_of: Callable[..., Inputs],
    applied_of: Callable[..., tuple[Path, PlaneSet]],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[str]:
    """Return pages of several runs and studies, few and many patients, failures among them."""
    root, pages = tmp_path_factory.mktemp("english"), []
    for inputs in (*(run_of(**change) for change in RUNS), alarming(run_of)):
        report(inputs, root / "report.html", root / "metrics.json", root / "doubtful.csv")
        pages.append((root / "report.html").read_text())
    for place, change in enumerate(STUDIES):
        study = replace(write_study(root / f"{place}", **change), run="51d0c0ffee12")
        report_study(study, root / "report.html", root / "metrics.json", root / "doubtful.csv")
        pages.append((root / "report.html").read_text())
    for known in (True, False):
        folder, planes = applied_of(known)
        apply_page(folder, root / "page.html", planes, run_of().notes if known else ())
        pages.append((root / "page.html").read_text())
    told = "".join(f"<p>{sentence}</p>" for sentence in (*VERDICTS, *rarely_said()))
    return [*pages, f'<!doctype html>\n<html lang="en">\n<body>{told}</body></html>']


def rarely_said() -> list[str]:
    """Return the answers of studies in which something is missing."""
    whole = Outcome(cell=CELL, result={"pseudo": {}}, rows=[], predictions=NOBODY)
    grid = Grid(folds=5, fractions=[0.2], seeds=2, gans=1, arms="ABCDE")
    nothing = Comparison(
        patients=9, repeats=2, gans=2, difference=0.0, other_low=0.8, interval=(-0.1, 0.1), p_value=1.0
    )
    return [
        *answer(replace(grid, arms="BC"), {"B": [whole]}, {}, 9),
        *answer(replace(grid, arms="C"), {}, {}, 9),
        *answer(grid, {"A": [whole]}, {}, 9),
        *answer(grid, {}, {}, 9),
        *answer(grid, {letter: [whole] for letter in "ABCE"}, {}, 9),
        *answer(grid, {letter: [whole] for letter in "CE"}, {("E", "C"): nothing}, 9),
        *answer(grid, {}, {}, 0),
    ]


def alarming(run_of: Callable[..., Inputs]) -> Inputs:
    """Return a run in which all that a page warns of went wrong, and that another came before."""
    run = run_of(name="z")
    write_findings(run.findings, leak=True)
    write_judgement(run.synthetic.folder, run.splits.patients("train"), 8, ["z00", "z01"])
    rounds = [dict(record) for record in run.rounds]
    rounds[1] |= {"taught": 40, "taught_flips": 19}
    measured = {name: dict.fromkeys(run.splits.patients("test"), 0.8) for name in ("supervised", "round_000")}
    before = {"run": "51d0c0ffee00", "snapshot": run.snapshot, "models": measured}
    before["models"]["published"] = measured["supervised"]
    synthetic = replace(run.synthetic, seen=run.synthetic.seen | Seen(patients=frozenset({"z11"})))
    notes = ["The volumes are simulated: nothing here says anything about infants."]
    parameters = {**run.parameters, "threshold_rule": "adaptive", "expert_labels_uri": "e.csv"}
    return replace(run, rounds=rounds, before=before, synthetic=synthetic, notes=notes, parameters=parameters)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(catalogue_of(SPANISH))


@pytest.fixture(scope="module")
def spanish(english: list[str], catalogue: Catalogue) -> list[str]:
    return [translated(page, catalogue, SPANISH) for page in english]


def test_no_sentence_stays_english(spanish: list[str], catalogue: Catalogue) -> None:
    assert all('<html lang="es">' in page for page in spanish)
    assert sorted(catalogue.missing) == []
    assert [(page, found) for page, found in enumerate(map(english_words, spanish)) if found] == []


def english_words(page: str) -> list[str]:
    """Return what is plainly English in the prose of a page, whatever the catalogue thinks of it."""
    prose = re.sub(r"<style>.*?</style>|<(code|time)>.*?</\1>", " ", page, flags=re.DOTALL)
    prose = re.sub(r'<(\w+)[^>]* translate="no">.*?</\1>', " ", prose, flags=re.DOTALL)
    read = re.findall(r'(?:alt|title|aria-label)="([^"]*)"', prose)
    told = " ".join([*read, re.sub(r"<[^>]*>", " ", prose)]).lower()
    words = re.findall(r"(?<![\w./-])[^\W\d_]+(?![\w/-]|\.\w)", told)  # no parts of names of files
    return sorted(set(words) & ENGLISH)


def test_the_numbers_are_the_same_and_written_with_a_comma(english: list[str], spanish: list[str]) -> None:
    for before, after in zip(english, spanish, strict=True):
        old, new = Page(before), Page(after)
        assert [(pointer, value) for pointer, value, _ in new.numbers] == [
            (pointer, value) for pointer, value, _ in old.numbers
        ]
        assert [shown for _, _, shown in new.numbers] == [
            comma(shown).replace(" pt", " pp") for _, _, shown in old.numbers
        ]
        assert (new.ids, new.references) == (old.ids, old.references)


def test_nothing_of_a_drawing_is_cut(spanish: list[str]) -> None:
    assert [cut_texts(page) for page in spanish] == [[] for _ in spanish]


def test_no_key_of_the_catalogue_is_dead(spanish: list[str], catalogue: Catalogue) -> None:
    """A key that these pages do not use has all its words in the sources that make pages."""
    folders = ("report", "shared", "close_study", "judge_synthetic", "audit_shortcuts")
    paths = [path for name in folders for path in (REPORT / name).rglob("*") if path.suffix in {".py", ".j2"}]
    sources = " ".join(re.sub(r'"\s+f?"', "", path.read_text()) for path in sorted(paths)).lower()
    words = set(re.findall(r"\w+", sources))
    dead = [
        key
        for key in catalogue_of(SPANISH).keys() - catalogue.used
        if not set(re.findall(r"[a-z]+", re.sub(r"\{=?\d\}|<br>", " ", key.lower()))) <= words
    ]
    assert dead == []


def test_every_translation_has_the_holes_of_its_key() -> None:
    for key, value in catalogue_of(SPANISH).items():
        assert sorted(re.findall(r"\{=?\d\}", key)) == sorted(re.findall(r"\{=?\d\}", value)), key
        assert value.strip(), key


def test_metrics_do_not_depend_on_the_language(inputs: Inputs, tmp_path: Path) -> None:
    for language in ("en", "es"):
        html, metrics, doubtful = (tmp_path / f"{language}.{ending}" for ending in ("html", "json", "csv"))
        report(inputs, html, metrics, doubtful, language)
    assert (tmp_path / "en.json").read_bytes() == (tmp_path / "es.json").read_bytes()
    text = (tmp_path / "es.html").read_text()
    assert "n = 3 pacientes: no cabe ninguna afirmación" in text
    assert "no claim possible" not in text and "no claim possible" in (tmp_path / "en.html").read_text()


@pytest.mark.parametrize(
    ("english", "spanish"),
    [
        ("93.8 %", "93,8 %"),
        ("1,200 images, 0.5", "1\u202f200 images, 0,5"),
        ("[-0.4, 2.9]", "[-0,4, 2,9]"),
        ("fontanelle 0.1.0, Apache-2.0, p01, a1.5", "fontanelle 0.1.0, Apache-2.0, p01, a1.5"),
    ],
)
def test_numbers_in_spanish(english: str, spanish: str) -> None:
    assert comma(english) == spanish


def test_what_is_no_prose_and_what_nobody_translated_stays() -> None:
    page = '<html lang="en"><p>Planes <code>planes 0.5</code></p><p translate="no">Noise</p><p>Who knows.</p>'
    expected = (
        '<html lang="es"><p>Planos <code>planes 0.5</code></p><p translate="no">Noise</p><p>Who knows.</p>'
    )
    found = Catalogue({"Planes {=1}": "Planos {=1}"})
    assert translated(page, found, SPANISH) == expected
    assert found.missing == {"Who knows."}
    assert in_language(page, "en") == page


def test_the_catalogue_says_what_the_verdicts_say() -> None:
    found = Catalogue(catalogue_of(SPANISH))
    for english, spanish in (
        (
            "synthetic data helped: +1.2 pt [-0.4, 2.9], 8 patients: not shown",
            "los datos sintéticos ayudaron: +1.2 pp [-0.4; 2.9], 8 pacientes: no demostrado",
        ),
        (
            "synthetic data hurt: -1.2 pt [-2.4, -0.1], 8 patients: shown",
            "los datos sintéticos perjudicaron: -1.2 pp [-2.4; -0.1], 8 pacientes: demostrado",
        ),
        (
            "synthetic data helped less than the hidden real planes: -1.2 pt [-2.4, 0.1], 8 patients:"
            " not shown",
            "los datos sintéticos ayudaron menos que los planos reales ocultos: -1.2 pp [-2.4; 0.1],"
            " 8 pacientes: no demostrado",
        ),
        ("n = 1 patient: no claim possible", "n = 1 paciente: no cabe ninguna afirmación"),
    ):
        assert found.translate(english) == spanish
    assert json.dumps(sorted(found.missing)) == "[]"
