"""The smallest study that goes through every stage, as a process of its own as a person would start it."""

import json
import subprocess
import sys

from components.shared.descendants import FOLDERS

SMALL = {
    "plane_angles_deg": "0",
    "plane_spacing_mm": 8,
    "epochs": 1,
    "image_size_px": 32,
    "gan_kimg": 0.1,
    "gan_resolution": 16,
    "images": 40,
    "label_fraction": 0.5,
    "pseudonym_key_uri": __file__,  # a secret of sorts: two runs name their patients alike
    "confidence_threshold": 0,
}


def command(pipeline, root, **parameters):
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
    call = [sys.executable, "-m", "pipelines", "run", pipeline, "--root", str(root), "--profile", "demo"]
    return [*call, *given]


def run(pipeline, root, check=True, **parameters):
    return subprocess.run(command(pipeline, root, **parameters), check=check, capture_output=True, text=True)


def events(root):
    lines = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    return [(line["stage"], line["event"]) for line in lines if line["event"] in ("done", "cached")]


def kept_by_runs(state):
    """Return the names that each run keeps in its folder of a state."""
    runs = [path for path in state.iterdir() if path.is_dir() and path.name not in FOLDERS]
    return [{path.name for path in run.iterdir()} for run in runs]
