"""Every parameter of the pipeline, its default, and what it may be.

`validate` is called by the command line before the graph and by the graph's first task, so that a bad value
fails in seconds and before any GPU. The defaults are for a cluster: sizes, lengths and thresholds are the
notebooks', rules are the safer ones.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from components.extract_planes.cut import Cuts
from components.generate_images import truncations
from components.report.language import ENGLISH, LANGUAGES
from components.shared import snapshots, storage
from components.shared.audit import MODES, STOP
from components.shared.code import code_digest
from components.shared.labels import UNITS
from components.shared.ledger import Ledger
from components.shared.owners import DEFAULT_PATTERN, without_names
from components.shared.progress import in_pod
from components.shared.pseudonyms import read_pseudonyms
from components.shared.rounds import ADAPTIVE, ALL, GLOBAL, REMAINING
from components.validate_parameters.places import check_folder, check_names, check_places, check_remote
from components.validate_parameters.requirements import naming, require, require_one_of, require_types
from components.validate_parameters.resources import (
    check_resources,
    default_gpu_nodes,
    default_gpu_tolerations,
)
from components.validate_parameters.weights import check_detector, check_experts, check_kinds, check_starts

# Of shared/classifier.py: ARCHITECTURES, which the CPU image, without torch, cannot load.
CLASSIFIERS = ("convnext_tiny", "resnet18")
AUGMENTATIONS = ("none", "bg", "bgc")
GAN_RESOLUTIONS = (16, 32, 64, 128, 256, 512)
# Each is up to a dozen nodes of Argo's workflow, which may grow to 1 MB.
MOST_SHARDS, MOST_ROUNDS = 20, 20

# Change no result: where things are kept, what they run on, how the report is written, what a run stops at,
# whom it forgets.
NOT_RESULTS = (
    "volumes_uri",
    "state_uri",
    "run_name",
    "language",
    "pseudonym_key_uri",
    "forget_patient",
    "extract_shards",
    "audit",
    "gan_checkpoint_kimg",
    "cpu",
    "memory",
    "gpu_count",
    "gpu_type",
    "gpu_cpu",
    "gpu_memory",
    "gpu_node_selector",
    "gpu_tolerations",
)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The dials of the pipeline `augmentation`, in the order of its stages."""

    volumes_uri: str  # a folder, gs:// or s3://bucket/prefix, or any of them ending in a glob
    state_uri: str  # where splits, ledger and checkpoints outlive the run
    run_name: str = ""  # "": named by its contents, so that a repeated run finds its own state
    patient_pattern: str = DEFAULT_PATTERN
    pseudonym_key_uri: str = ""  # secret key of pseudonyms; "": the mounted Secret's, or the state's own
    forget_patient: str = ""  # a pseudonym: removed, with whatever descends from them
    missing_geometry: str = "refuse"  # what volumes without orientation are taken for
    plane_angles_deg: Sequence[float] = (-20, -15, -10, -5, 0, 5, 10, 15, 20)
    plane_spacing_mm: float = 1.0
    field_of_view: str = "sphere"
    field_of_view_mm: float = 120.0  # side of the square window of every plane
    noise_rule: str = "content"
    noise_max_content: float = 0.02  # share of the disc that is tissue
    anatomy_min_content: float = 0.10
    noise_index_planes: int = 20  # of noise_rule=index, at each end
    extract_shards: int = 1  # pods that share the volumes
    audit: str = STOP  # what happens when a class can be read without anatomy
    classifier: str = "convnext_tiny"
    epochs: int = 7  # after one with a frozen body where pretrained_uri is given
    image_size_px: int = 192  # side that the classifier sees
    pretrained_uri: str = ""  # state dict of the classifier's body; "": from scratch
    label_fraction: float = 0.2  # of the training planes or patients, (0, 1]
    label_unit: str = "plane"
    gan_kimg: float = 1200.0  # thousands of real images shown to the discriminator
    gan_resolution: int = 256
    gan_gamma: float = 25.0  # R1 weight; 0: the formula of the configuration
    gan_batch: int = 0  # 0: the formula of the configuration
    gan_channel_base: int = 0  # 0: the formula of the configuration
    gan_mirror: bool = True
    gan_augment: str = "bg"
    gan_resume_uri: str = ""  # a Generator to start from
    gan_checkpoint_kimg: float = 0.0  # between two checkpoints; 0: by the clock
    warm_start: bool = False  # from an earlier run's last generator, where one fits
    warm_start_kimg: float = 200.0  # and then so long
    images: int = 16000  # synthetic images over all truncations
    truncations: Sequence[float] = (0.5, 1.0)  # psi
    max_copy_rate: float = 0.01  # of the images; where more copy a training plane, copies are dropped
    inception_uri: str = ""  # feature network for FID and KID; "": the classifier's features
    expert_labels_uri: str = ""  # a doubtful.csv that an expert filled in
    confidence_threshold: float = 0.75  # an image is accepted above it, [0, 1)
    threshold_rule: str = GLOBAL
    max_class_ratio: float = 3.0  # of the accepted images, largest to smallest class, at least 1
    max_rounds: int = 5  # rounds with pseudo-labels, after round 0
    patience: int = 1  # rounds without gain on the validation patients that are borne
    min_gain: float = 0.0  # nats of validation loss
    relabel: str = ALL
    language: str = ENGLISH  # of the report
    cpu: str = "2"  # cores that a task on volumes asks for; text, as Kubernetes writes them
    memory: str = "8Gi"
    gpu_count: str = "1"  # a str: the backend silently drops an int
    gpu_type: str = "nvidia.com/gpu"
    gpu_cpu: str = "4"
    gpu_memory: str = "16Gi"
    gpu_node_selector: dict[str, str] = field(default_factory=default_gpu_nodes)
    gpu_tolerations: list[dict[str, str]] = field(default_factory=default_gpu_tolerations)
    seed: int = 0


def results(parameters: Any) -> dict[str, Any]:
    """Return the parameters that change a result, as ledger and report tell them: no patient's name."""
    kept = _results(parameters)
    return kept | {"patient_pattern": without_names(kept["patient_pattern"])}


def _results(parameters: Any) -> dict[str, Any]:
    """Return the parameters that change a result, in plain JSON types."""
    kept = {name: value for name, value in asdict(parameters).items() if name not in NOT_RESULTS}
    return dict(json.loads(json.dumps(kept)))


def fingerprint(parameters: Any, weights: str) -> str:
    """Return the hash of those parameters, of the weights they name (a digest), and of the code."""
    text = json.dumps(_results(parameters), sort_keys=True) + code_digest() + _expert_labels(parameters)
    return hashlib.sha256((text + weights).encode()).hexdigest()


def _expert_labels(parameters: Any) -> str:
    """Return what the file of an expert's labels says: another content is another run."""
    uri = getattr(parameters, "expert_labels_uri", "")
    return storage.read_bytes(uri).decode() if uri else ""


def validate(parameters: Parameters) -> Sequence[str]:
    """Return a line for each file that will be left out; raise InputError for what cannot be used at all.

    It reads at most the volumes' headers.
    """
    for check in (
        require_types,
        *CHECKS,
        check_reach,
        check_run,
        check_starts,
        check_detector,
        check_experts,
    ):
        check(parameters)
    return check_volumes(parameters)


def check_run(p: Any) -> None:
    """Refuse a run_name under which the state holds a run of other parameters."""
    if p.run_name:
        Ledger(state_uri=p.state_uri, run=p.run_name).require_same_parameters(results(p))


def check_volumes(p: Any) -> Sequence[str]:
    """Return a line for each file that will be left out; InputError where too few are left."""
    _, left_out = snapshots.check(
        snapshots.Source(
            volumes_uri=p.volumes_uri,
            patient_pattern=p.patient_pattern,
            missing_geometry=p.missing_geometry,
        )
    )
    return left_out


def check_reach(p: Any) -> None:
    """Check that tasks will reach what they read and keep: the state's bucket answers, the key is there."""
    if in_pod():
        check_remote(p)
    check_folder(p, "state_uri")
    with naming(p, "state_uri"):
        storage.require_answer(p.state_uri)  # at once: what follows would wait minutes for a wrong address
    with naming(p, "volumes_uri"):
        storage.require_answer(p.volumes_uri)
    if p.pseudonym_key_uri:
        read_pseudonyms(p.pseudonym_key_uri, p.state_uri)


def check_planes(p: Any) -> None:
    """Check how planes are cut, in the parameters of any pipeline that cuts them."""
    require(p, "extract_shards", 1 <= p.extract_shards <= MOST_SHARDS, f"1 to {MOST_SHARDS}")
    Cuts.among(vars(p))


def check_audit(p: Any) -> None:
    """Check what follows from the shortcut audit."""
    require_one_of(p, "audit", MODES)


def check_classifier(p: Any) -> None:
    """Check how classifiers are trained."""
    require_one_of(p, "classifier", CLASSIFIERS)
    require(p, "epochs", 1 <= p.epochs <= 1000, "1 to 1000")
    require(p, "image_size_px", 32 <= p.image_size_px <= 512, "32 to 512")


def check_labels(p: Parameters) -> None:
    """Check which labels are used."""
    require(p, "label_fraction", 0 < p.label_fraction <= 1, "above 0 and at most 1, e.g. 0.2")
    require_one_of(p, "label_unit", UNITS)


def check_gan(p: Any) -> None:
    """Check how the GAN is trained and sampled."""
    batch, base, psis = p.gan_batch, p.gan_channel_base, list(p.truncations)
    least = max(256, 2 * p.gan_resolution)  # two feature maps at the last layer
    require(p, "gan_kimg", 0.1 <= p.gan_kimg <= 100_000, "0.1 to 100000")
    require_one_of(p, "gan_resolution", GAN_RESOLUTIONS)
    require(p, "gan_gamma", 0 <= p.gan_gamma <= 10_000, "0 (the formula) to 10000")
    require(p, "gan_batch", batch == 0 or 4 <= batch <= 512, "0 (the formula) or 4 to 512")
    valid = f"0 (the formula) or {least} to 65536 at gan_resolution={p.gan_resolution}"
    require(p, "gan_channel_base", base == 0 or least <= base <= 65536, valid)
    require_one_of(p, "gan_augment", AUGMENTATIONS)
    require(p, "gan_checkpoint_kimg", 0 <= p.gan_checkpoint_kimg <= 100_000, "0 (by the clock) to 100000")
    require(p, "truncations", truncations.are_usable(psis), truncations.VALID)
    require(p, "images", len(psis) <= p.images <= 10_000_000, "at least one per truncation, at most 10000000")


def check_warm_start(p: Any) -> None:
    """Check how long a training from an earlier generator is."""
    require(p, "warm_start_kimg", 0.1 <= p.warm_start_kimg <= 100_000, "0.1 to 100000")


def check_judgement(p: Any) -> None:
    """Check how synthetic images are judged."""
    require(p, "max_copy_rate", 0 <= p.max_copy_rate <= 1, "0 to 1, e.g. 0.01")


def check_report(p: Any) -> None:
    """Check how the report is written."""
    require_one_of(p, "language", LANGUAGES)


def check_rounds(p: Any) -> None:
    """Check the pseudo-label loop."""
    require(p, "confidence_threshold", 0 <= p.confidence_threshold < 1, "at least 0 and below 1, e.g. 0.75")
    require_one_of(p, "threshold_rule", (GLOBAL, ADAPTIVE))
    require(p, "max_class_ratio", 1 <= p.max_class_ratio <= 1_000_000, "1 to 1000000, e.g. 3")
    require(p, "max_rounds", 1 <= p.max_rounds <= MOST_ROUNDS, f"1 to {MOST_ROUNDS}")
    require(p, "patience", 1 <= p.patience <= 50, "1 to 50")
    require(p, "min_gain", 0 <= p.min_gain <= 1, "0 to 1 nats")
    require_one_of(p, "relabel", (ALL, REMAINING))
    require(p, "seed", 0 <= p.seed < 2**31, "0 to 2147483647")


# Those checks of the pipeline's parameters that ask no storage.
CHECKS: Sequence[Callable[[Any], None]] = (
    check_places,
    check_names,
    check_planes,
    check_audit,
    check_classifier,
    check_labels,
    check_gan,
    check_warm_start,
    check_judgement,
    check_rounds,
    check_report,
    check_resources,
    check_kinds,
)
