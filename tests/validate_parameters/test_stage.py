"""Every parameter out of its range is refused by name, value and what would be valid."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from components.shared import numbered
from components.shared.faults import InputError
from components.shared.ledger import Ledger
from components.shared.storage import clients, patience
from components.validate_parameters.places import URIS, check_pipeline_root, check_places
from components.validate_parameters.stage import Parameters, fingerprint, results, validate
from components.validate_parameters.study import StudyParameters, validate_study
from tests.edited_code import edit
from tests.shared.buckets import s3_bucket
from tests.shared.fake_gcs import fake_gcs
from tests.validate_parameters.parameters import given

OWN = r"^(?P<patient>[a-z0-9]+)_.*\.nrrd$"
WRONG = {
    "label_fraction": [0, -0.1, 1.5, float("nan")],
    "confidence_threshold": [1, 2, -0.1, float("nan")],
    "label_unit": ["slice"],
    "max_rounds": [0, 51],
    "patience": [0],
    "min_gain": [-1, float("nan")],
    "threshold_rule": ["best"],
    "max_class_ratio": [0.9, float("nan")],
    "relabel": ["some"],
    "language": ["fr"],
    "expert_labels_uri": ["/nowhere.csv", "ftp://a/b.csv"],
    "classifier": ["vgg"],
    "image_size_px": [16, 1024],
    "gan_kimg": [0, float("inf")],
    "gan_resolution": [48],
    "gan_gamma": [-1],
    "gan_batch": [2],
    "gan_channel_base": [100, 256],
    "gan_augment": ["bgcfnc"],
    "gan_checkpoint_kimg": [-1, float("inf")],
    "gan_resume_uri": ["/nowhere", "ftp://a/b"],
    "pretrained_uri": [
        "/nowhere.pt",
        "ftp://a/b.pt",
        "/opt/pretrained/",
        "/opt/pretrained/..",
        "/opt/pretrained/../../etc/passwd",
        "/opt/pretrained/a/b.pt",
    ],
    "truncations": [["0.5"], [], [0], [0.5, 0.5], [0.501, 0.502], [3]],
    "images": [1],
    "max_copy_rate": [-0.1, 1.5, float("nan")],
    "inception_uri": ["/nowhere.pt", "weights.pkl", "ftp://a/b.pt"],
    "plane_angles_deg": [["0"], [], [0, 10], [-10, 10], [0, 0], [-45, 0, 45], [-60, 0, 60]],
    "plane_spacing_mm": [0],
    "field_of_view_mm": [0],
    "field_of_view": ["cube"],
    "missing_geometry": ["RAI"],
    "noise_rule": ["guess"],
    "noise_max_content": [-0.1, 0.1, float("nan")],
    "anatomy_min_content": [1.5, float("nan")],
    "noise_index_planes": [0],
    "extract_shards": [0],
    "audit": ["perhaps"],
    "pseudonym_key_uri": ["/nowhere", "ftp://a/b"],
    "run_name": ["a/b", "../up", "generators", "planes", "pseudonym.key", " a", "a\n"],
    "forget_patient": ["Ana", "3fa1-7c21e09b4d\n"],
    "cpu": ["", "0", "two", "-1", "\u0663"],
    "memory": ["", "0Gi", "8 GB", "8gb", "8", "1\u0663Gi"],
    "gpu_count": ["one", "-1", "65", "99999999999", "1.0", " 1"],
    "gpu_type": ["", "gpu", "../gpu"],
    "gpu_node_selector": [[], None, {"a b": "c"}, {"a": "c d"}, {"a": 1}],
    "gpu_tolerations": [
        {},
        None,
        [{}],
        [{"key": 5}],
        [{"key": "k", "operator": "Foo"}],
        [{"efect": "x"}],
        [{"key": "", "operator": "Equal", "value": "a"}],
        [{"key": "k", "operator": "Exists", "value": "a"}],
        [{"key": "k", "tolerationSeconds": 60}],
        [{"key": "k", "effect": "NoExecute", "tolerationSeconds": "60"}],
        [{"key": "k", "effect": "NoExecute", "tolerationSeconds": 0.5}],
        [{"key": "k", "effect": "NoExecute", "tolerationSeconds": float("inf")}],
    ],
    "gan_mirror": ["true"],
    "epochs": ["7", True, 0],
    "gpu_cpu": ["0m", "0.0", "1.5m", "0.0001", "4000"],
    "gpu_memory": ["16GB", "64Ti", "9999999999999999999"],
    "seed": [-1, 2**31],
    "patient_pattern": ["(", "no group", "(?P<patient>a{99999999999999999999})", "\n"],
    "state_uri": ["", "ftp://a/b", "  ", "file://", "gs://", "gs://bucket", "s3://bucket/"],
}
# What a form or a file takes with a pasted address, and what no bucket is called.
ODD = (
    "gs://b/state ",
    " gs://b/state",
    "gs://b/state\n",
    "gs://b/state\u00a0",
    "gs://b/state\u200b",
    "gs://b/sta\u200bte",
    "gs://b/sta\tte",
    "gs://b//state",
    "gs://b/state//",
    "gs://b/../state",
    "gs:///state",
    "gs://BUCKET/state",
    "gs://b?/state",
    "s3://b c/state",
    "GS://b/state",
    "az://b/state",
    "state\n",
    "\x7fstate",
    "sta\nte",
)


def test_defaults_are_valid(volumes):
    validate(given(volumes))
    assert given(volumes).label_fraction == 0.2


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_value_out_of_range_is_refused_by_name(volumes, name, value):
    with pytest.raises(InputError, match=rf"^{name}=.*valid: ") as refusal:
        validate(given(volumes, **{name: value}))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", URIS)
@pytest.mark.parametrize("uri", ODD)
def test_an_odd_address_is_refused_before_any_storage_is_asked(name, uri):
    given = {"volumes_uri": "v", "state_uri": "s", "classifiers_uri": "c"} | {name: uri}
    about = SimpleNamespace(**given, patient_pattern=Parameters.patient_pattern)
    with pytest.raises(InputError, match=rf"^{name}=.*valid: ") as refusal:
        check_places(about)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "uri",
    [
        "my state",
        "state/",
        "a//b",
        "/a/b c/d",
        "file:///a/b%20c",
        "gs://b/s",
        "gs://b/a b/",
        "s3://Old_bucket/x",
        "gs://b/é",
    ],
)
def test_a_folder_or_a_prefix_may_have_blanks_inside(uri):
    check_places(places(state_uri=uri))


def places(**uris):
    given = {"volumes_uri": "gs://scans", "state_uri": "state", "patient_pattern": Parameters.patient_pattern}
    return SimpleNamespace(**given | uris)


@pytest.mark.parametrize(
    ("volumes", "state"),
    [
        ("gs://b/state/scans", "gs://b/state"),
        ("a/s/../s/v/*.nrrd", "a/s/"),
        ("file:///a/v", "/a"),
        ("a", "./a"),
    ],
)
def test_volumes_do_not_lie_in_the_state(volumes, state):
    with pytest.raises(InputError, match=r"^volumes_uri=.*outside state_uri"):
        check_places(places(volumes_uri=volumes, state_uri=state))
    check_places(places(volumes_uri=state.rstrip("/") + "-volumes", state_uri=state))


def test_weights_in_an_image_are_named_by_their_file():
    check_places(places(pretrained_uri="/opt/pretrained/convnext_tiny.safetensors"))


ROOTS = [
    "gs:///a",
    "/tmp/a",
    " gs://b/a",
    "gs//b/a",
    "b/a",
    "gs://b/a\n",
    "gs://$B/x",
    "ftp://x/y",
    "gs://b//a",
]


@pytest.mark.parametrize("root", [*ROOTS, "s3://b/state", "minio://b/state/kfp?region=x"])
def test_artifacts_go_where_kfp_can_put_them_and_forgetting_does_not_come(root):
    with pytest.raises(InputError, match=r"^pipeline_root=.*outside state_uri"):
        check_pipeline_root(root, "s3://b/state")
    for usable in (
        "",
        "gs://b",
        "s3://b/artifacts?region=x",
        "minio://mlpipeline/v2/artifacts",
        "s3://b/state2",
    ):
        check_pipeline_root(usable, "s3://b/state")


IN_POD = """
import sys
from components.shared.faults import InputError
from components.validate_parameters.stage import Parameters, validate
try:
    validate(Parameters(volumes_uri=sys.argv[1], state_uri=sys.argv[2], pretrained_uri=sys.argv[3]))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("state_uri", "pretrained_uri", "words"),
    [
        ("scans/state", "", "state_uri=scans/state: a place on one machine; valid: gs://"),
        ("file:///x", "", "state_uri=file:///x: a place on one machine"),
        ("gs://b/state", "weights.pt", "pretrained_uri=weights.pt: a place on one machine"),
        (
            "az://b/state",
            "/opt/pretrained/a.safetensors",
            "state_uri=az://b/state: az://b/state: not a place",
        ),
    ],
)
def test_in_a_pod_a_local_place_is_refused(state_uri, pretrained_uri, words, tmp_path):
    launcher = tmp_path / "kfp-launcher" / "launch"
    launcher.parent.mkdir()
    launcher.write_text(f"#!/bin/sh\n'{sys.executable}' -c '{IN_POD}' \"$@\"\ntrue\n")
    launcher.chmod(0o755)
    given = [launcher, "gs://b/scans", state_uri, pretrained_uri]
    assert subprocess.run(given, capture_output=True, text=True, check=True).stdout.startswith(words)


def test_too_few_patients_are_refused(volumes, tmp_path):
    names = sorted(path.name for path in volumes.glob("*.nrrd"))
    (tmp_path / names[0]).write_bytes((volumes / names[0]).read_bytes())
    with pytest.raises(InputError, match=r"volumes_uri=.*1 patient .*at least 3 patients"):
        validate(given(tmp_path))


def test_places_change_no_fingerprint_and_results_do(volumes):
    base = fingerprint(given(volumes), "")
    assert fingerprint(given(volumes, state_uri="elsewhere", gpu_count="4", run_name="x"), "") == base
    assert fingerprint(given(volumes, extract_shards=9, audit="off", pseudonym_key_uri="k"), "") == base
    assert fingerprint(given(volumes, label_fraction=0.5), "") != base
    assert fingerprint(given(volumes, seed=1), "") != base


def test_a_pattern_of_ones_own_is_told_by_its_hash_alone(volumes):
    listing = r"(?P<patient>garcia_lucia|lopez_mateo)"
    assert results(given(volumes))["patient_pattern"] == Parameters.patient_pattern
    told = results(given(volumes, patient_pattern=listing))["patient_pattern"]
    assert told == f"own, {hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    study = StudyParameters(volumes_uri="", state_uri="", patient_pattern=listing)
    assert results(study)["patient_pattern"] == told
    assert results(given(volumes, patient_pattern="(?P<patient>a)"))["patient_pattern"] != told


def test_another_pattern_of_ones_own_is_another_run(volumes, tmp_path):
    begun = given(volumes, state_uri=str(tmp_path / "state"), run_name="mine", patient_pattern=OWN)
    Ledger(state_uri=begun.state_uri, run="mine").begin({"parameters": results(begun)})
    validate(begun)
    other = replace(begun, patient_pattern=OWN.replace("+", "{1,}"))
    assert fingerprint(other, "") != fingerprint(begun, "")
    with pytest.raises(InputError, match=r"other patient_pattern \(own, \w{12}, now own, \w{12}\); valid"):
        validate(other)


def test_other_code_gives_another_fingerprint(volumes, tmp_path, monkeypatch):
    before = fingerprint(given(volumes), "")
    edit("components/train_classifier/fit.py", tmp_path, monkeypatch)
    assert fingerprint(given(volumes), "") != before


@pytest.mark.parametrize(
    "toleration",
    [
        {"operator": "Exists"},
        {"key": "", "operator": "Exists", "value": ""},
        {"key": "gpu", "operator": "Equal", "value": "a", "effect": ""},
        {"key": "gpu", "operator": ""},
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
        {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60.0},
    ],
)
def test_a_taint_may_be_borne_by_its_name_or_every_one_and_for_a_time(volumes, toleration):
    assert not validate(given(volumes, gpu_tolerations=[toleration]))


def test_a_run_name_of_another_run_is_refused_before_anything_is_computed(volumes, tmp_path):
    begun = given(volumes, state_uri=str(tmp_path / "state"), run_name="mine")
    Ledger(state_uri=begun.state_uri, run="mine").begin({"parameters": results(begun)})
    validate(begun)
    with pytest.raises(
        InputError, match=r"^run_name=mine: .*run.json holds a run with other seed \(0, now 1\); v"
    ):
        validate(replace(begun, seed=1))


def test_a_state_in_the_place_of_a_file_is_refused(volumes, tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/state", "file/a/b"):
        with pytest.raises(InputError, match=rf"^state_uri=.*{place}: .*valid: a folder, .*/file is a file"):
            validate(given(volumes, state_uri=str(tmp_path / place)))
    validate(given(volumes, state_uri=f"file://{tmp_path}/not/there/yet"))


def test_a_bucket_that_is_not_there_is_refused_by_the_parameter(volumes, monkeypatch):
    with fake_gcs() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        clients.google.cache_clear()
        validate(given(volumes, state_uri="gs://scans/state"))
        with pytest.raises(InputError, match=r"^state_uri=gs://lost/x: .*no such bucket"):
            validate(given(volumes, state_uri="gs://lost/x"))
        clients.google()._http.close()
    clients.google.cache_clear()


@pytest.mark.parametrize("name", ["state_uri", "volumes_uri"])
def test_a_store_that_does_not_answer_is_refused_by_the_parameter_at_once(volumes, monkeypatch, name):
    with s3_bucket(monkeypatch) as (uri, server), server.listener.gone():
        monkeypatch.setattr(patience, "BRIEF", patience.Patience(whole_s=0.1))
        with pytest.raises(InputError, match=rf"^{name}={uri}/x: .*cannot be used"):
            validate(given(volumes, **{name: f"{uri}/x"}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"image,generator,label\na,5d5d5d5d5d5d,coronal\n", ""),
        (b"image,generator,label\na,5d5d5d5d5d5d,axial\n", "line 2: label axial; valid: coronal"),
        (b"image,generator,label\na,6e6e6e6e6e6e,coronal\n", "a is of generator 6e6e6e6e6e6e"),
        (b"image,generator,label\na,5d5d5d5d5d5d,\xe9\n", "no UTF-8 at byte"),
    ],
)
def test_an_experts_file_is_checked_before_anything_is_trained(volumes, tmp_path, text, words):
    entry = {"digest": "5d" * 32, "snapshot_digest": "s"}
    numbered.append(str(tmp_path / "state/generators"), entry, "digest")
    (tmp_path / "doubtful.csv").write_bytes(text)
    labels = str(tmp_path / "doubtful.csv")
    parameters = given(volumes, state_uri=str(tmp_path / "state"), expert_labels_uri=labels)
    if words:
        with pytest.raises(InputError, match=rf"^expert_labels_uri=.*doubtful\.csv.*{words}"):
            validate(parameters)
    else:
        validate(parameters)
        before = fingerprint(parameters, "")
        (tmp_path / "doubtful.csv").write_bytes(text.replace(b"coronal", b"sagittal"))
        assert fingerprint(parameters, "") != before


def test_an_experts_labels_of_a_study_are_those_of_its_generators(volumes, tmp_path):
    made = tmp_path / "state/s/synthetic/fold0_all_gan0/made.json"
    made.parent.mkdir(parents=True)
    made.write_text(json.dumps({"generator": "5d" * 32}))
    labels = tmp_path / "doubtful.csv"
    places = {"volumes_uri": volumes, "state_uri": tmp_path / "state", "expert_labels_uri": labels}
    about = {name: str(place) for name, place in places.items()}
    labels.write_text("image,generator,label\na,5d5d5d5d5d5d,coronal\n")
    validate_study(StudyParameters(**about))
    labels.write_text("image,generator,label\na,6e6e6e6e6e6e,coronal\n")
    with pytest.raises(
        InputError, match="a is of generator 6e6e6e6e6e6e, which no run of this pipeline on state_uri"
    ):
        validate_study(StudyParameters(**about))
