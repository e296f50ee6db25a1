"""A run is named by what it is made of, and refused before any GPU where it cannot be carried out."""

import json
import shutil
from dataclasses import replace

import pytest

from components.open_ledger.stage import Config, open_ledger, too_few_images
from components.shared.faults import ForgottenError, InputError
from components.shared.ledger import Ledger
from components.shared.planes import PlaneSet
from components.shared.splits import Splits
from tests.drawn_planes import SPLITS, splits_of, write_planes

PARAMETERS = {
    "label_fraction": 1.0,
    "label_unit": "plane",
    "seed": 0,
    "images": 1000,
    "max_rounds": 3,
    "patience": 1,
    "min_gain": 0.0,
    "expert_labels_uri": "",
    "relabel": "all",
}


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes") / "set", sorted(SPLITS.sides))


def config(tmp_path, **changes):
    values = {"run_name": "", "fingerprint": "f", "snapshot_digest": "s", **changes}
    return Config(state_uri=str(tmp_path), **values)


def test_the_same_study_has_the_same_name_and_another_one_another(planes, tmp_path):
    name = open_ledger(config(tmp_path), PARAMETERS, planes, SPLITS)
    assert len(name) == 12
    assert open_ledger(config(tmp_path), PARAMETERS, planes, SPLITS) == name
    assert open_ledger(config(tmp_path, fingerprint="g"), PARAMETERS, planes, SPLITS) != name
    assert open_ledger(config(tmp_path, snapshot_digest="t"), PARAMETERS, planes, SPLITS) != name


def test_the_rule_of_the_rounds_is_written_once(planes, tmp_path):
    open_ledger(config(tmp_path, run_name="mine"), PARAMETERS, planes, SPLITS)
    rule = json.loads((tmp_path / "mine/run.json").read_text())["rule"]
    assert rule["max_rounds"] == 3
    assert rule["validation_patients"] == len(SPLITS.patients("validation"))
    with pytest.raises(InputError, match="run_name=mine"):
        open_ledger(config(tmp_path, run_name="mine", fingerprint="g"), PARAMETERS, planes, SPLITS)


def test_the_sides_of_patients_are_written_once(planes, tmp_path):
    open_ledger(config(tmp_path, run_name="mine"), PARAMETERS, planes, SPLITS)
    record = json.loads((tmp_path / "mine/run.json").read_text())
    assert record["sides"] == SPLITS.sides and record["folds"] == SPLITS.folds
    moved = splits_of({**SPLITS.sides, "a": "test", "t": "train"})
    shutil.rmtree(tmp_path / "splits")
    with pytest.raises(InputError, match=r"sides of patients a \(train, now test\), t \(test, now train\)"):
        open_ledger(config(tmp_path, run_name="mine"), PARAMETERS, planes, moved)


def test_sides_from_a_cache_are_remembered_by_a_state_that_lost_them(planes, tmp_path):
    """Or the next run, with one patient more, would deal everybody anew."""
    open_ledger(config(tmp_path), PARAMETERS, planes, SPLITS)
    open_ledger(config(tmp_path), PARAMETERS, planes, SPLITS)
    (version,) = (tmp_path / "splits").iterdir()
    assert Splits.read(version).folds == SPLITS.folds
    version.write_text(splits_of({"z": "test", "a": "train"}).text())
    open_ledger(config(tmp_path, fingerprint="g"), PARAMETERS, planes, SPLITS)
    assert Splits.read(tmp_path / "splits/0002.csv").folds == {**SPLITS.folds, "z": 0}


def test_sides_from_a_cache_that_are_not_the_states_are_refused_before_a_ledger_is_begun(planes, tmp_path):
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/0001.csv").write_text(splits_of({"a": "test", "b": "train"}).text())
    words = r"^state_uri=.*: a have other sides there than in the cache; valid: .*--no-cache.*ROOT/\.cache"
    with pytest.raises(InputError, match=words):
        open_ledger(config(tmp_path), PARAMETERS, planes, SPLITS)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["0001.csv"]


def test_sides_of_who_was_forgotten_are_not_remembered(planes, tmp_path):
    (tmp_path / "forgotten").mkdir()
    (tmp_path / "forgotten/a").write_text("done")
    with pytest.raises(ForgottenError, match="patients a: forgotten while this run"):
        open_ledger(config(tmp_path), PARAMETERS, planes, SPLITS)
    assert not (tmp_path / "splits").exists()


def test_too_small_a_labelled_fraction_is_refused(planes, tmp_path):
    with pytest.raises(InputError, match="label_fraction"):
        open_ledger(
            config(tmp_path), {**PARAMETERS, "label_fraction": 1e-6, "label_unit": "plane"}, planes, SPLITS
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_a_side_without_both_cuts_is_refused(planes, tmp_path, side):
    patients = SPLITS.patients(side)
    kept = [row for row in planes.rows if row.patient not in patients or row.label != "sagittal"]
    poorer: PlaneSet = replace(planes, rows=kept)
    with pytest.raises(InputError, match=f"the {side} patients .* have no sagittal plane"):
        open_ledger(config(tmp_path), PARAMETERS, poorer, SPLITS)


def test_few_synthetic_images_are_warned_of():
    assert too_few_images(199, 100).startswith("images=199: under twice the 100 labelled planes")
    assert too_few_images(200, 100) == ""


def test_splits_of_nobody_are_refused(planes, tmp_path):
    with pytest.raises(InputError, match="the train patients"):
        open_ledger(config(tmp_path), PARAMETERS, planes, Splits({}, {}))


def test_a_finished_run_of_others_is_refused_and_not_called_the_same(planes, tmp_path, capsys):
    named = config(tmp_path, run_name="mine")
    open_ledger(named, PARAMETERS, planes, SPLITS)
    Ledger(state_uri=str(tmp_path), run="mine").publish("supervised", published(tmp_path / "made"))
    with pytest.raises(InputError, match="holds a run with other"):
        open_ledger(named, PARAMETERS | {"seed": 1}, planes, SPLITS)
    assert "nothing is new" not in capsys.readouterr().out
    open_ledger(named, PARAMETERS, planes, SPLITS)
    assert "nothing is new: the rounds of run mine are closed" in capsys.readouterr().out


def published(folder):
    folder.mkdir()
    for name in ("classifier.json", "classifier.safetensors"):
        (folder / name).write_text("{}")
    return folder
