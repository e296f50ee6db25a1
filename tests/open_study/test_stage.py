"""A study is refused before any GPU where a fold, or a label fraction, could not be what it says."""

import pytest

from components.open_ledger.stage import Config
from components.open_study.stage import open_study
from components.shared.faults import InputError
from components.shared.splits import Splits
from tests.drawn_planes import write_planes
from tests.open_ledger.test_stage import PARAMETERS

SPLITS = Splits({f"p{k}": k % 5 for k in range(10)}, {})
GRID = {"folds": 2, "seeds": 1, "gans": 1, "arms": "AC", "label_unit": "patient"}


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes"), sorted(SPLITS.folds), per_class=6)


def opened(tmp_path, planes, fractions, **changes):
    config = Config(state_uri=str(tmp_path), run_name="", fingerprint="f", snapshot_digest="s")
    return open_study(config, PARAMETERS | GRID | {"label_fractions": fractions} | changes, planes, SPLITS)


@pytest.mark.parametrize(
    ("fractions", "told"),
    [
        ([0.2, 0.22], "0.2 labels the same patients as 0.22"),
        ([0.95], "0.95 labels the same patients as all labels"),
    ],
)
def test_fractions_that_label_the_same_are_refused(tmp_path, planes, fractions, told):
    with pytest.raises(InputError, match=told):
        opened(tmp_path, planes, fractions)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("fractions", "unit"), [([0.2, 0.5, 1.0], "patient"), ([0.5, 0.8], "plane")])
def test_fractions_that_differ_are_taken(tmp_path, planes, fractions, unit):
    assert len(opened(tmp_path, planes, fractions, label_unit=unit)) == 12
