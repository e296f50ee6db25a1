"""Reads the YAML that `compile` wrote, of which nothing is taken on trust: a hand may have changed it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.shared.faults import InputError

COMPILED = "what `python -m pipelines compile` of this version writes"
_DOCUMENTS = 2  # the graph, and what Kubernetes is told of its pods: every pipeline here has both
_DEEPEST = 100  # levels in a document; KFP's have fewer than 20
# libyaml's is five times as fast; a PyYAML built from source may be without it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNUSABLE = (
    yaml.YAMLError,
    json_format.ParseError,
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled pipeline."""

    text: bytes
    form: Mapping[str, Mapping[str, Any]]  # of the run form: each parameter's name and what it is
    images: list[str]
    nodes: Mapping[str, Any]  # the nodes of GPU tasks, by parameter, that the form proposes

    def without_cache(self) -> str:
        """Return its YAML with the cache off for every task, those of graphs within the graph included.

        kfp's client does so for the outermost tasks alone, and for none where a run names a version.
        """
        spec, platform = read_documents(self.text)
        graph = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        for component in (graph.root, *graph.components.values()):
            for task in component.dag.tasks.values():
                task.caching_options.Clear()
        return str(yaml.safe_dump_all([json_format.MessageToDict(graph), platform]))


def read_compiled(path: Path) -> Compiled:
    """Return a compiled pipeline.

    Raises InputError where the file is not there, or what is read of it is not as `compile` writes it.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: not there; valid: {COMPILED}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; valid: {COMPILED}") from error
    with _naming(path, "no YAML"):
        documents = read_documents(text)
    _require(path, len(documents) == _DOCUMENTS, f"{len(documents)} of its {_DOCUMENTS} documents")
    spec, platform = documents
    with _naming(path, "not KFP's form"):
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        form = dict(spec["root"]["inputDefinitions"]["parameters"])
        executors = dict(spec["deploymentSpec"]["executors"])
    _require_pods(path, executors, platform)
    return Compiled(text=text, form=form, images=_images(path, executors), nodes=_nodes(path, form))


def read_documents(text: bytes | str) -> list[Any]:
    """Return the documents of a YAML file.

    Raises yaml.YAMLError, and ValueError where one holds an impossible value, or is nested over 100 levels
    deep: of many thousands libyaml would end the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"nested over {_DEEPEST} levels deep")
    return list(yaml.load_all(text, Loader=_LOADER))


def compiled_nodes(path: Path) -> Mapping[str, Any]:
    """Return the nodes that a compiled pipeline's form proposes; {} without a file."""
    return read_compiled(path).nodes if path.is_file() else {}


def _require(path: Path, holds: bool, otherwise: str) -> None:
    if not holds:
        raise InputError(f"{path}: no compiled pipeline ({otherwise}); valid: {COMPILED}")


@contextmanager
def _naming(path: Path, otherwise: str) -> Iterator[None]:
    """Turn whatever a document of another form leads to into one line."""
    try:
        yield
    except _UNUSABLE as error:
        raise InputError(f"{path}: no compiled pipeline ({otherwise}); valid: {COMPILED}") from error


def _require_pods(path: Path, executors: Mapping[str, Any], platform: Any) -> None:
    """Refuse a second document that is not of the first one's tasks: they would lose their GPUs and keys."""
    with _naming(path, "its second document has no platforms.kubernetes"):
        told = dict(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    _require(path, told.keys() == executors.keys(), "its two documents are of different tasks")


def _images(path: Path, executors: Mapping[str, Any]) -> list[str]:
    with _naming(path, "a task without an image"):
        images = {executor["container"]["image"] for executor in executors.values()}
    named = all(isinstance(image, str) and image for image in images)
    _require(path, named, "a task without an image")
    return sorted(images)


def _nodes(path: Path, form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of the nodes; a form without them is of other code, which its caller sees."""
    nodes = {}
    for name, fits in (("gpu_node_selector", _are_labels), ("gpu_tolerations", _are_tolerations)):
        if name in form:
            nodes[name] = form[name].get("defaultValue")
            _require(path, fits(nodes[name]), f"the default of {name}")
    return nodes


def _are_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for pair in value.items() for word in pair)


def _are_tolerations(value: Any) -> bool:
    """What each of them may say, seconds as a number among it, is asked where parameters are checked."""
    return isinstance(value, list) and all(isinstance(toleration, dict) for toleration in value)
