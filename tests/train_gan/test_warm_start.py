"""Which generator a run starts from: the newest of other volumes, and never its own result."""

import hashlib
import json
from functools import partial
from types import SimpleNamespace

import pytest

from components.shared import numbered, storage
from components.shared.faults import ForgottenError, InputError
from components.shared.forgotten import DONE
from components.train_gan.component import find_generator
from components.train_gan.warm_start import keep_generator, newest_generator
from tests.drawn_planes import splits_of, write_planes


@pytest.fixture
def keep(tmp_path):
    """Return what keeps a generator made from a snapshot, what finds one, and where the state is."""
    state = str(tmp_path / "state")

    planes = write_planes(tmp_path / "planes", ["p", "q"], per_class=1)
    splits = splits_of({"p": "train", "q": "test"})

    def find(snapshot, resolution, channel_base, planes=planes, splits=splits):
        return newest_generator(state, snapshot, (resolution, channel_base), planes, splits)

    def make(number, snapshot, resolution=32, channel_base=1024, scans=()):
        folder = tmp_path / f"g{number}"
        folder.mkdir()
        weights = f"weights {number}".encode()
        for name in ("generator", "discriminator"):
            (folder / f"{name}.safetensors").write_bytes(weights)
        about = {
            "digest": hashlib.sha256(weights).hexdigest(),
            "resolution": resolution,
            "architecture": {"channel_base": channel_base},
            "patients_seen": ["p"],
            "scans_seen": list(scans),
        }
        (folder / "generator.json").write_text(json.dumps(about))
        return keep_generator(folder, state, snapshot)

    return make, find, state


def test_the_newest_of_other_volumes_and_of_the_size(keep):
    make, find, _state = keep
    assert find("s1", 32, 0) == ""
    make(1, "s1")
    second = make(2, "s2")
    make(3, "s3", resolution=64)
    assert find("s4", 32, 0) == second
    assert find("s4", 32, 1024) == second
    assert find("s4", 32, 512) == ""
    assert find("s4", 16, 0) == ""


def test_one_that_saw_a_forgotten_patient_is_none(keep):
    make, find, state = keep
    make(1, "s1")
    assert storage.create(f"{state}/forgotten/p", DONE)
    assert find("s2", 32, 0) == ""


@pytest.mark.parametrize(("side", "fits"), [("train", True), ("validation", False), ("test", False)])
def test_one_that_saw_a_scan_of_who_is_measured_now_is_none(keep, tmp_path, side, fits):
    """Corrected in volumes.csv, the scan would be trained on as one patient's and tested as another's."""
    make, find, _state = keep
    first = make(1, "s1", scans=["scan of a", "of one who left"])
    make(2, "s2", scans=["scan of z"])
    planes = write_planes(tmp_path / "moved", ["p", "q", "z"], 1, scans={"q": "scan of a"})
    splits = splits_of({"p": "train", "q": side, "z": "test"})
    assert find("s3", 32, 0, planes, splits) == (first if fits else "")


@pytest.mark.parametrize("how", ["patient", "scan"])
def test_of_a_forgotten_patient_nothing_is_sent(keep, monkeypatch, how):
    """Killed as it asks afterwards, it would stay."""
    make, _, state = keep
    gone = "p" if how == "patient" else "another name"
    storage.create(f"{state}/forgotten/{gone}", DONE + b"\nscan of a")
    sent = []
    monkeypatch.setattr(storage, "upload", lambda path, uri: sent.append(uri))
    with pytest.raises(ForgottenError, match=f"patients {gone}: forgotten"):
        make(1, "s1", scans=["scan of a"])
    assert sent == []


def test_whose_it_is_is_kept_first(keep, monkeypatch):
    """Cut off later, it is found by the name."""
    make, _, _ = keep
    sent, real = [], storage.upload
    monkeypatch.setattr(storage, "upload", lambda path, uri: (sent.append(path.name), real(path, uri)))
    make(1, "s1")
    assert sent[0] == "generator.json" and len(sent) == 3


@pytest.mark.parametrize("about", [None, "", "{}", '{"patients_seen": ["p"]}'])
def test_one_that_does_not_say_what_it_has_seen_is_none(keep, about):
    make, find, _state = keep
    first = make(1, "s1")
    second = make(2, "s2")
    storage.delete(f"{second}/generator.json")
    if about is not None:
        storage.create(f"{second}/generator.json", about.encode())
    assert find("s3", 32, 0) == first


def test_a_side_that_was_changed_by_force_is_refused(keep, tmp_path):
    make, find, _ = keep
    make(1, "s1", scans=["scan of p"])
    planes = write_planes(tmp_path / "forced", ["p", "q"], 1)
    with pytest.raises(InputError, match=r"^warm_start: .*: made from patients p \(test\)"):
        find("s2", 32, 0, planes, splits_of({"p": "test", "q": "train"}))


def test_a_repeated_run_starts_from_what_it_started_from(keep):
    make, find, _state = keep
    first = make(1, "s1")
    assert find("s2", 32, 0) == first
    make(2, "s2")
    make(3, "s3")
    assert find("s2", 32, 0) == first
    assert find("s1", 32, 0) == ""


def test_a_run_of_the_same_volumes_starts_from_none_of_their_generators(keep):
    """Of other settings there may be several."""
    make, find, _state = keep
    first = make(1, "s1")
    make(2, "s2")
    make(3, "s2")
    assert find("s2", 32, 0) == first


def test_the_task_names_a_generator_where_it_is_asked_for_one_and_none_is_given(keep, tmp_path):
    make, _find, state = keep
    first = make(1, "s1")
    splits_of({"p": "train", "q": "test"}).write(tmp_path / "splits.csv")
    inputs = {name: SimpleNamespace(path=str(tmp_path / name)) for name in ("planes", "splits.csv")}
    given = {"state_uri": state, "snapshot_digest": "s2", "warm_start_kimg": 0.1, "kimg": 0.2}
    of = {"planes": inputs["planes"], "splits": inputs["splits.csv"], "resolution": 32, "channel_base": 1024}
    ask = partial(find_generator.python_func, **{**given, **of, "warm_start": True, "resume_uri": ""})
    assert ask() == (first, 0.1)
    assert ask(warm_start=False) == ("", 0.2)
    assert ask(resume_uri="gs://b/g") == ("gs://b/g", 0.2)
    assert ask(channel_base=512) == ask(resolution=64) == ("", 0.2)


def test_a_generator_is_kept_once_and_only_whole(keep, tmp_path):
    make, _find, state = keep
    place = make(1, "s1")
    assert keep_generator(tmp_path / "g1", state, "s1") == place
    assert len(numbered.entries(f"{state}/generators", {"digest": str})) == 1
    (tmp_path / "g1/generator.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="not a whole generator"):
        keep_generator(tmp_path / "g1", state, "s9")
