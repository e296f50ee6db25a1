"""KFP interface of extract_planes."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def list_shards(extract_shards: int) -> list[int]:
    """Return the shards that the volumes are dealt to: 0 to extract_shards - 1."""
    return list(range(extract_shards))


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def extract_shard(
    shard: int,
    extract_shards: int,
    volumes_uri: str,
    state_uri: str,
    snapshot_digest: str,
    missing_geometry: str,
    plane_angles_deg: list[float],
    plane_spacing_mm: float,
    field_of_view: str,
    field_of_view_mm: float,
    noise_rule: str,
    noise_max_content: float,
    anatomy_min_content: float,
    noise_index_planes: int,
) -> None:
    """Cut the planes of one shard's volumes that are not kept in the state yet."""
    given = dict(locals())

    from components.extract_planes.stage import Config, Cuts, extract_shard
    from components.shared.progress import stage

    with stage(f"extract_shard {shard}") as progress:
        config = Config(
            volumes_uri=volumes_uri,
            state_uri=state_uri,
            snapshot_digest=snapshot_digest,
            cuts=Cuts.among(given),
        )
        extract_shard(config, shard, extract_shards, progress)


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def extract_planes(
    volumes_uri: str,
    state_uri: str,
    snapshot_digest: str,
    missing_geometry: str,
    plane_angles_deg: list[float],
    plane_spacing_mm: float,
    field_of_view: str,
    field_of_view_mm: float,
    noise_rule: str,
    noise_max_content: float,
    anatomy_min_content: float,
    noise_index_planes: int,
    planes: dsl.Output[dsl.Dataset],
) -> None:
    """Join the planes of every volume of the snapshot, and cut those that no shard has cut."""
    given = dict(locals())

    from pathlib import Path

    from components.extract_planes.stage import Config, Cuts, extract_planes
    from components.shared.progress import stage

    with stage("extract_planes") as progress:
        config = Config(
            volumes_uri=volumes_uri,
            state_uri=state_uri,
            snapshot_digest=snapshot_digest,
            cuts=Cuts.among(given),
        )
        planes.metadata.update(extract_planes(config, Path(planes.path), progress))
