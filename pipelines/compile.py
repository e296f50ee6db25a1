"""Writes each pipeline as the YAML that a KFP server takes, for one cluster.

What KFP fixes when it compiles is an option here; what it takes from the run form is a parameter there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kfp import compiler

from components.shared.faults import InputError, shown
from components.shared.files import write_whole
from components.shared.images import CPU_IMAGE, GPU_IMAGE
from components.validate_parameters.resources import is_label, is_object_name
from pipelines.catalogue import PIPELINES, WHEN_NEW
from pipelines.compiled import read_documents
from pipelines.literals import add_literals

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
GPU_NODES = "nvidia.com/gpu.present=true"  # as NVIDIA's operator labels them
SPOT_GKE = "cloud.google.com/gke-spot=true"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")
_DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_REGISTRY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the pipelines are fitted to a cluster; empty leaves a thing as it is."""

    registry: str = ""  # put before the images' names
    tag: str = ""  # and after them; KFP's cache knows an image by its name alone
    image_cpu: str = ""  # whole names, by digest: NAME@sha256:...
    image_gpu: str = ""
    literals: bool = False  # drop-downs of the form's choices, for servers of 2.17 or newer
    parallelism: int = 1  # cells, and GANs, of a study at a time
    queue: str = ""  # Kueue's local queue
    timeout_hours: float = 0.0  # of any task's pod; 0: none
    pull_policy: str = ""
    gpu_nodes: str = ""  # label of the GPU nodes, NAME=VALUE: the form's default
    spot: str = ""  # label of preemptible GPU nodes, NAME=VALUE, also the key of their taint
    storage_secret: str = ""  # Secret with the keys of an S3 store, as environment variables

    def __post_init__(self) -> None:
        """Refuse what no cluster takes."""
        self._require("parallelism", 1 <= self.parallelism <= 1000, "1 to 1000")
        self._require(
            "timeout_hours",
            self.timeout_hours == 0 or 0.1 <= self.timeout_hours <= 10_000,
            "0 (none), or 0.1 to 10000 hours",
        )
        self._require("pull_policy", self.pull_policy in ("", *PULL_POLICIES), " or ".join(PULL_POLICIES))
        for name, example in (("gpu_nodes", GPU_NODES), ("spot", SPOT_GKE)):
            value = getattr(self, name)
            labelled = "=" in value and is_label(*value.split("=", 1))
            self._require(name, not value or labelled, f"e.g. {example}")
        for name, most in (("queue", 63), ("storage_secret", 253)):  # the first is a label's value too
            value = getattr(self, name)
            self._require(name, len(value) <= most, f"at most {most} characters")
            self._require(name, not value or is_object_name(value), "the name of a Kubernetes object")
        prefix = not self.registry or bool(_REGISTRY.fullmatch(self.registry))
        self._require(
            "registry", prefix, "a host and a path, e.g. europe-docker.pkg.dev/p/r, without https://"
        )
        tagged = not self.tag or bool(_TAG.fullmatch(self.tag))
        self._require("tag", tagged, "up to 128 letters, digits, '_', '.' and '-'")
        placed = bool(self.registry or self.tag)
        for name in ("image_cpu", "image_gpu"):
            value = getattr(self, name)
            valid = "NAME@sha256:... as `make images` prints it; --registry and --tag take tags"
            self._require(name, not value or bool(_DIGEST.fullmatch(value)), valid)
        self._require("image_cpu", not (self.image_cpu and placed), "without --registry and --tag")
        self._require("image_gpu", bool(self.image_gpu) == bool(self.image_cpu), "both images, or none")

    def _require(self, name: str, holds: bool, valid: str) -> None:
        if not holds:
            value = shown(getattr(self, name)) or "''"
            raise InputError(f"--{name.replace('_', '-')} {value}: not usable; valid: {valid}")


def compile_all(folder: Path, options: Options) -> list[Path]:
    """Compile every pipeline into `folder`, and those that can be scheduled behind their gate as well."""
    from pipelines.when_new import when_new  # which builds graphs

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, pipeline in PIPELINES.items():
        graph = pipeline.graph(options.parallelism)
        written.append(_compile(graph, folder / f"{name}.yaml", options))
        if pipeline.first is not None:
            gated = when_new(graph, pipeline.first)
            written.append(_compile(gated, folder / f"{name}{WHEN_NEW}.yaml", options))
    return written


def _compile(graph: Any, path: Path, options: Options) -> Path:
    with TemporaryDirectory() as scratch:
        compiled = Path(scratch) / path.name
        compiler.Compiler().compile(graph, str(compiled))
        spec, platform = read_documents(compiled.read_bytes())
    fit(spec, platform, options)
    write_whole(path, yaml.safe_dump_all([spec, platform], sort_keys=True))
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")  # noqa: T201
    return path


def fit(spec: Document, platform: Document, options: Options) -> None:
    """Write the options into a compiled pipeline."""
    _place_images(spec, options)
    if options.literals:
        add_literals(spec)
    form = spec["root"]["inputDefinitions"]["parameters"]
    if options.gpu_nodes and "gpu_node_selector" in form:
        form["gpu_node_selector"]["defaultValue"] = dict([options.gpu_nodes.split("=")])
    if options.spot:
        _prefer_spot(form, *options.spot.split("="))
    for pod in _pods(spec, platform):
        _fit_pod(pod, options)


def _place_images(spec: Document, options: Options) -> None:
    whole = {CPU_IMAGE: options.image_cpu, GPU_IMAGE: options.image_gpu}
    prefix = f"{options.registry.rstrip('/')}/" if options.registry else ""
    for executor in spec["deploymentSpec"]["executors"].values():
        image = executor["container"]["image"]
        name, _, default = image.partition(":")
        executor["container"]["image"] = whole[image] or f"{prefix}{name}:{options.tag or default}"


def _prefer_spot(parameters: Mapping[str, Document], label: str, value: str) -> None:
    """Make preemptible nodes the form's default: its selector replaces any that is compiled in."""
    for name, about in parameters.items():
        if name == "gpu_node_selector":
            about["defaultValue"] = {**about["defaultValue"], label: value}
        if name == "gpu_tolerations":
            taint = {"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"}
            about["defaultValue"] = [*about["defaultValue"], taint]


def _pods(spec: Document, platform: Document) -> Iterable[Document]:
    """Yield what Kubernetes is told of each task, beginning it where nothing was."""
    told = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return [told.setdefault(name, {}) for name in sorted(spec["deploymentSpec"]["executors"])]


def _fit_pod(pod: Document, options: Options) -> None:
    if options.queue:
        pod.setdefault("podMetadata", {}).setdefault("labels", {})["kueue.x-k8s.io/queue-name"] = (
            options.queue
        )
    if options.timeout_hours:
        pod["activeDeadlineSeconds"] = str(round(3600 * options.timeout_hours))
    if options.pull_policy:
        pod["imagePullPolicy"] = options.pull_policy
    if options.storage_secret:
        pod.setdefault("secretAsEnv", []).append(
            {
                "keyToEnv": [{"envVar": key, "secretKey": key} for key in _KEYS],
                "optional": True,  # of each key: a store may need no endpoint
                "secretName": options.storage_secret,
                "secretNameParameter": {"runtimeValue": {"constant": options.storage_secret}},
            }
        )
