"""Drop-downs in KFP's run form: what kfp's compiler cannot write into a compiled pipeline.

A parameter's `literals` are the only values that a server of 2.16 takes, and that the form of 2.17 offers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.extract_planes.cut import NOISE_RULES
from components.report.language import LANGUAGES
from components.shared.audit import MODES
from components.shared.geometry import FIELDS_OF_VIEW
from components.shared.labels import UNITS
from components.shared.nrrd_geometry import POLICIES
from components.shared.rounds import ADAPTIVE, ALL, GLOBAL, REMAINING
from components.validate_parameters.stage import AUGMENTATIONS, CLASSIFIERS

CHOICES: Mapping[str, Sequence[str]] = {
    "missing_geometry": POLICIES,
    "field_of_view": FIELDS_OF_VIEW,
    "noise_rule": NOISE_RULES,
    "audit": MODES,
    "classifier": CLASSIFIERS,
    "label_unit": UNITS,
    "gan_augment": AUGMENTATIONS,
    "threshold_rule": (GLOBAL, ADAPTIVE),
    "relabel": (ALL, REMAINING),
    "language": LANGUAGES,
}


def add_literals(spec: dict[str, Any]) -> None:
    """Name the choices of every text parameter of a pipeline's form that has some."""
    for name, about in spec["root"]["inputDefinitions"]["parameters"].items():
        if name in CHOICES:
            about["literals"] = list(CHOICES[name])
