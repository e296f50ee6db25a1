"""What training starts from and images are judged by: weights, a generator, an expert's labels."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from components.shared import expert_labels, storage
from components.shared.faults import InputError
from components.shared.forgotten import forgotten, forgotten_scans
from components.shared.images import BAKED
from components.shared.planes import Seen
from components.shared.stored_json import described
from components.shared.weights import GENERATOR, contents_digest, seen_behind, seen_by_generator
from components.train_gan.warm_start import kept_digests
from components.validate_parameters.requirements import naming, require

DETECTORS = (".pt", ".pth", ".jit", ".pt2")  # TorchScript and exported programs: what stylegan2_ada reads
_ZIP = b"PK\x03\x04"  # as torch.save, TorchScript and exported programs begin
_PICKLE = b"\x80"  # as torch.save's files began before they were zips
_LENGTH, _MOST = 8, 100_000_000  # bytes of the number that a .safetensors begins with, and its limit


def weights_given(p: Any) -> str:
    """Return a digest of the weights that a run is given by their addresses, "" without any."""
    generator = storage.join(p.gan_resume_uri, GENERATOR) if p.gan_resume_uri else ""
    return contents_digest((p.pretrained_uri, p.inception_uri, generator))


def check_starts(p: Any) -> None:
    """Check that what training starts from is there and fits."""
    tensors = PurePath(p.pretrained_uri).suffix == ".safetensors"
    with naming(p, "pretrained_uri"):
        body = _is_there(p.pretrained_uri)
        begun = body and (
            _is_safetensors(p.pretrained_uri) if tensors else _begins(p.pretrained_uri, _ZIP, _PICKLE)
        )
    require(p, "pretrained_uri", body, "empty, or a file or object with the classifier's state dict")
    valid = "a whole .safetensors" if tensors else "a file of torch.save, or one that ends in .safetensors"
    require(p, "pretrained_uri", begun, f"{valid}, with the classifier's state dict")
    if p.pretrained_uri and not p.pretrained_uri.startswith(BAKED):
        seen, chosen_by = seen_behind(p.pretrained_uri)
        _refuse_forgotten(p, "pretrained_uri", seen | chosen_by)
    if p.gan_resume_uri:
        _check_generator(p)


def _refuse_forgotten(p: Any, name: str, seen: Seen) -> None:
    """Refuse what descends from a forgotten patient: nobody has a side for them, who could cross it."""
    asked = seen.patients & {p.forget_patient}  # and is forgotten by the next task
    gone = asked | forgotten(p.state_uri, seen.patients - asked)
    gone |= {whose for scan, whose in forgotten_scans(p.state_uri).items() if scan in seen.scans}
    valid = f"one that has not seen patients {', '.join(sorted(gone))}, who were forgotten"
    require(p, name, not gone, valid)


def check_kinds(p: Any) -> None:
    """Check that the feature network is of a kind that can be read; it asks no storage."""
    known = not p.inception_uri or PurePath(p.inception_uri).suffix in DETECTORS
    require(p, "inception_uri", known, f"empty, or a file that ends in {', '.join(DETECTORS)}")


def check_detector(p: Any) -> None:
    """Check that the feature network is there, and begins as one."""
    with naming(p, "inception_uri"):
        there = _is_there(p.inception_uri)
        begun = there and _begins(p.inception_uri, _ZIP)
    require(p, "inception_uri", there, "empty, or a file or object with a feature network")
    require(p, "inception_uri", begun, "a file that torch.jit.save or torch.export.save wrote")


def _is_there(uri: str) -> bool:
    """Tell whether weights are where they should be."""
    return _is_elsewhere(uri) or storage.exists(uri)


def _is_elsewhere(uri: str) -> bool:
    """Tell whether nothing is to be looked at here: what an image holds, the task in that image sees."""
    return not uri or uri.startswith(BAKED)


def _begins(uri: str, *signs: bytes) -> bool:
    """Tell whether a file begins with one of these bytes, which its reader asks for first."""
    return _is_elsewhere(uri) or (bool(storage.size_of(uri)) and storage.read_head(uri, 4).startswith(signs))


def _is_safetensors(uri: str) -> bool:
    """Tell whether a file of tensors is whole, by its header, which says where each of them ends."""
    if _is_elsewhere(uri):
        return True
    size = storage.size_of(uri) or 0
    length = int.from_bytes(storage.read_head(uri, _LENGTH), "little") if size > _LENGTH else 0
    if not 0 < length <= min(_MOST, size - _LENGTH):
        return False
    header = described(storage.read_head(uri, _LENGTH + length)[_LENGTH:])
    ends = [_end(tensor) for name, tensor in header.items() if name != "__metadata__"]
    return bool(ends) and _LENGTH + length + max(ends) == size


def _end(tensor: Any) -> int:
    """Return where a tensor ends in its file; -1 where its header does not say it."""
    try:
        return int(tensor["data_offsets"][1])
    except (TypeError, LookupError, ValueError):
        return -1


def _check_generator(p: Any) -> None:
    """Check the generator to start from by its JSON, as train_gan will by its weights."""
    about = _read_generator(p)
    valid = "empty, or a folder with the generator.json of train_gan, which says patients_seen and scans_seen"
    seen = seen_by_generator(about)
    require(p, "gan_resume_uri", seen is not None, f"{valid}, or of `python -m stylegan2_ada import`")
    _refuse_forgotten(p, "gan_resume_uri", seen or Seen())
    wanted = {"resolution": p.gan_resolution}
    if p.gan_channel_base:  # the formula gives way to the width that is there
        wanted["channel_base"] = p.gan_channel_base
    told = about.get("architecture")
    there = told if isinstance(told, dict) else {}
    different = [
        f"{name} {there.get(name)}, not {value}" for name, value in wanted.items() if there.get(name) != value
    ]
    if different:
        raise InputError(
            f"gan_resume_uri={p.gan_resume_uri}: a generator of {' and '.join(different)};"
            " valid: one of this run's gan_resolution, with gan_channel_base 0 or its own"
        )


def _read_generator(p: Any) -> dict[str, Any]:
    uri = storage.join(p.gan_resume_uri, GENERATOR)
    with naming(p, "gan_resume_uri"):
        return described(storage.read_bytes(uri)) if storage.exists(uri) else {}


def check_experts(p: Any, kept: Callable[[str], Sequence[str]] = kept_digests) -> None:
    """Check an expert's labels, line by line, and that they are of a generator that `state_uri` keeps."""
    if p.expert_labels_uri:
        with naming(p, "expert_labels_uri"):
            there = storage.exists(p.expert_labels_uri)
        require(
            p, "expert_labels_uri", there, "empty, or a doubtful.csv that is there, filled in by an expert"
        )
        name = f"expert_labels_uri={p.expert_labels_uri}"
        try:
            text = storage.read_bytes(p.expert_labels_uri).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: no UTF-8 at byte {error.start}; valid: CSV saved as UTF-8") from error
        expert_labels.require_kept(expert_labels.parse(text, name), kept(p.state_uri), name)
