"""Runs a pipeline's graph with every task in its image: no root, no writable root, no network but the store.

A process of its own, as pipelines/local.py has one: python -m tests.images.docker_work ARGUMENTS.json ROOT
"""

import json
import os
import sys
from pathlib import Path

from kfp import local

from pipelines.catalogue import PIPELINES
from pipelines.local import _drop_retries

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")


def main(arguments: Path, root: Path) -> None:
    os.umask(0)  # the images' user is nobody here, and writes into folders that this process makes
    given = json.loads(arguments.read_text())
    local.init(
        runner=local.DockerRunner(
            user="65532:65532",
            read_only=True,
            tmpfs={"/tmp": "rw,mode=1777", "/dev/shm": "rw,mode=1777"},
            network=given["network"],
            environment={name: os.environ[name] for name in KEYS} | {"OMP_NUM_THREADS": "2"},
        ),
        pipeline_root=str(root / "artifacts"),
    )
    chosen = PIPELINES[given["pipeline"]]
    graph = chosen.graph(1)
    _drop_retries(graph.pipeline_spec)
    task = graph(**given["parameters"])
    outputs = {file: task.outputs[name].path for name, file in chosen.outputs.items()}
    (root / "outputs.json").write_text(json.dumps(outputs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
