"""The moment at which a checkpoint of stylegan2_ada is half written: the worst one to be killed at."""

import subprocess
import time
from pathlib import Path
from typing import Any


def wait_for_a_write(folder: Path, process: subprocess.Popen[Any]) -> None:
    """Return while a checkpoint below the folder is half written, or when the process has ended."""
    known = set(folder.rglob("checkpoint-*.part"))  # of those killed before
    while process.poll() is None:
        if set(folder.rglob("checkpoint-*.part")) - known:
            return
        time.sleep(0.0005)
