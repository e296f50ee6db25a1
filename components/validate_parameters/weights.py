"""What training starts from and images are judged by: weights, a generator, an expert's labels."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any

from components.shared import expert_labels, storage
from components.shared.faults import InputError
from components.shared.forgotten import forgotten
from components.shared.images import BAKED
from components.shared.weights import contents_digest, patients_behind
from components.train_gan.warm_start import kept_digests
from components.validate_parameters.requirements import naming, require

DETECTORS = (".pt", ".pth", ".jit", ".pt2")  # TorchScript and exported programs: what stylegan2_ada reads


def weights_given(p: Any) -> str:
    """Return a digest of the weights that a run is given by their addresses, "" without any."""
    generator = storage.join(p.gan_resume_uri, "generator.json") if p.gan_resume_uri else ""
    return contents_digest((p.pretrained_uri, p.inception_uri, generator))


def check_starts(p: Any) -> None:
    """Check that what training starts from is there and fits."""
    with naming(p, "pretrained_uri"):
        body = _is_there(p.pretrained_uri)
    require(p, "pretrained_uri", body, "empty, or a file or object with the classifier's state dict")
    if p.pretrained_uri and not p.pretrained_uri.startswith(BAKED):
        _refuse_forgotten(p, "pretrained_uri", patients_behind(p.pretrained_uri))
    if p.gan_resume_uri:
        _check_generator(p)


def _refuse_forgotten(p: Any, name: str, patients: Iterable[str]) -> None:
    """Refuse what descends from a forgotten patient: nobody has a side for them, who could cross it."""
    seen = sorted(forgotten(p.state_uri) & set(patients))
    valid = f"one that has not seen patients {', '.join(seen)}, who were forgotten"
    require(p, name, not seen, valid)


def check_kinds(p: Any) -> None:
    """Check that the feature network is of a kind that can be read; it asks no storage."""
    known = not p.inception_uri or PurePath(p.inception_uri).suffix in DETECTORS
    require(p, "inception_uri", known, f"empty, or a file that ends in {', '.join(DETECTORS)}")


def check_detector(p: Any) -> None:
    """Check that the feature network is there."""
    with naming(p, "inception_uri"):
        there = _is_there(p.inception_uri)
    require(p, "inception_uri", there, "empty, or a file or object with a feature network")


def _is_there(uri: str) -> bool:
    """Tell whether weights are where they should be; what an image holds, the task in that image sees."""
    return not uri or uri.startswith(BAKED) or storage.exists(uri)


def _check_generator(p: Any) -> None:
    """Check the generator to start from by its JSON, as train_gan will by its weights."""
    about = _read_generator(p)
    valid = "empty, or a folder with the generator.json of train_gan, which names patients_seen, or of"
    known = "patients_seen" in about or "source" in about
    require(p, "gan_resume_uri", known, f"{valid} `python -m stylegan2_ada import`")
    _refuse_forgotten(p, "gan_resume_uri", about.get("patients_seen", ()))
    wanted = {"resolution": p.gan_resolution}
    if p.gan_channel_base:  # the formula gives way to the width that is there
        wanted["channel_base"] = p.gan_channel_base
    there = about.get("architecture", {})
    different = [
        f"{name} {there.get(name)}, not {value}" for name, value in wanted.items() if there.get(name) != value
    ]
    if different:
        raise InputError(
            f"gan_resume_uri={p.gan_resume_uri}: a generator of {' and '.join(different)};"
            " valid: one of this run's gan_resolution, with gan_channel_base 0 or its own"
        )


def _read_generator(p: Any) -> dict[str, Any]:
    uri = storage.join(p.gan_resume_uri, "generator.json")
    with naming(p, "gan_resume_uri"):
        text = storage.read_bytes(uri) if storage.exists(uri) else b"{}"
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError):  # no JSON, or none of an object: it names no patient either way
        return {}


def check_experts(p: Any, kept: Callable[[str], Sequence[str]] = kept_digests) -> None:
    """Check an expert's labels, line by line, and that they are of a generator that `state_uri` keeps."""
    if p.expert_labels_uri:
        with naming(p, "expert_labels_uri"):
            there = storage.exists(p.expert_labels_uri)
        require(p, "expert_labels_uri", there, "empty, or a doubtful.csv that an expert filled in")
        name = f"expert_labels_uri={p.expert_labels_uri}"
        try:
            text = storage.read_bytes(p.expert_labels_uri).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: no UTF-8 at byte {error.start}; valid: CSV saved as UTF-8") from error
        expert_labels.require_kept(expert_labels.parse(text, name), kept(p.state_uri), name)
