"""The documents say what the run knows, and mark what it does not; the numbers are the report's own."""

import re
from dataclasses import replace

import pytest

from components.report.documents import documents
from components.report.facts import facts_of_run
from components.report.shortcuts import shortcuts_section
from components.report.stage import report


@pytest.fixture(scope="module")
def values(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    found = report(inputs, folder / "report.html", folder / "metrics.json", folder / "doubtful.csv")
    return found, (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def facts(values, inputs):
    return facts_in(values[0], inputs)


def facts_in(found, inputs):
    audit = shortcuts_section(inputs.findings)
    return facts_of_run(found, inputs.passports, False, "None is a copy.", audit)


def entries(document):
    return {question: answer for _, group in document.groups for question, answer in group}


def test_claim_has_its_44_items_in_their_order(facts):
    claim = next(document for document in documents(facts) if document.id == "claim")
    assert [int(question.partition(".")[0]) for question in entries(claim)] == list(range(1, 45))


def test_no_question_is_asked_twice_and_no_answer_is_empty(facts):
    for document in documents(facts):
        asked = [question for _, group in document.groups for question, _ in group]
        assert len(asked) == len(set(asked))
        assert all(answer is None or answer.strip() for answer in entries(document).values())


def test_what_only_people_know_is_left_to_them(facts):
    card, sheet, claim = (entries(document) for document in documents(facts))
    for answer in (
        card["Ethical review"],
        sheet["Consent and ethical review"],
        claim["44. Funding and interests"],
    ):
        assert answer is None
    assert claim["7. Sources of data"] is None
    shown = entries(documents(replace(facts, simulated=True))[2])
    assert shown["7. Sources of data"] == "simulated volumes"


def test_the_reference_is_not_said_to_know_how_the_head_lies(facts):
    why = entries(documents(facts)[2])["15. Why that one"]
    assert "relative to the header, not to the head" in why
    assert "exactly" not in why


def test_the_page_marks_as_many_answers_as_are_open(values, facts):
    page = values[1]
    for document in documents(facts):
        part = re.search(rf'<h2 id="{document.id}">.*?</section>', page, re.S).group(0)
        assert part.count('class="unknown"') == document.open + 1  # one explains the mark
        assert document.title in part


def test_an_expert_who_labelled_is_not_called_nobody(values, inputs):
    told = values[0] | {"parameters": values[0]["parameters"] | {"expert_labels_uri": "doubtful.csv"}}
    for found, begin in ((values[0], "nobody"), (told, "an expert")):
        claim = entries(documents(facts_in(found, inputs))[2])
        assert claim["16. Who annotated"].startswith(begin)


def test_figures_are_those_of_the_run(values, facts):
    found = values[0]
    model = found["models"][found["best_round"]]
    assert f"{100 * model['balanced_accuracy']:.1f} %" in entries(documents(facts)[0])["Measured"]
    assert str(found["test_patients"]) in entries(documents(facts)[0])["On whom"]
