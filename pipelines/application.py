"""The pipeline `apply`: finished classifiers on the planes of other scans (the notebook Probar_Modelo)."""

from types import SimpleNamespace
from typing import NamedTuple

from kfp import dsl

from components.apply_classifiers.component import apply_classifiers, validate_application
from components.extract_planes.component import extract_planes
from components.snapshot_volumes.component import snapshot_volumes
from pipelines.tasks import lasting, on_gpu, uncached


class Findings(NamedTuple):
    """What the pipeline returns."""

    page: dsl.HTML
    result: dsl.Artifact
    predictions: dsl.Artifact


@dsl.pipeline(name="apply", display_name="Classify the planes of other scans")
def apply(
    volumes_uri: str,
    classifiers_uri: str,
    state_uri: str,
    patient_pattern: str = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$",
    plane_angles_deg: list[float] = [-20, -15, -10, -5, 0, 5, 10, 15, 20],  # noqa: B006
    plane_spacing_mm: float = 1.0,
    field_of_view_mm: float = 120.0,
    gpu_count: str = "1",
    gpu_node_selector: dict = {"cloud.google.com/gke-accelerator": "nvidia-l4"},  # noqa: B006
    gpu_tolerations: list = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],  # noqa: B006
    seed: int = 0,
) -> Findings:
    """Cut planes from scans of patients that no classifier has seen, and classify them.

    Args:
        volumes_uri: Folder or gs://bucket/prefix with NRRD volumes; may end in a glob.
        classifiers_uri: The folder `published` of a finished run, or one classifier's folder.
        state_uri: Folder or gs://bucket/prefix for what outlives a run.
        patient_pattern: Regular expression on the file name with a group `patient`.
        plane_angles_deg: Rotations about the superior-inferior axis, symmetric, 0 among them.
        plane_spacing_mm: Distance between neighbouring planes.
        field_of_view_mm: Side of the square window of every plane.
        gpu_count: GPUs of a GPU task, as text.
        gpu_node_selector: Labels of the GPU nodes.
        gpu_tolerations: Tolerations for the GPU nodes.
        seed: Seed of the bootstrap.

    """
    p = SimpleNamespace(**locals())
    source = {"volumes_uri": volumes_uri, "state_uri": state_uri}
    checked = uncached(validate_application(**vars(p)))
    snapshot = uncached(
        snapshot_volumes(patient_pattern=patient_pattern, minimum_patients=1, **source).after(checked)
    )
    extracted = extract_planes(
        snapshot_digest=snapshot.output,
        plane_angles_deg=plane_angles_deg,
        plane_spacing_mm=plane_spacing_mm,
        field_of_view_mm=field_of_view_mm,
        **source,
    )
    planes = lasting(extracted).outputs["planes"]
    applied = apply_classifiers(planes=planes, classifiers_uri=classifiers_uri, seed=seed)
    found = on_gpu(applied, p).set_caching_options(enable_caching=False).outputs  # no key sees the models
    return Findings(page=found["page"], result=found["result"], predictions=found["predictions"])
