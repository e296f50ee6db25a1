"""KFP interface of extract_planes."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def extract_planes(
    volumes_uri: str,
    state_uri: str,
    snapshot_digest: str,
    plane_angles_deg: list[float],
    plane_spacing_mm: float,
    field_of_view_mm: float,
    planes: dsl.Output[dsl.Dataset],
) -> None:
    """Cut coronal and sagittal planes from every volume of the snapshot."""
    from pathlib import Path

    from components.extract_planes.stage import Config, extract_planes
    from components.shared.progress import stage

    with stage("extract_planes") as progress:
        config = Config(
            volumes_uri=volumes_uri,
            state_uri=state_uri,
            snapshot_digest=snapshot_digest,
            plane_angles_deg=plane_angles_deg,
            plane_spacing_mm=plane_spacing_mm,
            field_of_view_mm=field_of_view_mm,
        )
        planes.metadata.update(extract_planes(config, Path(planes.path), progress))
