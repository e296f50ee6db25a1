"""The simulated cells follow the study's own rules, and the documents tell of the same studies."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import best_of_rounds

LOSSES = np.array([1.0, 0.9, 0.95, 0.99, 0.2, 0.3])
DOCUMENT = Path(__file__).parents[2] / "docs/statistics.md"


@pytest.mark.parametrize(("patience", "best"), [(1, 1), (2, 1), (3, 4), (5, 4)])
def test_a_cell_publishes_the_best_round_that_its_patience_lets_it_see(patience: int, best: int) -> None:
    assert best_of_rounds.published(best_of_rounds.rule_of(patience), LOSSES) == best


def test_a_first_round_that_gains_nothing_is_published_all_the_same() -> None:
    assert best_of_rounds.published(best_of_rounds.rule_of(1), LOSSES[::-1] + np.arange(6)) == 1


def test_every_study_has_the_validation_patients_to_choose_by() -> None:
    """With fewer a cell publishes its last round, and nothing is chosen."""
    for patients in best_of_rounds.PATIENTS:
        assert best_of_rounds.rule_of(1, patients).trusts_validation
    assert best_of_rounds.published(best_of_rounds.rule_of(5, 15), LOSSES) == 5


def test_more_patience_chooses_among_more() -> None:
    gains = {}
    for patience in (1, 2, 5):
        rng, rule = np.random.default_rng(0), best_of_rounds.rule_of(patience)
        gains[patience] = np.mean([np.subtract(*best_of_rounds.cell(rule, rng)) for _ in range(2000)])
    assert 0 < gains[1] < 0.25
    assert gains[1] + 0.2 < gains[2] < gains[5] - 0.1


def test_the_document_has_a_row_for_every_study() -> None:
    heading, _, *rows = best_of_rounds.rows(sets=1, seed=0)
    told = DOCUMENT.read_text().splitlines()
    table = told[told.index(heading) + 2 :][: len(rows)]
    assert [row.split(" | ")[:3] for row in table] == [row.split(" | ")[:3] for row in rows]
