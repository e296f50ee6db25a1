"""From volumes to planes, as every pipeline begins: list, cut in shards, join."""

from types import SimpleNamespace

from kfp import dsl

from components.extract_planes.component import extract_planes, extract_shard, list_shards
from components.extract_planes.cut import PARAMETERS
from components.snapshot_volumes.component import snapshot_volumes
from pipelines.tasks import SIZE, Channel, knowing_names, lasting, sized, uncached


@dsl.pipeline(name="one-shard")
def one_shard(
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
    cpu: str,
    memory: str,
) -> None:
    """Cut one shard's volumes.

    It needs a pipeline of its own: in a loop's body kfp.local does not find the parameters that size a task.
    """
    p = SimpleNamespace(**locals())
    told = {name: value for name, value in vars(p).items() if name not in SIZE}
    sized(uncached(extract_shard(**told)), p)


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
    cpu: str,
    memory: str,
) -> None:
    """Cut every shard's volumes at the same time.

    The loop needs a pipeline of its own, as in `all_rounds`.
    """
    p = SimpleNamespace(**locals())
    with dsl.ParallelFor(shards) as shard:
        one_shard(shard=shard, **{name: value for name, value in vars(p).items() if name != "shards"})


def list_volumes(
    p: SimpleNamespace, checked: dsl.PipelineTask, minimum_patients: int, forget_patient: Channel
) -> dsl.PipelineTask:
    """List the volumes once the parameters are checked."""
    names = ("volumes_uri", "state_uri", "patient_pattern", "pseudonym_key_uri")
    limits = {"minimum_patients": minimum_patients, "forget_patient": forget_patient}
    listed = snapshot_volumes(**{name: getattr(p, name) for name in names}, **limits)
    return uncached(knowing_names(listed.after(checked)))


def cut_planes(
    p: SimpleNamespace, checked: dsl.PipelineTask, minimum_patients: int = 3, forget_patient: Channel = ""
) -> tuple[dsl.PipelineTask, Channel]:
    """List the volumes once the parameters are checked, and cut their planes; return both."""
    snapshot = list_volumes(p, checked, minimum_patients, forget_patient)
    source = {"volumes_uri": p.volumes_uri, "state_uri": p.state_uri}
    cuts = {name: getattr(p, name) for name in PARAMETERS}
    cuts |= {**source, "snapshot_digest": snapshot.output}
    numbers = lasting(list_shards(extract_shards=p.extract_shards).after(checked)).output
    size = {"cpu": p.cpu, "memory": p.memory}
    shards = all_shards(shards=numbers, extract_shards=p.extract_shards, **cuts, **size)
    joined = sized(lasting(extract_planes(**cuts).after(shards)), p)
    return snapshot, joined.outputs["planes"]
