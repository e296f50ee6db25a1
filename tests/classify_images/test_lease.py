"""Classifying is the run's work on its ledger: while another run holds that, it does not begin."""

from types import SimpleNamespace

import pytest

from components.classify_images.component import classify_images
from components.shared.lease import lease
from components.shared.ledger import Ledger


def test_a_ledger_that_another_run_holds_is_not_worked_on(tmp_path, capsys):
    ledger = Ledger(state_uri=str(tmp_path), run="r")
    nowhere = SimpleNamespace(path=str(tmp_path / "nowhere"))
    given = {"synthetic": nowhere, "classifier": nowhere, "predictions": nowhere, "number": 0}
    where = {"state_uri": str(tmp_path), "run": "r", "relabel": "all"}
    with lease(ledger.uri, "other"), pytest.raises(SystemExit):
        classify_images.python_func(**given, **where, owner="mine")
    assert "held by run other" in capsys.readouterr().out
