"""Weights that a run starts from or judges by are read, by their beginnings, before anything is trained."""

import hashlib
import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from components.shared import storage
from components.shared.faults import InputError
from components.validate_parameters.stage import fingerprint, validate
from components.validate_parameters.weights import DETECTORS, weights_given
from tests.validate_parameters.parameters import given


@pytest.mark.parametrize("name", ["pretrained_uri", "inception_uri", "gan_resume_uri"])
def test_weights_overwritten_in_place_are_others(volumes, tmp_path, name):
    path = tmp_path / ("generator.json" if name == "gan_resume_uri" else "weights.pt")
    parameters = given(volumes, **{name: str(tmp_path if name == "gan_resume_uri" else path)})
    seen = {weights_given(given(volumes))}
    for content in (b"{}", b'{"digest": "5d"}'):
        path.write_bytes(content)
        seen |= {weights_given(parameters), fingerprint(parameters, weights_given(parameters))}
    assert len(seen) == 1 + 2 + 2


def test_weights_in_the_image_are_left_to_the_task_that_runs_in_it(volumes):
    parameters = given(volumes, pretrained_uri="/opt/pretrained/a.safetensors")
    validate(parameters)
    assert weights_given(parameters) != weights_given(given(volumes))


def write_generator(folder, resolution=256, channel_base=16384, **about):
    architecture = {"resolution": resolution, "channel_base": channel_base, "channels": 1}
    text = json.dumps({"patients_seen": [], "scans_seen": [], "architecture": architecture} | about)
    (folder / "generator.json").write_text(text)
    return str(folder)


@pytest.mark.parametrize("base", [8192, 16384])
def test_without_a_width_of_its_own_a_run_takes_the_generators(volumes, tmp_path, base):
    assert not validate(given(volumes, gan_resume_uri=write_generator(tmp_path, channel_base=base)))


def test_an_imported_network_names_no_patient_and_is_a_start(volumes, tmp_path):
    architecture = {"resolution": 256, "channel_base": 16384, "channels": 3}
    text = json.dumps({"source": {"file": "ffhq256.pkl"}, "architecture": architecture})
    (tmp_path / "generator.json").write_text(text)
    assert not validate(given(volumes, gan_resume_uri=str(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolution": 128}, "a generator of resolution 128, not 256 and channel_base 16384, not 4096;"),
        ({"channel_base": 8192}, "a generator of channel_base 8192, not 4096;"),
        ({"architecture": 5}, "a generator of resolution None, not 256 and"),
        ({"architecture": {}}, "a generator of resolution None, not 256 and"),
    ],
)
def test_a_generator_of_another_architecture_is_refused(volumes, tmp_path, changes, words):
    with pytest.raises(InputError, match=rf"^gan_resume_uri=.*{words}.*valid: "):
        validate(given(volumes, gan_resume_uri=write_generator(tmp_path, **changes), gan_channel_base=4096))


def tensors(header, data=b"1234", length=None):
    """Return a file of safetensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ONE = {"__metadata__": {"a": "b"}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
DAMAGED = {
    "empty.safetensors": b"",
    "short.safetensors": b"\x01" + 7 * b"\0",
    "cut.safetensors": tensors(ONE, data=b"123"),
    "cut_header.safetensors": tensors(ONE)[:20],
    "long.safetensors": tensors(ONE, data=b"12345"),
    "length.safetensors": tensors(ONE, length=2**40),
    "list.safetensors": tensors([1]),
    "odd.safetensors": tensors({"w": 1}),
    "none.safetensors": tensors({}, data=b""),
    "page.safetensors": b"<!DOCTYPE html><html>",
    "empty.pt": b"",
    "page.pth": b"<!DOCTYPE html><html>",
    "tensors.pt": tensors(ONE),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_begins_as_no_weights_is_refused_before_any_stage(volumes, tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(InputError, match=rf"^pretrained_uri=.*{name}: not usable; valid: a .*safetensors"):
        validate(given(volumes, pretrained_uri=str(tmp_path / name)))


def test_weights_that_the_stages_read_are_let_through(volumes, tmp_path):
    save_file({"w": torch.ones(3)}, tmp_path / "a.safetensors", metadata={"a": "b"})
    torch.save({"w": torch.ones(3)}, tmp_path / "a.pth")
    torch.save({"w": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "no_suffix").write_bytes((tmp_path / "a.pth").read_bytes())
    for path in tmp_path.iterdir():
        validate(given(volumes, pretrained_uri=str(path)))


@pytest.mark.parametrize("how", ["patients_seen", "patients_validated_on", "scans_seen"])
@pytest.mark.parametrize("asked", ["", "3fa1-7c21e09b4d"])
def test_weights_of_a_patient_who_is_forgotten_or_is_about_to_be_are_refused(volumes, tmp_path, asked, how):
    weights, state = tmp_path / "a.safetensors", str(tmp_path / "state")
    save_file({"w": torch.ones(3)}, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (tmp_path / "classifier.json").write_text(
        json.dumps(
            {"digest": digest, "patients_seen": [], "scans_seen": []}
            | {"patients_validated_on": [], "scans_validated_on": []}
            | {how: ["f" * 16 if how.startswith("scans") else "3fa1-7c21e09b4d"]}
        )
    )
    parameters = {"state_uri": state, "pretrained_uri": str(weights)}
    validate(given(volumes, **parameters))
    if not asked or how == "scans_seen":  # whose a scan is is known once they are forgotten
        storage.create(f"{state}/forgotten/3fa1-7c21e09b4d", b"done\n" + b"f" * 16)
    with pytest.raises(InputError, match=r"^pretrained_uri=.*has not seen patients 3fa1-7c21e09b4d"):
        validate(given(volumes, forget_patient=asked, **parameters))


@pytest.mark.parametrize("suffix", DETECTORS)
def test_a_feature_network_begins_as_a_zip(volumes, tmp_path, suffix):
    path = tmp_path / f"network{suffix}"
    for text in (b"", b"<html>", b"\x80\x02"):
        path.write_bytes(text)
        with pytest.raises(InputError, match=r"^inception_uri=.*: not usable; valid: a file that torch\.jit"):
            validate(given(volumes, inception_uri=str(path)))
    path.write_bytes(b"PK\x03\x04")
    validate(given(volumes, inception_uri=str(path)))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[1]", "no JSON", '{"patients_seen": []}', '{"scans_seen": [], "patients_seen": 5}'),
        *('{"scans_seen": [], "patients_seen": [5]}', '{"scans_seen": [], "patients_seen": "a"}'),
    ],
)
def test_a_generator_that_names_no_patients_is_refused(volumes, tmp_path, text):
    (tmp_path / "generator.json").write_text(text)
    with pytest.raises(InputError, match=r"^gan_resume_uri=.*valid: .*patients_seen"):
        validate(given(volumes, gan_resume_uri=str(tmp_path)))
