"""Writes each pipeline as the YAML that a KFP server takes."""

from pathlib import Path

import yaml
from kfp import compiler

from pipelines.catalogue import PIPELINES


def compile_all(folder: Path, registry: str = "") -> list[Path]:
    """Compile every pipeline into `folder`; `registry` is put before the images' names."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, pipeline in PIPELINES.items():
        path = folder / f"{name}.yaml"
        compiler.Compiler().compile(pipeline.graph, str(path))
        if registry:
            path.write_text(_with_registry(path.read_text(), registry))
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")  # noqa: T201
        written.append(path)
    return written


def _with_registry(text: str, registry: str) -> str:
    documents = list(yaml.safe_load_all(text))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        container = executor["container"]
        container["image"] = f"{registry.rstrip('/')}/{container['image']}"
    return str(yaml.safe_dump_all(documents, sort_keys=True))
