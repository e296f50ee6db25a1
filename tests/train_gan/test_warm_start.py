"""Which generator a run starts from: the newest of other volumes, and never its own result."""

import hashlib
import json

import pytest

from components.shared import numbered, storage
from components.shared.snapshots import VolumeEntry, write_snapshot
from components.train_gan.warm_start import keep_generator, newest_generator


@pytest.fixture
def keep(tmp_path):
    """Return a function that keeps a generator made from a snapshot, and where the state is."""
    state = str(tmp_path / "state")

    def make(number, snapshot, resolution=32, channel_base=1024):
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
        }
        (folder / "generator.json").write_text(json.dumps(about))
        return keep_generator(folder, state, snapshot)

    return make, state


def test_the_newest_of_other_volumes_and_of_the_size(keep):
    make, state = keep
    assert newest_generator(state, "s1", 32, 0) == ""
    make(1, "s1")
    second = make(2, "s2")
    make(3, "s3", resolution=64)
    assert newest_generator(state, "s4", 32, 0) == second
    assert newest_generator(state, "s4", 32, 1024) == second
    assert newest_generator(state, "s4", 32, 512) == ""
    assert newest_generator(state, "s4", 16, 0) == ""


def test_one_that_saw_a_forgotten_patient_is_none(keep):
    make, state = keep
    make(1, "s1")
    assert storage.create(f"{state}/forgotten/p", b"")
    assert newest_generator(state, "s2", 32, 0) == ""


def listed(state, **owners):
    """Store a snapshot of scans by their content, each with its patient; return its digest."""
    entries = [
        VolumeEntry(name=f"{number}.nrrd", size=1, digest=scan[:3], patient=patient, session="s", site="")
        for number, (scan, patient) in enumerate(owners.items())
    ]
    return write_snapshot(state, entries)


def test_one_that_saw_a_scan_of_another_patient_than_now_is_none(keep):
    """Corrected in volumes.csv, the scan would be trained on as one patient's and tested as another's."""
    make, state = keep
    first = make(1, listed(state, one="p", two="q"))
    assert newest_generator(state, listed(state, one="p", two="q", new="r"), 32, 0) == first
    assert newest_generator(state, listed(state, one="p", two="z"), 32, 0) == first  # it never saw q's
    assert newest_generator(state, listed(state, one="z", two="q"), 32, 0) == ""
    make(2, listed(state, two="q", new="r"))  # may go back to the first
    assert newest_generator(state, listed(state, one="z", new="r"), 32, 0) == ""


def test_equal_files_of_two_patients_are_nobodys_scan(keep):
    make, state = keep
    first = make(1, listed(state, one="p", one_="q", two="r"))  # two empty files
    assert newest_generator(state, listed(state, one="p", one_="q", new="r"), 32, 0) == first


def test_a_repeated_run_starts_from_what_it_started_from(keep):
    make, state = keep
    first = make(1, "s1")
    assert newest_generator(state, "s2", 32, 0) == first
    make(2, "s2")
    make(3, "s3")
    assert newest_generator(state, "s2", 32, 0) == first
    assert newest_generator(state, "s1", 32, 0) == ""


def test_a_generator_is_kept_once_and_only_whole(keep, tmp_path):
    make, state = keep
    place = make(1, "s1")
    assert keep_generator(tmp_path / "g1", state, "s1") == place
    assert len(numbered.entries(f"{state}/generators", {"digest": str})) == 1
    (tmp_path / "g1/generator.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="not a whole generator"):
        keep_generator(tmp_path / "g1", state, "s9")
