"""KFP interface of validate_parameters."""

from typing import NamedTuple

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def validate_parameters(
    volumes_uri: str,
    state_uri: str,
    run_name: str,
    patient_pattern: str,
    pseudonym_key_uri: str,
    forget_patient: str,
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
    audit: str,
    classifier: str,
    epochs: int,
    image_size_px: int,
    pretrained_uri: str,
    label_fraction: float,
    label_unit: str,
    gan_kimg: float,
    gan_resolution: int,
    gan_gamma: float,
    gan_batch: int,
    gan_channel_base: int,
    gan_mirror: bool,
    gan_augment: str,
    gan_resume_uri: str,
    gan_checkpoint_kimg: float,
    warm_start: bool,
    warm_start_kimg: float,
    images: int,
    truncations: list[float],
    max_copy_rate: float,
    inception_uri: str,
    expert_labels_uri: str,
    confidence_threshold: float,
    threshold_rule: str,
    max_class_ratio: float,
    max_rounds: int,
    patience: int,
    min_gain: float,
    relabel: str,
    language: str,
    cpu: str,
    memory: str,
    gpu_count: str,
    gpu_type: str,
    gpu_cpu: str,
    gpu_memory: str,
    gpu_node_selector: dict,
    gpu_tolerations: list,
    seed: int,
    parameters: dsl.Output[dsl.Artifact],
) -> NamedTuple("Checked", fingerprint=str, weights=str):  # type: ignore[valid-type]
    """Check every parameter before anything is computed; return digests of what matters, and of weights."""
    given = {name: value for name, value in locals().items() if name != "parameters"}  # as submitted

    from pathlib import Path

    from components.shared import stored_json
    from components.shared.progress import emit, stage
    from components.validate_parameters.stage import Parameters, fingerprint, results, validate
    from components.validate_parameters.weights import weights_given

    with stage("validate_parameters"):
        emit("validate_parameters", "parameters", **given)
        checked = Parameters(**given)
        for left_out in validate(checked):
            emit("validate_parameters", "warning", message=f"will be left out: {left_out}")
        stored_json.write(Path(parameters.path), results(checked))
        weights = weights_given(checked)
        return (fingerprint(checked, weights), weights)
