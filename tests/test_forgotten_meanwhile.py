"""A patient is forgotten while a run that knows them is under way: each stage that writes of them refuses."""

import hashlib
import json
from dataclasses import replace

import pytest

from components.close_rounds.stage import close_rounds
from components.extract_planes.cut import Cuts
from components.extract_planes.stage import Config as ExtractConfig
from components.extract_planes.stage import extract_shard
from components.make_synthetic.stage import Config as SyntheticConfig
from components.make_synthetic.stage import make_synthetic
from components.open_ledger.stage import Config as LedgerConfig
from components.open_ledger.stage import open_ledger
from components.open_round.stage import open_round
from components.open_study.stage import open_study
from components.relabel_images.stage import Config as RelabelConfig
from components.report.study import report_study
from components.run_arm.stage import Config as ArmConfig
from components.run_arm.stage import run_arm
from components.shared import forgotten as forgotten_module
from components.shared import storage
from components.shared.failures import surviving
from components.shared.faults import AwayError, ForgottenError, InputError
from components.shared.forgotten import ASKED, REMOVING, TAKEN_BACK, forget, forgotten, require_remembered
from components.shared.ledger import Ledger
from components.shared.phantom import simulate_patients
from components.shared.planes import digest_of
from components.shared.pseudonyms import Pseudonyms
from components.shared.snapshots import VolumeEntry, write_snapshot
from components.shared.splits import Splits
from components.shared.study import Cell, Grid, Source
from components.snapshot_volumes.stage import Config as SnapshotConfig
from components.snapshot_volumes.stage import snapshot
from components.split_patients.stage import Config as SplitConfig
from components.split_patients.stage import split_patients
from components.train_classifier.round import train_round
from components.train_classifier.stage import Config as TrainConfig
from components.train_gan.stage import Config as GanConfig
from components.train_gan.stage import train_gan
from components.train_gan.warm_start import keep_generator
from components.validate_parameters.stage import Parameters, results
from components.validate_parameters.study import StudyParameters
from tests.drawn_planes import SPLITS, splits_of, write_planes
from tests.open_ledger.test_stage import PARAMETERS
from tests.report.fabricated_study import write_study

pytestmark = pytest.mark.usefixtures("small_classifiers")

KEY = Pseudonyms(b"a key of the tests alone")
NAMES = {name: KEY.of("patient", name) for name in SPLITS.sides}
GONE = NAMES["a"]
SCANS = {name: hashlib.sha256(name.encode()).hexdigest()[:16] for name in NAMES.values()}
SIDES = splits_of({NAMES[name]: side for name, side in SPLITS.sides.items()})


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("planes") / "set", sorted(SIDES.sides), scans=SCANS)


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
        "scans_seen": [SCANS[GONE]],
    }
    (folder / "generator.json").write_text(json.dumps(about))
    keep_generator(folder, state, "snapshot")


RULE = {"max_rounds": 1, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 1}


def ledger_config(state):
    return LedgerConfig(state_uri=state, run_name="mine", fingerprint="f", snapshot_digest="s")


@pytest.mark.parametrize("stage", [split, begin_run, begin_study, begin_rounds, train, keep])
def test_a_stage_of_a_run_under_way_refuses_and_leaves_no_trace(stage, state, planes, tmp_path):
    forget(state, GONE)
    with pytest.raises(ForgottenError, match=f"patients {GONE}: forgotten while this run was under way"):
        stage(state, planes, tmp_path)
    assert traces(state) == []


def close(state, _, folder):
    record = {"rule": RULE | {"max_rounds": 0}, "folds": {}, "sides": {}}
    ledger = Ledger(state_uri=state, run="mine")
    ledger.begin(record)
    about = {"patients_seen": [], "scans_seen": [], "patients_validated_on": []}
    about |= {"scans_validated_on": [SCANS[GONE]], "digest": hashlib.sha256(b"weights").hexdigest()}
    (folder / "classifier.json").write_text(json.dumps(about))
    (folder / "classifier.safetensors").write_text("weights")
    ledger.keep_classifier(0, folder)
    sealed = {"classifier_digest": about["digest"], "classifier_record": digest_of(about)}
    loss = {"validation": {"mean_patient_loss": 0.1}, "stop_reason": "enough"}
    ledger.seal({"round": 0, "accepted": {}, "below": 0, "capped": 0, "changed": 0.0, **loss, **sealed}, [])
    close_rounds(ledger, folder, "owner")


def one_round(state, planes, folder):
    ledger = Ledger(state_uri=state, run="mine")
    ledger.begin({"rule": RULE, "folds": dict(SIDES.folds), "sides": dict(SIDES.sides)})
    config = TrainConfig(architecture="resnet18", epochs=1, size_px=32, batch=12, label_fraction=1.0)
    given = {"planes": planes, "pool": None, "splits": SIDES, "ledger": ledger}
    train_round(config, **given, number=0, owner="owner", out=folder / "classifier")


@pytest.mark.parametrize("stage", [split, begin_run, begin_study, one_round, train, keep, close])
def test_a_stage_refuses_a_forgotten_scan_under_any_name(stage, state, planes, tmp_path):
    """Whoever this run takes it for, and on whatever side: the patient whom it is of was forgotten."""
    gone = GONE if stage in {train, keep, close} else NAMES["v"]
    storage.create(f"{state}/forgotten/the right name", f"done\n{SCANS[gone]}".encode())
    with pytest.raises(ForgottenError, match="patients the right name: forgotten while this run was"):
        stage(state, planes, tmp_path)
    left = [each for each in storage.list_tree(state) if each.name.endswith(".safetensors")]
    assert left == []


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
    with pytest.raises(ForgottenError, match=f"patients {gone['patient']}: forgotten while this run"):
        extract_shard(config, 0, 1)
    assert real(f"{state}/planes") == []


def cell(state, planes, _):
    grid = Grid(folds=1, fractions=[0.5], seeds=1, gans=1, arms="C")
    training = TrainConfig(architecture="resnet18", epochs=1, size_px=32, batch=12, label_unit="patient")
    relabelling = RelabelConfig(round=0, confidence_threshold=0.0, relabel="all")
    rule = {"max_rounds": 1, "patience": 1, "min_gain": 0.0}
    config = ArmConfig(
        state_uri=state,
        study_uri=f"{state}/study",
        grid=grid,
        training=training,
        relabelling=relabelling,
        **rule,
    )
    run_arm(config, Cell(fold=0, arm="C", fraction=0.5, seed=0), planes, SIDES, "owner")


def images(state, planes, _):
    given = results(StudyParameters(volumes_uri="", state_uri=state, gan_resolution=32))
    config = SyntheticConfig.of(state, f"{state}/study", given | {"gan_checkpoint_kimg": 0.0})
    make_synthetic(config, Source(fold=0, planes="all", gan=0), planes, SIDES)


def cut(state, *_):
    extract_shard(
        ExtractConfig(
            volumes_uri="", state_uri=state, snapshot_digest=write_snapshot(state, ENTRIES), cuts=CUTS
        ),
        0,
        1,
    )


ENTRIES = [VolumeEntry(name="a.nrrd", size=1, digest="d", patient=GONE, session="", site="")]
CUTS = Cuts.among(vars(Parameters(volumes_uri="", state_uri="")))


@pytest.mark.parametrize("stage", [cell, images, cut])
def test_a_part_that_begins_afterwards_refuses_before_it_works(stage, state, planes, tmp_path):
    forget(state, GONE)
    with pytest.raises(ForgottenError, match=f"patients {GONE}: forgotten while this run was under way"):
        stage(state, planes, tmp_path)
    assert traces(state) == []
    assert not [each for each in storage.list_tree(state) if each.name.endswith(".safetensors")]


def test_a_report_that_is_written_afterwards_goes_again(tmp_path):
    study = write_study(tmp_path, patients=8, arms="AC", folds=1, seeds=1)
    state, gone = study.study_uri.rpartition("/")[0], sorted(study.splits.folds)[0]
    storage.create(f"{state}/forgotten/{gone}", REMOVING)
    with pytest.raises(ForgottenError):
        report_study(study, tmp_path / "r.html", tmp_path / "m.json", tmp_path / "d.csv")
    left = [each for each in storage.list_tree(state) if not each.name.startswith("forgotten/")]
    assert not [each.name for each in left if gone.encode() in storage.read_bytes(each.uri)]


def test_who_asks_while_it_is_only_asked_waits_for_the_answer(state, monkeypatch):
    """A stage that holds a lease is why the other run is refused: nothing of it is removed."""
    note = f"{state}/forgotten/{GONE}"
    storage.create(note, ASKED)
    storage.create(f"{state}/splits/0001.csv", SIDES.text().encode())
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            storage.replace(note, TAKEN_BACK, storage.read_versioned(note)[1])

    monkeypatch.setattr(forgotten_module.time, "sleep", nap)
    require_remembered(state, [GONE])
    assert len(naps) == 3 and GONE.encode() in storage.read_bytes(f"{state}/splits/0001.csv")
    storage.replace(note, ASKED, storage.read_versioned(note)[1])
    monkeypatch.setattr(forgotten_module.time, "sleep", lambda _: None)
    with pytest.raises(ForgottenError, match="another run asked to forget them and did not end"):
        require_remembered(state, [GONE])
    assert GONE.encode() in storage.read_bytes(f"{state}/splits/0001.csv")


def test_a_studys_part_keeps_no_reason_that_names_the_patient(state):
    def work():
        raise ForgottenError(f"patients {GONE}: forgotten")

    with pytest.raises(ForgottenError):
        surviving(f"{state}/cell", "arm", "owner", work)
    assert traces(state) == []


def test_a_patient_without_planes_now_comes_back_in_no_version_of_the_splits(state, planes, tmp_path):
    """The version that is written names everybody of the one before."""
    other = KEY.of("patient", "away")
    few = [name for name in SIDES.folds if name != GONE]
    folds = {name: SIDES.folds[name] for name in few} | {other: 3}
    sides = {name: SIDES.sides[name] for name in few} | {other: "train"}
    storage.create(f"{state}/splits/0001.csv", Splits(folds, sides).text().encode())
    storage.create(f"{state}/forgotten/{other}", REMOVING)
    with pytest.raises(ForgottenError, match=other):
        split(state, planes, tmp_path)
    kept = [storage.read_bytes(found.uri) for found in storage.list_tree(f"{state}/splits")]
    assert len(kept) == 2 and not [text for text in kept if other.encode() in text]


def test_of_two_that_forget_the_refused_one_takes_nothing_from_the_other(state, monkeypatch):
    storage.create(f"{state}/splits/0001.csv", SIDES.text().encode())
    real = forgotten_module._require_idle

    def idle(uri):
        """Have another run forget the patient from beginning to end, and be refused afterwards."""
        monkeypatch.setattr(forgotten_module, "_require_idle", real)
        forget(state, GONE)
        raise InputError("lease.json: held by another run")

    monkeypatch.setattr(forgotten_module, "_require_idle", idle)
    with pytest.raises(InputError, match="held by"):
        forget(state, GONE)
    assert forgotten(state) == {GONE} and traces(state) == []


def test_where_the_store_goes_away_the_note_is_taken_back(state, monkeypatch):
    def away(uri):
        raise AwayError("no answer")

    with monkeypatch.context() as patched, pytest.raises(AwayError):
        patched.setattr(forgotten_module, "_require_idle", away)
        forget(state, GONE)
    assert forgotten(state) == set()
    require_remembered(state, [GONE])
    forget(state, GONE)
    assert forgotten(state) == {GONE}
