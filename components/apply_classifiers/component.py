"""KFP interfaces of pipeline `apply`: its check, and its one stage of its own."""

from kfp import dsl

from components.shared.images import CPU_IMAGE, GPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def validate_application(
    volumes_uri: str,
    classifiers_uri: str,
    state_uri: str,
    patient_pattern: str,
    pseudonym_key_uri: str,
    missing_geometry: str,
    plane_angles_deg: list[float],
    plane_spacing_mm: float,
    field_of_view: str,
    field_of_view_mm: float,
    noise_rule: str,
    noise_max_content: float,
    anatomy_min_content: float,
    noise_index_planes: int,
    extract_shards: int,
    language: str,
    cpu: str,
    memory: str,
    gpu_count: str,
    gpu_type: str,
    gpu_cpu: str,
    gpu_memory: str,
    gpu_node_selector: dict,
    gpu_tolerations: list,
) -> None:
    """Check every parameter, and refuse patients that a classifier has seen, before anything is computed."""
    given = dict(locals())  # as submitted

    from components.shared.progress import emit, stage
    from components.validate_parameters.application import ApplyParameters, validate_application

    with stage("validate_application"):
        for left_out in validate_application(ApplyParameters(**given)):
            emit("validate_application", "warning", message=f"will be left out: {left_out}")


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def apply_classifiers(
    planes: dsl.Input[dsl.Dataset],
    classifiers_uri: str,
    language: str,
    predictions: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    result: dsl.Output[dsl.Artifact],
) -> None:
    """Classify the planes of other scans; measure where their labels are known."""
    import shutil
    import tempfile
    from pathlib import Path

    from components.apply_classifiers.stage import Config, apply_classifiers
    from components.report.application import apply_page
    from components.report.gather import simulated
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.trained import find_classifiers

    with stage("apply_classifiers") as progress, tempfile.TemporaryDirectory() as folder:
        models = find_classifiers(classifiers_uri, Path(folder))
        opened, out = PlaneSet.open(Path(planes.path)), Path(predictions.path)
        apply_classifiers(Config(), opened, models, out, progress)
        apply_page(out, Path(page.path), opened, simulated(opened), language)
        shutil.copyfile(out / "metrics.json", result.path)
