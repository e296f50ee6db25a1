"""The cells of a study, and the folds they are tested on."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.splits import FOLDS, SPLITS, TEST, Splits
from components.shared.study import ARMS, BASELINE, MOST_PODS, PSEUDO, Cell, Grid, Source, dealt

GRID = Grid(folds=2, fractions=[0.2, 0.5], seeds=3, gans=2, arms="ABCDEFG")


def test_all_labels_once_labelled_gan_at_the_first_fraction_the_rest_at_each():
    fractions = {letter: {c.fraction for c in GRID.all_cells() if c.arm == letter} for letter in ARMS}
    assert fractions["A"] == {1.0}
    assert fractions["F"] == {0.2}
    assert all(fractions[letter] == {0.2, 0.5} for letter in "BCDEG")


@pytest.mark.parametrize(
    ("arms", "what"),
    [("AB", "all_labels"), ("CB", "augment"), ("DC", "pool"), ("EC", "pool"), ("ED", "pool"),
     ("EF", "gan_planes"), ("EG", "shuffled")],
)  # fmt: skip
def test_arms_that_are_compared_differ_in_one_thing(arms, what):
    one, other = (asdict(ARMS[letter]) for letter in arms)
    assert [key for key in one if one[key] != other[key] and key not in ("letter", "title")] == [what]


def test_every_cell_is_there_once_and_after_the_cell_it_begins_with():
    cells = GRID.all_cells()
    assert len(cells) == len(set(cells)) == 2 * 3 * (1 + 5 * 2 + 1)
    for place, cell in enumerate(cells):
        if ARMS[cell.arm].pool:
            assert cells.index(cell.start) < place
    assert {cell.arm for cell in GRID.cells(BASELINE)} == set("ABC")
    assert {cell.arm for cell in GRID.cells(PSEUDO)} == set("DEFG")


def test_names_say_all():
    for cell in GRID.all_cells():
        assert Cell.named(cell.name) == cell
    for source in GRID.sources():
        assert Source.named(source.name) == source


@pytest.mark.parametrize("name", ["", "fold0_H_0.2_seed0", "fold0_E_0.2", "../x"])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="valid: a name such as"):
        Cell.named(name)
    with pytest.raises(InputError, match="valid: a name such as"):
        Source.named(name)


@given(count=st.integers(0, 1000))
def test_names_are_dealt_in_order_to_few_pods(count):
    names = [f"fold{k}_all_gan0" for k in range(count)]
    pods = dealt(names)
    assert " ".join(pods).split() == names
    assert len(pods) == count if count <= MOST_PODS else MOST_PODS / 2 <= len(pods) <= MOST_PODS


def test_every_synthetic_pool_has_its_source():
    sources = set(GRID.sources())
    assert len(sources) == 2 * 2 * 2
    pools = {GRID.source_of(cell) for cell in GRID.all_cells() if ARMS[cell.arm].pool == "synthetic"}
    assert pools == sources
    without = Grid(folds=2, fractions=[0.2], seeds=1, gans=1, arms="ABCD")
    assert without.sources() == []


def test_folds_turned_test_every_patient_once_and_keep_sides_apart():
    splits = Splits({f"p{k}": k % FOLDS for k in range(13)}, {})
    tested = [patient for fold in range(FOLDS) for patient in splits.testing(fold).patients(TEST)]
    assert sorted(tested) == sorted(splits.folds)
    for fold in range(FOLDS):
        turned = splits.testing(fold)
        sides = [set(turned.patients(side)) for side in SPLITS]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 13
