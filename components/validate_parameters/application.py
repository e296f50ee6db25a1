"""The parameters of pipeline `apply`, and what they may be."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.extract_planes.cut import Cuts
from components.shared import snapshots, storage
from components.shared.planes import Seen
from components.shared.pseudonyms import read_pseudonyms
from components.shared.trained import find_classifiers, refuse_other_looks, refuse_seen
from components.validate_parameters.places import check_places
from components.validate_parameters.requirements import naming, require_types
from components.validate_parameters.resources import (
    check_resources,
    default_gpu_nodes,
    default_gpu_tolerations,
)
from components.validate_parameters.stage import Parameters, check_planes, check_reach, check_report


@dataclass(frozen=True, kw_only=True)
class ApplyParameters:
    """The dials of pipeline `apply`."""

    volumes_uri: str
    classifiers_uri: str  # {state_uri}/{run}/published, or one classifier's folder
    state_uri: str
    patient_pattern: str = Parameters.patient_pattern
    pseudonym_key_uri: str = Parameters.pseudonym_key_uri
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
    language: str = Parameters.language
    cpu: str = Parameters.cpu
    memory: str = Parameters.memory
    gpu_count: str = Parameters.gpu_count
    gpu_type: str = Parameters.gpu_type
    gpu_cpu: str = Parameters.gpu_cpu
    gpu_memory: str = Parameters.gpu_memory
    gpu_node_selector: dict[str, str] = field(default_factory=default_gpu_nodes)
    gpu_tolerations: list[dict[str, str]] = field(default_factory=default_gpu_tolerations)


def validate_application(p: ApplyParameters) -> Sequence[str]:
    """Return a line for each file that will be left out.

    Raises InputError for a parameter that cannot be used, or a patient that a model has seen.
    """
    for check in (require_types, *CHECKS, check_reach):
        check(p)
    source = snapshots.Source(
        volumes_uri=p.volumes_uri,
        patient_pattern=p.patient_pattern,
        minimum_patients=1,
        missing_geometry=p.missing_geometry,
    )
    names, left_out = snapshots.check(source)
    pseudonyms = read_pseudonyms(p.pseudonym_key_uri, p.state_uri)
    patients = {pseudonyms.of("patient", name) for name in names}
    with naming(p, "classifiers_uri"):
        storage.require_answer(p.classifiers_uri)
    with tempfile.TemporaryDirectory() as folder:
        models = find_classifiers(p.classifiers_uri, Path(folder))
        refuse_other_looks(models, Cuts.among(vars(p)).settings())
        refuse_seen(models, Seen(patients=frozenset(patients)))
    return left_out


# Those checks of the pipeline's parameters that ask no storage.
CHECKS: Sequence[Callable[[Any], None]] = (check_places, check_planes, check_report, check_resources)
