"""KFP interfaces of what precedes a study's arms: its check, its name, the lists that its loops run over."""

from typing import NamedTuple

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def open_study(
    state_uri: str,
    run_name: str,
    fingerprint: str,
    snapshot_digest: str,
    parameters: dsl.Input[dsl.Artifact],
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
) -> str:
    """Name the study and check its folds; a repeated study finds its own state."""
    import json
    from pathlib import Path

    from components.open_ledger.stage import Config
    from components.open_study.stage import open_study
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits

    with stage("open_study"):
        config = Config(
            state_uri=state_uri, run_name=run_name, fingerprint=fingerprint, snapshot_digest=snapshot_digest
        )
        submitted = json.loads(Path(parameters.path).read_text())
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        return open_study(config, submitted, *opened)


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_cells(state_uri: str, run: str, step: str) -> list[str]:
    """Return the names of the cells of baseline arms, or of those with pseudo-labels, one string per pod."""
    from components.shared.ledger import Ledger
    from components.shared.study import Grid, dealt

    grid = Grid.of(Ledger(state_uri=state_uri, run=run).parameters())
    return dealt([cell.name for cell in grid.cells(step)])


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_sources(state_uri: str, run: str) -> list[str]:
    """Return the names of all sets of synthetic images that the arms ask for, one string per pod."""
    from components.shared.ledger import Ledger
    from components.shared.study import Grid, dealt

    grid = Grid.of(Ledger(state_uri=state_uri, run=run).parameters())
    return dealt([source.name for source in grid.sources()])


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def validate_study(
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
    label_fractions: list[float],
    label_unit: str,
    arms: str,
    folds: int,
    seeds: int,
    gans: int,
    worthwhile_gain: float,
    gan_kimg: float,
    gan_resolution: int,
    gan_gamma: float,
    gan_batch: int,
    gan_channel_base: int,
    gan_mirror: bool,
    gan_augment: str,
    gan_resume_uri: str,
    gan_checkpoint_kimg: float,
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
    from components.validate_parameters.stage import fingerprint, results
    from components.validate_parameters.study import StudyParameters, validate_study
    from components.validate_parameters.weights import weights_given

    with stage("validate_parameters"):
        emit("validate_parameters", "parameters", **given)
        checked = StudyParameters(**given)
        for left_out in validate_study(checked):
            emit("validate_parameters", "warning", message=f"will be left out: {left_out}")
        stored_json.write(Path(parameters.path), results(checked))
        weights = weights_given(checked)
        return (fingerprint(checked, weights), weights)
