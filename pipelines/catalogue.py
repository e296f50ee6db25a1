"""The pipelines of the suite: graph, parameters, the check that precedes it, and the files it ends in.

kfp takes seconds to build a graph, so each is imported where it is asked for: no help and no refusal waits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.open_study.component import validate_study as study_task
from components.validate_parameters.application import CHECKS as APPLY_CHECKS
from components.validate_parameters.application import ApplyParameters, validate_application
from components.validate_parameters.component import validate_parameters
from components.validate_parameters.stage import CHECKS, Parameters, validate
from components.validate_parameters.study import CHECKS as STUDY_CHECKS
from components.validate_parameters.study import StudyParameters, validate_study

WHEN_NEW = "-when-new"  # ends the name of a pipeline behind its gate


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A graph and what the command line must know of it."""

    graph: Callable[[int], Any]  # returns the kfp pipeline, with so many cells of a study at a time
    title: str  # the graph's own
    parameters: type
    validate: Callable[[Any], Sequence[str]]
    checks: Sequence[Callable[[Any], None]]  # those parts of `validate` that ask no storage
    first: Any = None  # its first task, where what a run is of shows in that task's fingerprint
    outputs: Mapping[str, str]  # output of the graph -> file in ROOT/report, or of that name in its folder


def _apply(_: int) -> Any:
    from pipelines.application import apply

    return apply


def _augmentation(_: int) -> Any:
    from pipelines.augmentation import augmentation

    return augmentation


def _study(parallelism: int) -> Any:
    from pipelines.study import study_of

    return study_of(parallelism)


PIPELINES = {
    "apply": Pipeline(
        graph=_apply,
        title="Classify the planes of other scans",
        parameters=ApplyParameters,
        validate=validate_application,
        checks=APPLY_CHECKS,
        outputs={"page": "report.html", "result": "metrics.json", "predictions": "predictions.csv"},
    ),
    "augmentation": Pipeline(
        graph=_augmentation,
        title="GAN augmentation of brain planes",
        parameters=Parameters,
        validate=validate,
        checks=CHECKS,
        first=validate_parameters,
        outputs={"page": "report.html", "result": "metrics.json", "doubtful": "doubtful.csv"},
    ),
    "study": Pipeline(
        graph=_study,
        title="Did the synthetic images help?",
        parameters=StudyParameters,
        validate=validate_study,
        checks=STUDY_CHECKS,
        first=study_task,
        outputs={"page": "report.html", "result": "metrics.json", "doubtful": "doubtful.csv"},
    ),
}
