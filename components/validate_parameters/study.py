"""The parameters of pipeline `study`, and what they may be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.shared.labels import UNITS
from components.shared.splits import FOLDS
from components.shared.study import ARMS, generators_of_studies
from components.validate_parameters.places import check_names, check_places
from components.validate_parameters.requirements import require, require_one_of, require_types
from components.validate_parameters.resources import (
    check_resources,
    default_gpu_nodes,
    default_gpu_tolerations,
)
from components.validate_parameters.stage import (
    Parameters,
    check_audit,
    check_classifier,
    check_gan,
    check_judgement,
    check_planes,
    check_reach,
    check_report,
    check_rounds,
    check_run,
    check_volumes,
)
from components.validate_parameters.weights import check_detector, check_experts, check_kinds, check_starts


@dataclass(frozen=True, kw_only=True)
class StudyParameters:
    """The dials of the pipeline `study`, in the order of its stages."""

    volumes_uri: str
    state_uri: str
    run_name: str = Parameters.run_name
    patient_pattern: str = Parameters.patient_pattern
    pseudonym_key_uri: str = Parameters.pseudonym_key_uri
    forget_patient: str = Parameters.forget_patient
    missing_geometry: str = Parameters.missing_geometry
    plane_angles_deg: Sequence[float] = Parameters.plane_angles_deg
    plane_spacing_mm: float = Parameters.plane_spacing_mm
    field_of_view: str = Parameters.field_of_view
    field_of_view_mm: float = Parameters.field_of_view_mm
    noise_rule: str = Parameters.noise_rule
    noise_max_content: float = Parameters.noise_max_content
    anatomy_min_content: float = Parameters.anatomy_min_content
    noise_index_planes: int = Parameters.noise_index_planes
    extract_shards: int = Parameters.extract_shards
    audit: str = Parameters.audit
    classifier: str = Parameters.classifier
    epochs: int = Parameters.epochs
    image_size_px: int = Parameters.image_size_px
    pretrained_uri: str = Parameters.pretrained_uri
    label_fractions: Sequence[float] = (0.2, 0.5)  # of the training patients or planes
    label_unit: str = "patient"  # whole patients: neighbouring planes are near-copies
    arms: str = "ABCDEFG"  # their letters; components/shared/study.py says what each is
    folds: int = 5  # of five, that are tested in turn
    seeds: int = 3  # trainings of every cell
    gans: int = 3  # GANs of every fold, which the seeds take in turn; with one nothing is called shown
    worthwhile_gain: float = 0.02  # of balanced accuracy: for how many patients would show it
    gan_kimg: float = Parameters.gan_kimg
    gan_resolution: int = Parameters.gan_resolution
    gan_gamma: float = Parameters.gan_gamma
    gan_batch: int = Parameters.gan_batch
    gan_channel_base: int = Parameters.gan_channel_base
    gan_mirror: bool = Parameters.gan_mirror
    gan_augment: str = Parameters.gan_augment
    gan_resume_uri: str = Parameters.gan_resume_uri
    gan_checkpoint_kimg: float = Parameters.gan_checkpoint_kimg
    images: int = Parameters.images
    truncations: Sequence[float] = Parameters.truncations
    max_copy_rate: float = Parameters.max_copy_rate
    inception_uri: str = Parameters.inception_uri
    expert_labels_uri: str = Parameters.expert_labels_uri
    confidence_threshold: float = Parameters.confidence_threshold
    threshold_rule: str = Parameters.threshold_rule
    max_class_ratio: float = Parameters.max_class_ratio
    max_rounds: int = Parameters.max_rounds
    patience: int = Parameters.patience
    min_gain: float = Parameters.min_gain
    relabel: str = Parameters.relabel
    language: str = Parameters.language
    cpu: str = Parameters.cpu
    memory: str = Parameters.memory
    gpu_count: str = Parameters.gpu_count
    gpu_type: str = Parameters.gpu_type
    gpu_cpu: str = Parameters.gpu_cpu
    gpu_memory: str = Parameters.gpu_memory
    gpu_node_selector: dict[str, str] = field(default_factory=default_gpu_nodes)
    gpu_tolerations: list[dict[str, str]] = field(default_factory=default_gpu_tolerations)
    seed: int = Parameters.seed


def validate_study(p: StudyParameters) -> Sequence[str]:
    """Return a line for each file that will be left out; raise InputError for what cannot be used at all."""
    for check in (require_types, *CHECKS, check_reach, check_run, check_starts, check_detector):
        check(p)
    check_experts(p, generators_of_studies)
    return check_volumes(p)


def check_grid(p: StudyParameters) -> None:
    """Check which cells a study has."""
    fractions = list(p.label_fractions)
    distinct = bool(fractions) and len(set(fractions)) == len(fractions)
    usable = distinct and all(0 < fraction < 1 for fraction in fractions)
    require(p, "label_fractions", usable, "one or more, different, each above 0 and below 1, e.g. 0.2,0.5")
    require_one_of(p, "label_unit", UNITS)
    known = bool(p.arms) and set(p.arms) <= set(ARMS) and len(set(p.arms)) == len(p.arms)
    require(p, "arms", known, f"letters of {''.join(ARMS)}, each once")
    started = "C" in p.arms or not any(ARMS[letter].pool for letter in p.arms)
    require(p, "arms", started, "C among them: D, E, F and G begin with its classifier")
    require(p, "folds", 1 <= p.folds <= FOLDS, f"1 to {FOLDS}")
    require(p, "seeds", 1 <= p.seeds <= 100, "1 to 100")
    require(p, "gans", 1 <= p.gans <= p.seeds, f"1 to {p.seeds}, the number of seeds")
    require(p, "worthwhile_gain", 0 < p.worthwhile_gain < 1, "above 0 and below 1, e.g. 0.02")


# Those checks of the pipeline's parameters that ask no storage.
CHECKS: Sequence[Callable[[Any], None]] = (
    check_places,
    check_names,
    check_planes,
    check_audit,
    check_classifier,
    check_grid,
    check_gan,
    check_judgement,
    check_rounds,
    check_report,
    check_resources,
    check_kinds,
)
