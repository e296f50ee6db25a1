"""How tasks run on a cluster: on GPU nodes, retried, cached or not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kfp import dsl, kubernetes

from components.shared.pseudonyms import SECRET

NAMES_SECRET = "fontanelle-pseudonym"  # noqa: S105 - its name: a Secret with the entry `key`
GPU = ("gpu_count", "gpu_type", "gpu_cpu", "gpu_memory", "gpu_node_selector", "gpu_tolerations")
SIZE = ("cpu", "memory")
SMALL_CPU, SMALL_MEMORY = "250m", "1Gi"  # of tasks that read tables and write a page
Channel = Any  # a pipeline parameter or a task's output, known when the graph runs


def on_gpu(task: dsl.PipelineTask, p: SimpleNamespace, *, cached: bool = True) -> dsl.PipelineTask:
    """Ask for GPUs, cores, memory, shared memory for data loading, and retries however late a pod is lost."""
    (lasting if cached else uncached)(task)
    task.set_accelerator_type(p.gpu_type).set_accelerator_limit(p.gpu_count)
    task.set_cpu_request(p.gpu_cpu).set_memory_request(p.gpu_memory).set_memory_limit(p.gpu_memory)
    kubernetes.add_node_selector_json(task, p.gpu_node_selector)
    kubernetes.add_toleration_json(task, p.gpu_tolerations)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="8Gi")  # noqa: S108
    return task


def sized(task: dsl.PipelineTask, p: SimpleNamespace) -> dsl.PipelineTask:
    """Ask for the cores and the memory of a task that works on volumes.

    Memory is limited to what is asked for, so that a node is never overdrawn; cores are not, since a pod that
    finds idle ones is done sooner.
    """
    return task.set_cpu_request(p.cpu).set_memory_request(p.memory).set_memory_limit(p.memory)


def knowing_names(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Mount the Secret under whose key patients are named, where the cluster has one."""
    mount = str(Path(SECRET).parent)
    return kubernetes.use_secret_as_volume(task, NAMES_SECRET, mount, optional=True)


def lasting(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Retry a task whose pod is lost, and give it the little that a task needs which says nothing else.

    Argo measures the longest back-off from the first attempt's start, so a short one would forbid the
    retry of exactly the long tasks that need it. A pod that asks for nothing is the first that a full node
    throws out, and is refused where a namespace has a quota. Where a policy makes its root read-only, nothing
    else gives it a /tmp, in which KFP's launcher writes too.
    """
    kubernetes.empty_dir_mount(task, "tmp", "/tmp")  # noqa: S108
    task.set_cpu_request(SMALL_CPU).set_memory_request(SMALL_MEMORY)
    return task.set_retry(num_retries=5, backoff_duration="60s", backoff_factor=2, backoff_max_duration="30d")


def uncached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Run a task anew in every run: it reads or writes state that no cache key sees."""
    return lasting(task).set_caching_options(enable_caching=False)


def identity(pipeline: str, p: SimpleNamespace, checked: dsl.PipelineTask) -> dict[str, Channel]:
    """Return what a run is known by once it has ended: another of the same volumes has nothing to do."""
    return {
        "pipeline": pipeline,
        "fingerprint": checked.outputs["fingerprint"],
        **{name: getattr(p, name) for name in ("state_uri", "run_name", "audit", "language")},
    }
