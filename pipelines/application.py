"""The pipeline `apply`: finished classifiers on the planes of other scans (the notebook Probar_Modelo)."""

from types import SimpleNamespace
from typing import NamedTuple

from kfp import dsl

from components.apply_classifiers.component import apply_classifiers, validate_application
from pipelines.planes import cut_planes
from pipelines.tasks import knowing_names, on_gpu, uncached


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
    pseudonym_key_uri: str = "",
    missing_geometry: str = "refuse",
    plane_angles_deg: list[float] = [-20, -15, -10, -5, 0, 5, 10, 15, 20],  # noqa: B006
    plane_spacing_mm: float = 1.0,
    field_of_view: str = "sphere",
    field_of_view_mm: float = 120.0,
    noise_rule: str = "content",
    noise_max_content: float = 0.02,
    anatomy_min_content: float = 0.10,
    noise_index_planes: int = 20,
    extract_shards: int = 1,
    language: str = "en",
    cpu: str = "2",
    memory: str = "8Gi",
    gpu_count: str = "1",
    gpu_type: str = "nvidia.com/gpu",
    gpu_cpu: str = "4",
    gpu_memory: str = "16Gi",
    gpu_node_selector: dict = {"cloud.google.com/gke-accelerator": "nvidia-l4"},  # noqa: B006
    gpu_tolerations: list = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],  # noqa: B006
) -> Findings:
    """Cut planes from scans of patients that no classifier has seen, and classify them.

    Args:
        volumes_uri: Folder, gs:// or s3://bucket/prefix with NRRD volumes; may end in a glob.
        classifiers_uri: The folder `published` of a finished run, or one classifier's folder.
        state_uri: Folder, gs:// or s3://bucket/prefix for what outlives a run.
        patient_pattern: Regular expression on the file name with a group `patient`.
        pseudonym_key_uri: File with the secret key that the classifiers' patients were named under.
        missing_geometry: What volumes without orientation are taken for; refuse, LPS, RAS or symmetry.
        plane_angles_deg: Angles of the planes about the superior-inferior axis, symmetric, 0 among them.
        plane_spacing_mm: Distance between neighbouring planes.
        field_of_view: What planes show; sphere, disc or full, as the classifiers learnt.
        field_of_view_mm: Side of the square window of every plane.
        noise_rule: What makes planes noise; content (share of tissue) or index, as the classifiers learnt.
        noise_max_content: Share of the disc that is tissue, up to which a plane is noise.
        anatomy_min_content: Share of tissue in the disc that makes anatomy; less is kept aside, or noise.
        noise_index_planes: Outermost planes at each end of a volume that noise_rule=index calls noise.
        extract_shards: Pods that share the volumes when planes are cut.
        language: Language of the page; en or es.
        cpu: Cores that a task on volumes asks for, e.g. 2 or 500m.
        memory: Memory that a task on volumes asks for and may use, e.g. 8Gi.
        gpu_count: GPUs of a GPU task, as text; a stage uses one, 0 is for nodes without.
        gpu_type: Resource name of the GPUs.
        gpu_cpu: Cores that a GPU task asks for, e.g. 4.
        gpu_memory: Memory that a GPU task asks for and may use, e.g. 16Gi.
        gpu_node_selector: Labels of the nodes that GPU tasks run on.
        gpu_tolerations: Tolerations of GPU tasks, for their nodes' taints.

    """
    p = SimpleNamespace(**locals())
    checked = uncached(knowing_names(validate_application(**vars(p))))
    _, planes = cut_planes(p, checked, minimum_patients=1)
    applied = apply_classifiers(planes=planes, classifiers_uri=classifiers_uri, language=language)
    found = on_gpu(applied, p, cached=False).outputs  # no key sees the models
    return Findings(page=found["page"], result=found["result"], predictions=found["predictions"])
