"""A patient is forgotten while a run that knows them is under way: each stage that writes of them refuses."""

import hashlib
import json
from dataclasses import replace

import pytest

from components.extract_planes.cut import Cuts
from components.extract_planes.stage import Config as ExtractConfig
from components.extract_planes.stage import extract_shard
from components.open_ledger.stage import Config as LedgerConfig
from components.open_ledger.stage import open_ledger
from components.open_round.stage import open_round
from components.open_study.stage import open_study
from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import forget
from components.shared.ledger import Ledger
from components.shared.phantom import simulate_patients
from components.shared.pseudonyms import Pseudonyms
from components.snapshot_volumes.stage import Config as SnapshotConfig
from components.snapshot_volumes.stage import snapshot
from components.split_patients.stage import Config as SplitConfig
from components.split_patients.stage import split_patients
from components.train_gan.stage import Config as GanConfig
from components.train_gan.stage import train_gan
from components.train_gan.warm_start import keep_generator
from components.validate_parameters.stage import Parameters
from tests.drawn_planes import SPLITS, splits_of, write_planes
from tests.open_ledger.test_stage import PARAMETERS

KEY = Pseudonyms(b"a key of the tests alone")
NAMES = {name: KEY.of("patient", name) for name in SPLITS.sides}
GONE = NAMES["a"]
SIDES = splits_of({NAMES[name]: side for name, side in SPLITS.sides.items()})


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes") / "set", sorted(SIDES.sides))


@pytest.fixture
def state(tmp_path):
    return str(tmp_path / "state")


def traces(state):
    """Return the objects that name the patient, but for the note that they are forgotten."""
    found = [each for each in storage.list_tree(state) if not each.name.startswith("forgotten/")]
    return [each.name for each in found if GONE.encode() in storage.read_bytes(each.uri)]


def split(state, planes, folder):
    split_patients(SplitConfig(state_uri=state), planes, folder / "splits.csv")


def begin_run(state, planes, _):
    open_ledger(ledger_config(state), PARAMETERS, planes, SIDES)


def begin_study(state, planes, _):
    grid = {"label_fractions": [1.0], "folds": 1, "seeds": 1, "gans": 1, "arms": "AC"}
    open_study(ledger_config(state), PARAMETERS | grid, planes, SIDES)


def begin_rounds(state, planes, _):
    record = {"rule": RULE, "folds": dict(SIDES.folds), "sides": dict(SIDES.sides)}
    Ledger(state_uri=state, run="mine").begin(record)
    open_round(Ledger(state_uri=state, run="mine"), 0, "owner")


def train(state, planes, folder):
    tiny = GanConfig(kimg=0.008, resolution=8, gamma=0.0, batch=4, channel_base=64, snapshot_kimg=0.008)
    train_gan(replace(tiny, state_uri=state), planes, SIDES, folder / "generator")


def keep(state, _, folder):
    for name in ("generator", "discriminator"):
        (folder / f"{name}.safetensors").write_bytes(b"weights")
    about = {
        "digest": hashlib.sha256(b"weights").hexdigest(),
        "resolution": 8,
        "architecture": {"channel_base": 64},
        "patients_seen": SIDES.patients("train"),
    }
    (folder / "generator.json").write_text(json.dumps(about))
    keep_generator(folder, state, "snapshot")


RULE = {"max_rounds": 1, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 1}


def ledger_config(state):
    return LedgerConfig(state_uri=state, run_name="mine", fingerprint="f", snapshot_digest="s")


@pytest.mark.parametrize("stage", [split, begin_run, begin_study, begin_rounds, train, keep])
def test_a_stage_of_a_run_under_way_refuses_and_leaves_no_trace(stage, state, planes, tmp_path):
    forget(state, GONE)
    with pytest.raises(InputError, match=f"patients {GONE}: forgotten while this run was under way"):
        stage(state, planes, tmp_path)
    assert traces(state) == []


def test_planes_that_are_being_cut_go_again(state, tmp_path, monkeypatch):
    volumes = tmp_path / "volumes"
    simulate_patients(volumes, patients=3, seed=1, size=32)
    (tmp_path / "key").write_bytes(KEY.key)
    where = {"volumes_uri": str(volumes), "state_uri": state}
    source = SnapshotConfig(
        **where, patient_pattern=Parameters.patient_pattern, pseudonym_key_uri=str(tmp_path / "key")
    )
    digest = snapshot(source)
    cuts = Cuts.among(vars(Parameters(**where)) | {"plane_angles_deg": [0.0], "plane_spacing_mm": 20.0})
    real, gone = storage.list_tree, json.loads(storage.read_bytes(f"{state}/snapshots/{digest}.json"))[0]

    def forgetting(uri):
        """Answer as before, and once that was seen have the first patient forgotten."""
        found = real(uri)
        if uri.endswith("/forgotten") and not found:
            monkeypatch.setattr(storage, "list_tree", real)
            forget(state, gone["patient"])
        return found

    monkeypatch.setattr(storage, "list_tree", forgetting)
    config = ExtractConfig(**where, snapshot_digest=digest, cuts=cuts)
    with pytest.raises(InputError, match=f"patients {gone['patient']}: forgotten while this run"):
        extract_shard(config, 0, 1)
    assert real(f"{state}/planes") == []
