"""Runs the gated `augmentation` with kfp.local: python -m tests.pipelines.gated_work ARGUMENTS.json ROOT."""

import json
import sys
from pathlib import Path

from kfp import local

from pipelines.catalogue import PIPELINES
from pipelines.local import _drop_retries
from pipelines.when_new import when_new


def main(arguments: Path, root: Path) -> None:
    chosen = PIPELINES["augmentation"]
    gated = when_new(chosen.graph(1), chosen.first)
    _drop_retries(gated.pipeline_spec)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    gated(**json.loads(arguments.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
