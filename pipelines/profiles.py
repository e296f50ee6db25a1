"""Sets of parameter values; `-p` still overrides any of them."""

from dataclasses import fields
from typing import Any

from components.validate_parameters.study import StudyParameters

# Two cores, 20 minutes: small networks, coarse planes. The graph is the same.
LAPTOP: dict[str, Any] = {
    "plane_angles_deg": [-20, -10, 0, 10, 20],
    "plane_spacing_mm": 3.0,
    "field_of_view_mm": 90.0,
    "classifier": "resnet18",
    "epochs": 4,
    "image_size_px": 64,
    "gan_kimg": 12.0,
    "gan_resolution": 32,
    "gan_gamma": 0.0,
    "gan_batch": 8,
    "gan_channel_base": 1024,
    "images": 1200,
    "max_rounds": 3,
    "gpu_count": "0",
    "gpu_cpu": "1",
    "gpu_memory": "4Gi",
}

# The same two cores, 45 minutes: six GANs and twenty-one cells in the place of one GAN and five classifiers.
LAPTOP_STUDY: dict[str, Any] = {
    "label_fractions": [0.2],
    "folds": 3,
    "seeds": 1,
    "gans": 1,
    "gan_kimg": 4.0,
    "images": 600,
    "max_rounds": 1,
}

# Minutes on simulated volumes: it proves the flow, not image quality. relabel=all never uses the pool up and
# patience 2 cannot stop before round 2, so two pseudo-label rounds run, unless nothing is accepted or nothing
# changes.
DEMO: dict[str, Any] = LAPTOP | {
    "plane_angles_deg": [-15, 0, 15],
    "plane_spacing_mm": 5.0,
    "gan_kimg": 3.0,
    "images": 400,
    "patience": 2,
    "max_rounds": 2,
}

DEMO_STUDY: dict[str, Any] = LAPTOP_STUDY | {"folds": 1, "gan_kimg": 1.0, "images": 200}

PROFILES: dict[str, dict[str, Any]] = {"cluster": {}, "laptop": LAPTOP, "demo": DEMO}
STUDIES: dict[str, dict[str, Any]] = {"cluster": {}, "laptop": LAPTOP_STUDY, "demo": DEMO_STUDY}


def values(profile: str, declared: type) -> dict[str, Any]:
    """Return a profile's values for the parameters that a pipeline declares."""
    names = {field.name for field in fields(declared)}
    chosen = PROFILES[profile] | (STUDIES[profile] if declared is StudyParameters else {})
    return {name: value for name, value in chosen.items() if name in names}
