"""Several cells, and several GANs, of a study in one pod."""

from types import SimpleNamespace

import pytest

from components.make_synthetic.component import make_synthetic
from components.run_arm.component import run_arm
from components.shared import stored_json
from components.shared.study import Cell, Source

CELLS = "fold0_A_1_seed0 fold0_A_1_seed1 fold1_B_0.2_seed0"
SOURCES = "fold0_all_gan0 fold1_labelled_gan1"


@pytest.mark.parametrize(
    ("task", "names", "of", "more"),
    [
        (run_arm, {"cells": CELLS}, Cell, {}),
        (make_synthetic, {"sources": SOURCES}, Source, {"gan_checkpoint_kimg": 0.0}),
    ],
)
def test_each_part_of_a_pod_says_why_it_failed_and_the_others_go_on(tmp_path, task, names, of, more):
    """Nothing is there to work with, so that each fails for a reason of its own."""
    nothing = SimpleNamespace(path=str(tmp_path / "nothing"))
    state = {"state_uri": str(tmp_path), "run": "study/x", "owner": "someone"}
    (parts,) = names.values()
    told = task.python_func(planes=nothing, splits=nothing, **names, **state, **more)
    assert told.split() == ["failed"] * len(parts.split())
    for name in parts.split():
        failed = of.named(name).uri(f"{tmp_path}/study/x")
        assert "run.json" in stored_json.read(f"{failed}/failed.json", {"reason": str})["reason"]
