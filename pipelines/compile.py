"""Writes each pipeline as the YAML that a KFP server takes."""

from pathlib import Path

import yaml
from kfp import compiler

from components.shared.faults import InputError
from pipelines.catalogue import PIPELINES
from pipelines.literals import add_literals
from pipelines.study import study_of


def compile_all(
    folder: Path, registry: str = "", tag: str = "", literals: bool = False, parallelism: int = 1
) -> list[Path]:
    """Compile every pipeline into `folder`; `registry` is put before the images' names, `tag` after them.

    KFP's cache knows an image by its name alone: give each build a tag of its own. `literals` makes
    drop-downs of the form's choices, for servers of 2.17 or newer. `parallelism` is how many cells, and how
    many GANs, of a study run at a time: KFP fixes it here.
    """
    if not 1 <= parallelism <= 1000:
        raise InputError(f"--parallelism {parallelism}: not usable; valid: 1 to 1000")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, pipeline in PIPELINES.items():
        path = folder / f"{name}.yaml"
        graph = study_of(parallelism) if name == "study" else pipeline.graph
        compiler.Compiler().compile(graph, str(path))
        if registry or tag:
            path.write_text(_with_images(path.read_text(), registry, tag))
        if literals:
            path.write_text(_with_literals(path.read_text()))
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")  # noqa: T201
        written.append(path)
    return written


def _with_images(text: str, registry: str, tag: str) -> str:
    documents = list(yaml.safe_load_all(text))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        name, _, default = executor["container"]["image"].partition(":")
        prefix = f"{registry.rstrip('/')}/" if registry else ""
        executor["container"]["image"] = f"{prefix}{name}:{tag or default}"
    return str(yaml.safe_dump_all(documents, sort_keys=True))


def _with_literals(text: str) -> str:
    documents = list(yaml.safe_load_all(text))
    add_literals(documents[0])
    return str(yaml.safe_dump_all(documents, sort_keys=True))
