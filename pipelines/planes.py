"""From volumes to planes, as every pipeline begins: list, cut in shards, join."""

from types import SimpleNamespace

from kfp import dsl

from components.extract_planes.component import extract_planes, extract_shard, list_shards
from components.extract_planes.cut import PARAMETERS
from components.snapshot_volumes.component import snapshot_volumes
from pipelines.tasks import Channel, knowing_names, lasting, uncached


@dsl.pipeline(name="all-shards")
def all_shards(
    shards: list[int],
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
    """Cut every shard's volumes at the same time.

    The loop needs a pipeline of its own, as in `all_rounds`.
    """
    shared = {name: value for name, value in locals().items() if name != "shards"}
    with dsl.ParallelFor(shards) as shard:
        uncached(extract_shard(shard=shard, **shared))


def cut_planes(
    p: SimpleNamespace, checked: dsl.PipelineTask, minimum_patients: int = 3
) -> tuple[dsl.PipelineTask, Channel]:
    """List the volumes once the parameters are checked, and cut their planes; return both."""
    source = {"volumes_uri": p.volumes_uri, "state_uri": p.state_uri}
    names = {"patient_pattern": p.patient_pattern, "pseudonym_key_uri": p.pseudonym_key_uri}
    listed = snapshot_volumes(**names, **source, minimum_patients=minimum_patients).after(checked)
    snapshot = uncached(knowing_names(listed))
    cuts = {name: getattr(p, name) for name in PARAMETERS}
    cuts |= {**source, "snapshot_digest": snapshot.output}
    numbers = list_shards(extract_shards=p.extract_shards).output
    shards = all_shards(shards=numbers, extract_shards=p.extract_shards, **cuts)
    joined = lasting(extract_planes(**cuts).after(shards))
    return snapshot, joined.outputs["planes"]
